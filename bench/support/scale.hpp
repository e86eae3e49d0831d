// SPDX-License-Identifier: BSL-1.0
/// \file
/// How much is measured: the full run, a quick one, or just enough to see that everything runs.
#pragma once

#include <chrono>

namespace paddock::bench {

struct scale {
  int repetitions;                         ///< Of each measurement, at random among those of all others.
  int batches;                             ///< In a repetition, on one thread.
  int pairs;                               ///< In a repetition, of two threads that meet.
  int sleeps;                              ///< In a repetition, where one of two threads falls asleep.
  int crowds;                              ///< In a repetition, of more threads than cores.
  std::chrono::milliseconds signal_storm;  ///< How long signals are sent among removers, in a repetition.

  static constexpr scale full() noexcept { return {11, 61, 301, 41, 5, std::chrono::milliseconds(250)}; }
  static constexpr scale quick() noexcept { return {3, 41, 151, 15, 3, std::chrono::milliseconds(150)}; }
  static constexpr scale smoke() noexcept { return {1, 2, 3, 2, 1, std::chrono::milliseconds(5)}; }
};

/// Set once, by main().
inline scale chosen = scale::full();

}  // namespace paddock::bench
