// SPDX-License-Identifier: BSL-1.0
/// \file
/// How fences and callbacks end: the words that the fence room answers with, and the signaled state word.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <paddock/base/time.hpp>
#include <paddock/detail/tsc.hpp>

namespace PADDOCK_NAMESPACE {

/// How a fence completed, as its callbacks are told: by value, since an earlier callback may have dropped the last
/// reference of the fence.
struct fence_outcome {
  int sys_errno{0};  ///< 0 for success; EDEADLK when the fence was abandoned.
  monotonic_clock::time_point timestamp{};
};

/// How fence::add_callback ended.
enum class add_outcome : std::uint8_t {
  added,             ///< The callback will run, once.
  already_signaled,  ///< The fence is complete; the callback will not run.
};

/// How fence::remove_callback ended.
enum class remove_outcome : std::uint8_t {
  removed,       ///< It will not run.
  ran,           ///< It has run and finished, or was never added: its memory may go.
  running_here,  ///< Asked from inside the callback itself.
};

namespace detail {

/// The state word of a complete fence: error, time and "signaled" in 64 bits, so that one exchange publishes them all.
///
///   success   bit 0 = 1, bit 1 = 0, bit 2 = unit, bits 3..63  time: nanoseconds, or ticks of the TSC
///   failure   bit 0 = 1, bit 1 = 1, bits 2..13   errno, bits 14..63  time in steps of 256 ns (nine years of uptime)
///
/// A time of 0 means that none was taken.
namespace signaled_word {

inline constexpr std::uint64_t signaled = 1;
inline constexpr std::uint64_t failed = 2;
inline constexpr std::uint64_t in_ticks = 4;
inline constexpr unsigned time_shift = 3;
inline constexpr unsigned errno_shift = 2;
inline constexpr std::uint64_t errno_mask = 0xfff;
inline constexpr unsigned failed_time_shift = 14;
inline constexpr unsigned failed_time_step_log2 = 8;

[[nodiscard]] constexpr std::uint64_t success(monotonic_clock::time_point when) noexcept {
  return static_cast<std::uint64_t>(when.time_since_epoch().count()) << time_shift | signaled;
}
[[nodiscard]] constexpr std::uint64_t success_in_ticks(std::uint64_t ticks) noexcept {
  return ticks << time_shift | in_ticks | signaled;
}
/// Requires: 1 <= sys_errno <= 4095.
[[nodiscard]] constexpr std::uint64_t failure(int sys_errno, monotonic_clock::time_point when) noexcept {
  const auto steps = static_cast<std::uint64_t>(when.time_since_epoch().count()) >> failed_time_step_log2;
  return std::min(steps, ~std::uint64_t{0} >> failed_time_shift) << failed_time_shift |
         static_cast<std::uint64_t>(sys_errno) << errno_shift | failed | signaled;
}

[[nodiscard]] constexpr int sys_errno(std::uint64_t word) noexcept {
  return (word & failed) != 0 ? static_cast<int>(word >> errno_shift & errno_mask) : 0;
}
[[nodiscard]] inline monotonic_clock::time_point timestamp(std::uint64_t word) noexcept {
  if ((word & failed) != 0) {
    return monotonic_clock::time_point(std::chrono::nanoseconds(word >> failed_time_shift << failed_time_step_log2));
  }
  if ((word & in_ticks) != 0) {
    return time_of_ticks(word >> time_shift);
  }
  return monotonic_clock::time_point(std::chrono::nanoseconds(word >> time_shift));
}
[[nodiscard]] inline fence_outcome outcome(std::uint64_t word) noexcept { return {sys_errno(word), timestamp(word)}; }

}  // namespace signaled_word
}  // namespace detail
}  // namespace PADDOCK_NAMESPACE
