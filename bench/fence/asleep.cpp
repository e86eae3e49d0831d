// SPDX-License-Identifier: BSL-1.0
// Waking a thread that has fallen asleep: how long until it runs, and what the wake costs who signals.
#include <atomic>
#include <thread>
#include <vector>

#include "../peers/context_peers.hpp"
#include "../peers/eventfd.hpp"
#include "../peers/futex.hpp"
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

/// Longer than any waiter here spins, and than a processor without work takes to lie down.
constexpr auto nap = std::chrono::microseconds(200);

/// A waiter on the second core, awake again and again.
template <class Event>
class sleeper {
 public:
  explicit sleeper(pen<Event, 64>& events, std::size_t count)
      : events_(events), count_(count), thread_([this] { serve(); }) {}
  sleeper(const sleeper&) = delete;
  sleeper& operator=(const sleeper&) = delete;
  ~sleeper() { thread_.join(); }

  void await_next(std::size_t index) const noexcept {
    while (next_.load(std::memory_order_acquire) != index + 1) {
      std::this_thread::yield();
    }
  }
  [[nodiscard]] clock::time_point await_awake(std::size_t index) const noexcept {
    while (awake_.load(std::memory_order_acquire) != index + 1) {
      std::this_thread::yield();
    }
    return woke_at_;
  }

 private:
  void serve() {
    stay_on(1);
    for (std::size_t i = 0; i < count_; ++i) {
      next_.store(i + 1, std::memory_order_release);
      events_[i].wait();
      woke_at_ = clock::now();
      awake_.store(i + 1, std::memory_order_release);
    }
  }
  pen<Event, 64>& events_;
  std::size_t count_;
  clock::time_point woke_at_;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> awake_{0};
  std::thread thread_;
};

template <class Event>
void wake_a_sleeper(benchmark::State& state) {
  for ([[maybe_unused]] auto repetition : state) {
    if (!has_two_cores(state)) {
      continue;
    }
    pen<Event, 64> events;
    const auto count = static_cast<std::size_t>(chosen.sleeps);
    events.fill(count);
    std::vector<double> latency;
    std::vector<double> cost;
    {
      sleeper<Event> other(events, count);
      for (std::size_t i = 0; i < count; ++i) {
        other.await_next(i);
        // Not asleep itself: this core is to be awake when it signals.
        for (const auto until = clock::now() + nap; clock::now() < until;) {
          detail::spin_pause();
        }
        const auto began = clock::now();
        events[i].signal();
        const auto ended = clock::now();
        latency.push_back(nanoseconds(other.await_awake(i) - began));
        cost.push_back(nanoseconds(ended - began));
      }
    }
    state.SetIterationTime(median(latency) * 1e-9);
    state.counters["ns"] = median(latency);
    state.counters["signaler_ns"] = median(cost);
  }
}

const bool registered = [] {
  const std::string row = "signal to wake, asleep";
  add_row(row, "paddock", wake_a_sleeper<paddock_fence<no_timestamp, futex_wait>>);
  add_row(row, "paddock, hybrid", wake_a_sleeper<paddock_fence<>>);
  add_row(row, "floor: raw futex", wake_a_sleeper<raw_futex>);
  add_row(row, "std::atomic", wake_a_sleeper<std_atomic>);
  add_row(row, "std::latch", wake_a_sleeper<std_latch>);
  add_row(row, "kernel steps", wake_a_sleeper<kernel_steps<false>>);
  add_row(row, "std::promise", wake_a_sleeper<std_promise>);
  add_row(row, "mutex and condvar", wake_a_sleeper<mutex_condvar>);
  add_row(row, "eventfd", wake_a_sleeper<event_fd>);
  add_context_rows(row, []<class Event>(benchmark::State& state) { wake_a_sleeper<Event>(state); });
  return true;
}();

}  // namespace
}  // namespace paddock::bench
