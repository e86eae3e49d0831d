// SPDX-License-Identifier: BSL-1.0
/// \file
/// The processor's time-stamp counter: reading it costs half of what CLOCK_MONOTONIC does; making a time of it can
/// wait.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include <paddock/base/time.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// Ticks since some moment before boot. Thread-safety: any; equal on all cores where the TSC is invariant, which every
/// x86-64 of the last decade and aarch64's generic timer promise.
[[nodiscard]] inline std::uint64_t read_ticks() noexcept {
#if defined(__x86_64__)
  return __rdtsc();
#elif defined(__aarch64__)
  std::uint64_t ticks = 0;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
  return static_cast<std::uint64_t>(monotonic_clock::now().time_since_epoch().count());
#endif
}

/// One instant on both clocks.
struct tick_sample {
  std::uint64_t ticks{0};
  monotonic_clock::time_point time{};

  /// The tightest of a few pairs: a preemption between the two reads would shift the one against the other.
  [[nodiscard]] static tick_sample take() noexcept {
    tick_sample best;
    std::uint64_t best_width = UINT64_MAX;
    for (int attempt = 0; attempt < 4; ++attempt) {
      const std::uint64_t before = read_ticks();
      const auto time = monotonic_clock::now();
      const std::uint64_t width = read_ticks() - before;
      if (width < best_width) {
        best_width = width;
        best = {before + width / 2, time};
      }
    }
    return best;
  }
};

/// The time at which the counter stood there: the line through two samples, the first of which is taken at the first
/// call. That call lasts a millisecond, so that the line has a length; the error is some tens of nanoseconds for recent
/// stamps, and parts in 100,000 of a stamp's age in the first seconds.
[[nodiscard, gnu::noinline]] inline monotonic_clock::time_point time_of_ticks(std::uint64_t ticks) noexcept {
  static const tick_sample first = tick_sample::take();
  tick_sample now = tick_sample::take();
  while (now.time - first.time < std::chrono::milliseconds(1)) {
    now = tick_sample::take();
  }
  const auto elapsed = static_cast<long double>((now.time - first.time).count());
  const auto nanoseconds_per_tick = elapsed / static_cast<long double>(now.ticks - first.ticks);
  const auto age = static_cast<long double>(static_cast<std::int64_t>(now.ticks - ticks)) * nanoseconds_per_tick;
  return now.time - std::chrono::nanoseconds(static_cast<std::int64_t>(age));
}

}  // namespace PADDOCK_NAMESPACE::detail
