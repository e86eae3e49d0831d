// SPDX-License-Identifier: BSL-1.0
/// \file
/// Counting instructions, those of the program and those of the kernel that works for it. It needs a machine whose time
/// stamp counter advances by one with each: tests/vm/topologies/counted.toml.
#pragma once

#include <cstdint>
#include <type_traits>

#include "clock.hpp"

namespace paddock::bench {

[[nodiscard]] inline std::uint64_t instruction_counter() noexcept {
#if defined(__x86_64__)
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return std::uint64_t{high} << 32U | low;
#else
  return 0;
#endif
}

/// Instructions of one call of `operation`, between two readings of the counter. What it returns is handed to `judge`
/// and destroyed, neither of which counts.
template <class Operation, class Judge>
[[nodiscard]] double count_instructions(Operation&& operation, Judge&& judge) {
  const std::uint64_t before = instruction_counter();
  auto outcome = operation();
  clobber(&outcome);
  const std::uint64_t after = instruction_counter();
  judge(outcome);
  return static_cast<double>(after - before);
}

/// Whether the counter counts instructions here: a loop of so many must be so many, most times that one looks (an
/// interrupt may come in between).
[[nodiscard]] inline bool counts_instructions() {
#if defined(__x86_64__)
  static const bool answer = [] {
    const auto loop = [](std::uint64_t rounds) {
      const std::uint64_t before = instruction_counter();
      asm volatile("1: dec %0\n jnz 1b" : "+r"(rounds) : : "cc");
      return instruction_counter() - before;
    };
    int exact = 0;
    for (int look = 0; look < 9; ++look) {
      const std::uint64_t few = loop(1000);
      exact += loop(3000) - few == 4000 ? 1 : 0;
    }
    return exact >= 5;
  }();
  return answer;
#else
  return false;
#endif
}

/// What the two readings add to whatever stands between.
[[nodiscard]] inline double counter_overhead() {
  static const double overhead = [] {
    std::vector<double> none;
    for (int look = 0; look < 31; ++look) {
      none.push_back(count_instructions([] { return 0; }, [](int) {}));
    }
    return median(std::move(none));
  }();
  return overhead;
}

}  // namespace paddock::bench
