// SPDX-License-Identifier: BSL-1.0
/// \file
/// `deadline`: the instant at which a wait gives up, absolute, on CLOCK_MONOTONIC. A restarted wait keeps it.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <ctime>
#include <limits>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE {

/// CLOCK_MONOTONIC in nanoseconds, as a std::chrono clock that is that clock by definition.
struct monotonic_clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<monotonic_clock>;
  static constexpr bool is_steady = true;

  [[nodiscard]] static time_point now() noexcept {
    timespec ts{};
    ::clock_gettime(CLOCK_MONOTONIC, &ts);  // Cannot fail: the clock id is valid and the pointer is ours.
    return time_point(std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec));
  }
};

/// When to give up. Made from a duration once, then passed down unchanged, so that retries never extend it.
class deadline {
 public:
  /// Gives up after `span` from now; a span that would overflow means never, a negative one, or no number, now.
  template <class Rep, class Period>
  [[nodiscard]] static deadline in(std::chrono::duration<Rep, Period> span) noexcept {
    const auto now = monotonic_clock::now();
    // Compared as floating point: seconds::max() in nanoseconds would overflow before it could be compared.
    using seconds = std::chrono::duration<long double>;
    if (seconds(span) >= seconds(monotonic_clock::time_point::max() - now)) {
      return never();
    }
    if (!(seconds(span) > seconds::zero())) {  // What is no number compares as false.
      return at(now);
    }
    return deadline(now + std::chrono::duration_cast<std::chrono::nanoseconds>(span));
  }
  /// Gives up at this instant; one before the clock began is as good as its beginning.
  [[nodiscard]] static constexpr deadline at(monotonic_clock::time_point when) noexcept {
    return deadline(when < monotonic_clock::time_point{} ? monotonic_clock::time_point{} : when);
  }
  /// Asks once and does not wait.
  [[nodiscard]] static constexpr deadline now() noexcept { return deadline(monotonic_clock::time_point{}); }
  /// Waits without bound. It has to be spelled out: a wait without end is how programs hang.
  [[nodiscard]] static constexpr deadline never() noexcept { return deadline(monotonic_clock::time_point::max()); }

  [[nodiscard]] constexpr monotonic_clock::time_point time() const noexcept { return when_; }
  [[nodiscard]] constexpr bool is_never() const noexcept { return when_ == monotonic_clock::time_point::max(); }
  [[nodiscard]] constexpr bool is_poll() const noexcept { return when_ <= monotonic_clock::time_point{}; }
  [[nodiscard]] bool passed() const noexcept { return is_poll() || (!is_never() && monotonic_clock::now() >= when_); }

  /// Time left, never negative; nanoseconds::max() for never().
  [[nodiscard]] std::chrono::nanoseconds remaining() const noexcept {
    if (is_never()) {
      return std::chrono::nanoseconds::max();
    }
    if (is_poll()) {
      return std::chrono::nanoseconds::zero();
    }
    const auto now = monotonic_clock::now();
    return now >= when_ ? std::chrono::nanoseconds::zero() : when_ - now;
  }

  /// Absolute nanoseconds on CLOCK_MONOTONIC, as syncobj waits and SYNC_IOC_SET_DEADLINE take them.
  [[nodiscard]] constexpr std::int64_t nanoseconds() const noexcept { return when_.time_since_epoch().count(); }

  /// Absolute timespec for futex(FUTEX_WAIT_BITSET) and clock_nanosleep(TIMER_ABSTIME).
  [[nodiscard]] constexpr timespec to_timespec() const noexcept { return split(when_.time_since_epoch()); }
  /// The time left as ppoll(2) takes it. For never() pass a null pointer instead.
  [[nodiscard]] timespec remaining_timespec() const noexcept { return split(remaining()); }

  friend constexpr auto operator<=>(deadline, deadline) noexcept = default;

 private:
  explicit constexpr deadline(monotonic_clock::time_point when) noexcept : when_(when) {}

  static constexpr timespec split(std::chrono::nanoseconds span) noexcept {
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(span);
    timespec ts{};
    ts.tv_sec = static_cast<std::time_t>(whole.count());
    ts.tv_nsec = static_cast<long>((span - whole).count());
    return ts;
  }

  monotonic_clock::time_point when_;
};

/// How a wait ended. An enumeration on purpose: no truth value can be read into it by accident.
enum class wait_status : std::uint8_t {
  signaled,   ///< Completed, without error.
  failed,     ///< Completed, with an error that the object tells.
  timed_out,  ///< The deadline passed first; nothing is known but that.
};

}  // namespace PADDOCK_NAMESPACE
