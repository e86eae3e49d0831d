// SPDX-License-Identifier: BSL-1.0
/// \file
/// Where the time of a completion comes from: an argument of fence::signal() and fence::fail(). Reading CLOCK_MONOTONIC
/// costs four times what the signal itself does, so a driver that has the time already, or wants none, says so.
#pragma once

#include <concepts>
#include <cstdint>

#include <paddock/base/time.hpp>
#include <paddock/detail/tsc.hpp>
#include <paddock/fence/outcome.hpp>

namespace PADDOCK_NAMESPACE {

/// CLOCK_MONOTONIC, now. The default.
struct clock_timestamp {
  [[nodiscard]] static std::uint64_t success_word() noexcept {
    return detail::signaled_word::success(monotonic_clock::now());
  }
  [[nodiscard]] static monotonic_clock::time_point time() noexcept { return monotonic_clock::now(); }
};

/// The processor's counter, made a time of when somebody asks; where there are callbacks, which are told the time, the
/// signaler does so before it runs them, in about 100 ns. The first conversion of a program lasts a millisecond:
/// calibrate() has it done beforehand. Requires: an invariant TSC, and no suspend between stamp and conversion. A
/// failure takes the clock.
struct tsc_timestamp {
  static void calibrate() noexcept { static_cast<void>(detail::time_of_ticks(detail::read_ticks())); }
  [[nodiscard]] static std::uint64_t success_word() noexcept {
    return detail::signaled_word::success_in_ticks(detail::read_ticks());
  }
  [[nodiscard]] static monotonic_clock::time_point time() noexcept { return monotonic_clock::now(); }
};

/// None: fence::timestamp() is the beginning of the clock.
struct no_timestamp {
  [[nodiscard]] static std::uint64_t success_word() noexcept { return detail::signaled_word::success({}); }
  [[nodiscard]] static monotonic_clock::time_point time() noexcept { return {}; }
};

/// The caller's: what an interrupt handler or a device has noted. One before the beginning of the clock is none.
struct given_timestamp {
  explicit constexpr given_timestamp(monotonic_clock::time_point when) noexcept
      : when_(when < monotonic_clock::time_point{} ? monotonic_clock::time_point{} : when) {}
  [[nodiscard]] std::uint64_t success_word() const noexcept { return detail::signaled_word::success(when_); }
  [[nodiscard]] monotonic_clock::time_point time() const noexcept { return when_; }

 private:
  monotonic_clock::time_point when_;
};

template <class Policy>
concept timestamp_policy = std::same_as<Policy, clock_timestamp> || std::same_as<Policy, tsc_timestamp> ||
    std::same_as<Policy, no_timestamp> || std::same_as<Policy, given_timestamp>;

}  // namespace PADDOCK_NAMESPACE
