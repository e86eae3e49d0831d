// SPDX-License-Identifier: BSL-1.0
/// \file
/// Timing a batch, and what there is to say about many of them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace paddock::bench {

using clock = std::chrono::steady_clock;

[[nodiscard]] inline double nanoseconds(clock::duration span) noexcept {
  return std::chrono::duration<double, std::nano>(span).count();
}

/// The value below which a part of all values lies: 0.5 is the median. Requires: values is not empty.
[[nodiscard]] inline double quantile(std::vector<double> values, double part) {
  const auto at = std::min(values.size() - 1, static_cast<std::size_t>(static_cast<double>(values.size()) * part));
  const auto nth = values.begin() + static_cast<std::ptrdiff_t>(at);
  std::nth_element(values.begin(), nth, values.end());
  return *nth;
}
[[nodiscard]] inline double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

/// What reading the clock twice adds to whatever stands between.
[[nodiscard]] inline double clock_overhead() {
  static const double overhead = [] {
    std::vector<double> pairs;
    for (int pair = 0; pair < 1000; ++pair) {
      const auto began = clock::now();
      pairs.push_back(nanoseconds(clock::now() - began));
    }
    return median(std::move(pairs));
  }();
  return overhead;
}

/// How long one call of `run` takes, in nanoseconds.
template <class Run>
[[nodiscard]] double time(Run&& run) {
  const double overhead = clock_overhead();
  const auto began = clock::now();
  run();
  const auto ended = clock::now();
  return std::max(nanoseconds(ended - began) - overhead, 0.001);
}

/// The compiler must have this value ready, in a register.
template <class Value>
void keep(const Value& value) noexcept {
  asm volatile("" : : "r"(value));
}
/// The compiler must take the memory behind the pointer for read and written.
inline void clobber(void* memory) noexcept { asm volatile("" : : "r"(memory) : "memory"); }

}  // namespace paddock::bench
