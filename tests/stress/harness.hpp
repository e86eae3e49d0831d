// SPDX-License-Identifier: BSL-1.0
/// \file
/// What stress programs have in common: threads, a clock that ends them, luck, and a count of what was done.
#pragma once

#include <sched.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include <paddock/detail/futex.hpp>

namespace paddock::stress {

/// Ends the program at once: the state that broke the rule is what a core dump should show.
inline void must(bool condition, const char* rule) noexcept {
  if (!condition) {
    std::fprintf(stderr, "broken: %s\n", rule);
    std::abort();
  }
}

/// The time of a part of the program.
class stopwatch {
 public:
  explicit stopwatch(std::chrono::duration<double> span)
      : end_(std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::nanoseconds>(span)) {}
  [[nodiscard]] bool running() const noexcept { return std::chrono::steady_clock::now() < end_; }

 private:
  std::chrono::steady_clock::time_point end_;
};

/// A thread's own random numbers.
class luck {
 public:
  explicit luck(std::uint32_t seed) : engine_(seed) {}
  /// One of [0, count).
  [[nodiscard]] std::uint32_t below(std::uint32_t count) { return static_cast<std::uint32_t>(engine_() % count); }
  [[nodiscard]] bool one_in(std::uint32_t count) { return below(count) == 0; }

 private:
  std::minstd_rand engine_;
};

/// Waits until the number is reached: spins first, since what waits here is meant to meet another thread in the next
/// instruction. Relaxed: it orders nothing that a fence should order.
inline void wait_for_number(const std::atomic<std::uint32_t>& number, std::uint32_t enough) noexcept {
  for (unsigned round = 0; number.load(std::memory_order_relaxed) < enough; ++round) {
    if (round < 1000) {
      detail::spin_pause();
    } else {
      std::this_thread::yield();
    }
  }
}

/// How often each kind of operation was done. Each thread counts for itself: a shared count would order the threads,
/// and hide races.
template <class Kind, std::size_t Count>
class tally {
 public:
  static void add(Kind kind) noexcept { ++mine()[static_cast<std::size_t>(kind)]; }
  /// To be called at the end of each thread.
  static void hand_in() {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < Count; ++i) {
      total_[i] += mine()[i];
    }
  }
  [[nodiscard]] static std::uint64_t total(Kind kind) noexcept { return total_[static_cast<std::size_t>(kind)]; }

 private:
  static std::array<std::uint64_t, Count>& mine() noexcept {
    thread_local std::array<std::uint64_t, Count> counts{};
    return counts;
  }
  static inline std::mutex mutex_;
  static inline std::array<std::uint64_t, Count> total_{};
};

/// Puts the calling thread on one of the processors that it may use, the next one for the next index. Threads that give
/// way to each other may else be left on the same one, where they do not meet.
inline void spread(std::size_t index) {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
    return;
  }
  auto skip = index % static_cast<std::size_t>(CPU_COUNT(&allowed));
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed) && skip-- == 0) {
      cpu_set_t mine;
      CPU_ZERO(&mine);
      CPU_SET(cpu, &mine);
      ::sched_setaffinity(0, sizeof mine, &mine);
      return;
    }
  }
}

/// Runs work(index, luck) in so many threads, each of which hands in its counts, and waits for them.
template <class Tally, class Work>
void in_threads(std::size_t count, std::uint32_t seed, Work work) {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < count; ++i) {
    threads.emplace_back([i, seed, &work] {
      spread(i);
      luck dice(seed + 1000 * static_cast<std::uint32_t>(i));
      work(i, dice);
      Tally::hand_in();
    });
  }
  for (std::thread& each : threads) {
    each.join();
  }
}

}  // namespace paddock::stress
