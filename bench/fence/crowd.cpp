// SPDX-License-Identifier: BSL-1.0
// More threads than cores. Whoever holds a lock may lose its core, and then all others wait for it. The threads are
// spread over two cores by hand: the system takes its time to, and until then they do not meet.
#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "../peers/kernel_steps.hpp"
#include "../peers/kernel_style.hpp"
#include "../peers/mutex_condvar.hpp"
#include "../peers/paddock_fence.hpp"
#include "../peers/standard.hpp"
#include "../support/batch.hpp"
#include "../support/cores.hpp"
#include "../support/duo.hpp"

namespace paddock::bench {
namespace {

/// Callbacks that a thread adds in one go: some milliseconds, so that threads lose their cores in the middle.
[[nodiscard]] std::size_t adds_in_a_go() { return chosen.pairs < 10 ? 1000 : 200'000; }

/// An operation above this was not slow but stopped.
constexpr double stall_ns = 100'000;

void start_together(std::atomic<std::size_t>& arrived, std::size_t count) {
  arrived.fetch_add(1);
  while (arrived.load(std::memory_order_acquire) < count) {
    std::this_thread::yield();
  }
}

/// The floor: what all threads need anyway.
struct shared_counter {
  struct node {};
  std::atomic<std::uint64_t> count{0};
  bool add(node&) noexcept {
    count.fetch_add(1);
    return true;
  }
  void signal() noexcept {}
};

/// What a go of many threads took.
struct go {
  double ns_per_add;
  double stalls_per_million;
};

/// All threads add callbacks to one event. `look` times each add; this costs more than the add itself.
template <class Event>
go add_together(std::size_t threads, std::size_t adds, bool look) {
  Event event;
  std::atomic<std::size_t> arrived{0};
  std::atomic<std::size_t> stalled{0};
  std::vector<clock::time_point> began(threads);
  std::vector<clock::time_point> ended(threads);
  std::vector<std::unique_ptr<typename Event::node[]>> nodes(threads);
  const auto work = [&](std::size_t thread) {
    stay_on(thread % 2);
    nodes[thread] = std::make_unique<typename Event::node[]>(adds);
    start_together(arrived, threads);
    began[thread] = clock::now();
    if (look) {
      std::size_t mine = 0;
      auto last = began[thread];
      for (std::size_t i = 0; i < adds; ++i) {
        event.add(nodes[thread][i]);
        const auto now = clock::now();
        mine += nanoseconds(now - last) > stall_ns ? 1U : 0U;
        last = now;
      }
      stalled.fetch_add(mine);
    } else {
      for (std::size_t i = 0; i < adds; ++i) {
        event.add(nodes[thread][i]);
      }
    }
    ended[thread] = clock::now();
  };
  {
    std::vector<std::jthread> crowd;
    for (std::size_t thread = 0; thread < threads; ++thread) {
      crowd.emplace_back(work, thread);
    }
  }
  const auto all = static_cast<double>(adds * threads);
  const auto first = *std::min_element(began.begin(), began.end());
  const auto last = *std::max_element(ended.begin(), ended.end());
  event.signal();
  return {nanoseconds(last - first) / all, static_cast<double>(stalled.load()) * 1e6 / all};
}

/// Reports what an add takes the whole machine, and how many in a million took longer than a stall.
template <class Event, std::size_t Threads>
void add_in_a_crowd(benchmark::State& state) {
  for ([[maybe_unused]] auto repetition : state) {
    if (!has_two_cores(state)) {
      continue;
    }
    std::vector<double> ns_per_add;
    double stalls = 0;
    for (int each = 0; each < chosen.crowds; ++each) {
      ns_per_add.push_back(add_together<Event>(Threads, adds_in_a_go() / Threads, false).ns_per_add);
      stalls += add_together<Event>(Threads, adds_in_a_go() / Threads, true).stalls_per_million;
    }
    state.SetIterationTime(median(ns_per_add) * 1e-9);
    state.counters["ns"] = median(ns_per_add);
    state.counters["stalls_per_million"] = stalls / chosen.crowds;
  }
}

/// Eight threads add and remove callbacks of the event that is there just now, each with a few queued. A ninth signals
/// it, makes the next one current, gives the others a moment with that, and so on. Reports how long signals took.
template <class Event>
void signal_in_a_crowd(benchmark::State& state) {
  constexpr std::size_t removers = 8;
  constexpr std::size_t queued = 4;
  constexpr std::size_t most_events = 20'000;
  constexpr auto moment = std::chrono::microseconds(3);
  for ([[maybe_unused]] auto repetition : state) {
    if (!has_two_cores(state)) {
      continue;
    }
    // Signaled events stay: whoever is late may still look at one.
    const auto events = std::make_unique<Event[]>(most_events);
    std::atomic<std::size_t> current{0};
    std::atomic<bool> over{false};
    std::vector<double> took;
    const auto work = [&](std::size_t thread) {
      stay_on(thread % 2);
      typename Event::node nodes[queued];
      while (!over.load(std::memory_order_relaxed)) {
        Event& event = events[current.load(std::memory_order_acquire)];
        for (auto& node : nodes) {
          event.add(node);
        }
        for (auto& node : nodes) {
          event.remove(node);
        }
      }
    };
    const auto signal_all = [&] {
      stay_on(0);
      const auto end = clock::now() + chosen.signal_storm;
      for (std::size_t i = 0; i + 1 < most_events; ++i) {
        const auto given = clock::now();
        if (given > end) {
          break;
        }
        while (clock::now() < given + moment) {
          detail::spin_pause();
        }
        const auto began = clock::now();
        events[i].signal();
        took.push_back(nanoseconds(clock::now() - began));
        current.store(i + 1, std::memory_order_release);
      }
      over.store(true);
    };
    {
      std::vector<std::jthread> crowd;
      for (std::size_t t = 0; t < removers; ++t) {
        crowd.emplace_back(work, t);
      }
      crowd.emplace_back(signal_all);
    }
    state.SetIterationTime(median(took) * 1e-9);
    state.counters["signals"] = static_cast<double>(took.size());
    state.counters["ns"] = median(took);
    state.counters["p99_ns"] = quantile(took, 0.99);
    state.counters["p999_ns"] = quantile(took, 0.999);
  }
}

template <class Event>
void add_rows(const std::string& subject) {
  add_row("adds from 2 threads", subject, add_in_a_crowd<Event, 2>);
  add_row("adds from 4 threads", subject, add_in_a_crowd<Event, 4>);
  add_row("adds from 8 threads", subject, add_in_a_crowd<Event, 8>);
  if constexpr (requires(Event event, typename Event::node node) { event.remove(node); }) {
    add_row("signal among 8 removers", subject, signal_in_a_crowd<Event>);
  }
}

const bool registered = [] {
  add_rows<paddock_fence<>>("paddock");
  add_rows<shared_counter>("floor: shared counter");
  add_rows<kernel_steps<false>>("kernel steps");
  add_rows<kernel_style>("spinlock and list");
  add_rows<std_stop_source>("std::stop_source");
  add_rows<mutex_condvar>("mutex and condvar");
  return true;
}();

}  // namespace
}  // namespace paddock::bench
