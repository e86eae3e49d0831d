// SPDX-License-Identifier: BSL-1.0
/// \file
/// Measurements of two threads on two cores. On a virtual machine the distance between the cores changes while it runs,
/// five times the one way, and with it every such figure. So each batch has a bare cache line thrown to and fro right
/// before and right after it: the batch counts as near or far by that, and not at all when the two disagree or somebody
/// else had one of the cores meanwhile.
#pragma once

#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <paddock/detail/futex.hpp>

#include "clock.hpp"
#include "cores.hpp"
#include "scale.hpp"

namespace paddock::bench {

/// A partner for the calling thread, on the second core; the calling thread is on the first.
class duo {
 public:
  duo() : partner_([this] { serve(); }) {}
  duo(const duo&) = delete;
  duo& operator=(const duo&) = delete;
  ~duo() {
    task_ = nullptr;
    order(++ordered_);
    partner_.join();
  }

  /// Runs `mine` here and `theirs` there, from the same moment. Returns the mean of their times, in nanoseconds. The
  /// partner works with a copy on its own stack: the pointers that a closure keeps would else be read again and again
  /// from a line of this thread's stack, which this thread writes.
  template <class Mine, class Theirs>
  double run(const Mine& mine, const Theirs& theirs) {
    argument_ = &theirs;
    task_ = [](const void* argument) {
      const Theirs own(*static_cast<const Theirs*>(argument));
      own();
    };
    const unsigned turn = ++ordered_;
    order(turn);
    await(ready_, turn);
    go_.store(turn, std::memory_order_release);
    const double here = time(mine);
    await(done_, turn);
    return (here + their_time_) / 2;
  }

  /// Nanoseconds that a bare cache line takes to the other core, now.
  double hop() {
    constexpr unsigned round_trips = 32;
    ball_.store(0, std::memory_order_relaxed);
    double here = 0;
    run(
        [&] {
          here = time([&] {
            for (unsigned i = 0; i < round_trips; ++i) {
              ball_.store(2 * i + 1, std::memory_order_release);
              await(ball_, 2 * i + 2);
            }
          });
        },
        [&] {
          for (unsigned i = 0; i < round_trips; ++i) {
            await(ball_, 2 * i + 1);
            ball_.store(2 * i + 2, std::memory_order_release);
          }
        });
    return here / (2 * round_trips);
  }

  static void await(const std::atomic<unsigned>& word, unsigned value) noexcept {
    while (word.load(std::memory_order_acquire) != value) {
      detail::spin_pause();
    }
  }

 private:
  void order(unsigned turn) noexcept { ordered_word_.store(turn, std::memory_order_release); }
  void serve() {
    stay_on(1);
    for (unsigned turn = 1;; ++turn) {
      await(ordered_word_, turn);
      if (task_ == nullptr) {
        return;
      }
      ready_.store(turn, std::memory_order_release);
      await(go_, turn);
      their_time_ = time([&] { task_(argument_); });
      done_.store(turn, std::memory_order_release);
    }
  }

  unsigned ordered_{0};
  void (*task_)(const void*){nullptr};
  const void* argument_{nullptr};
  double their_time_{0};
  alignas(64) std::atomic<unsigned> ordered_word_{0};
  alignas(64) std::atomic<unsigned> ready_{0};
  alignas(64) std::atomic<unsigned> go_{0};
  alignas(64) std::atomic<unsigned> done_{0};
  alignas(64) std::atomic<unsigned> ball_{0};
  std::thread partner_;
};

/// Something on a line of its own, which no neighbour on the stack shares.
template <class T>
struct alignas(64) on_own_line {
  T it;
};

/// Whether the machine has the two cores; where not, the measurement says that it was left out.
[[nodiscard]] inline bool has_two_cores(benchmark::State& state) {
  if (usable_cpus().size() < 2) {
    state.SkipWithError("left out: needs two processors");
    return false;
  }
  return true;
}

/// The batches of a repetition, near and far apart.
class distances {
 public:
  /// Above this a hop is far. Within one cache hierarchy it is some ten nanoseconds, between two of them hundreds.
  static constexpr double far_from = 100;
  /// Above this it was no hop: somebody else had the core.
  static constexpr double too_long = 1000;

  /// `before` and `after` are hops; `ns` is what one operation took.
  void add(double before, double after, double ns) {
    if (std::max(before, after) > too_long || (before > far_from) != (after > far_from)) {
      return;
    }
    regime& seen = before > far_from ? far_ : near_;
    seen.ns.push_back(ns);
    seen.hops.push_back(2 * ns / (before + after));
    seen.hop_ns.push_back((before + after) / 2);
  }
  void report(benchmark::State& state) const {
    double typical = 1;
    for (const regime* seen : {&far_, &near_}) {
      // A few batches say nothing about a regime, save in a run that only looks whether all is there.
      if (seen->ns.size() < std::min<std::size_t>(5, static_cast<std::size_t>(chosen.pairs))) {
        continue;
      }
      const std::string name = seen == &near_ ? "near" : "far";
      typical = median(seen->ns);
      state.counters[name + "_ns"] = typical;
      state.counters[name + "_hops"] = median(seen->hops);
      state.counters[name + "_hop_ns"] = median(seen->hop_ns);
      state.counters[name + "_batches"] = static_cast<double>(seen->ns.size());
    }
    state.SetIterationTime(typical * 1e-9);
  }

 private:
  struct regime {
    std::vector<double> ns;
    std::vector<double> hops;
    std::vector<double> hop_ns;
  };
  regime near_;
  regime far_;
};

/// One repetition: `prepare`, not timed, then `run(duo)`, which returns nanoseconds an operation, again and again.
template <class Prepare, class Run>
void measure_duo(benchmark::State& state, Prepare&& prepare, Run&& run) {
  for ([[maybe_unused]] auto repetition : state) {
    if (!has_two_cores(state)) {
      continue;
    }
    duo both;
    distances seen;
    for (int batch = 0; batch < chosen.pairs; ++batch) {
      prepare();
      const double before = both.hop();
      const double ns = run(both);
      seen.add(before, both.hop(), ns);
    }
    seen.report(state);
  }
}

}  // namespace paddock::bench
