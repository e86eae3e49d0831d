// SPDX-License-Identifier: BSL-1.0
/// \file
/// Waiting for a fence, by policy. A wait on a complete fence is a load, whatever the policy.
#pragma once

#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <ranges>

#include <paddock/base/checking.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/fence/eventfd.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/policy/wait.hpp>

namespace PADDOCK_NAMESPACE {

namespace detail {

/// Who only looks does not wait.
inline void note_wait(deadline until, place at) noexcept {
  if (is_checked && !until.is_poll()) {
    might_wait(at);
  }
}

/// About as long as a sleep and a wake-up cost.
inline constexpr std::uint64_t spins_before_sleep = 256;

/// Spins until `done()`, the deadline, or the rounds are used up.
template <class Done>
void spin_until(Done done, deadline until, std::uint64_t rounds) noexcept {
  for (std::uint64_t round = 0; round < rounds && !done(); ++round) {
    spin_pause();
    // The clock costs as much as a few pauses: look at it now and then.
    if ((round & 63U) == 63U && until.passed()) {
      return;
    }
  }
}

}  // namespace detail

[[nodiscard, gnu::noinline]] inline result<wait_status> wait_for(fence& f, deadline until, spin_wait) noexcept {
  f.enable_signaling();
  detail::spin_until([&]() noexcept { return f.is_signaled(); }, until, UINT64_MAX);
  return f.status();
}

[[nodiscard, gnu::noinline]] inline result<wait_status> wait_for(fence& f, deadline until, futex_wait) noexcept {
  static_cast<void>(f.sleep_until(until));
  return f.status();
}

[[nodiscard, gnu::noinline]] inline result<wait_status> wait_for(fence& f, deadline until, hybrid_wait) noexcept {
  if (f.sleeps_at_source()) {
    return wait_for(f, until, futex_wait{});
  }
  f.enable_signaling();
  detail::spin_until([&]() noexcept { return f.is_signaled(); }, until, detail::spins_before_sleep);
  if (!f.is_signaled() && !until.passed()) {
    static_cast<void>(f.sleep_until(until));
  }
  return f.status();
}

[[nodiscard, gnu::noinline]] inline result<wait_status> wait_for(fence& f, deadline until, polling_wait) noexcept {
  while (!f.poll() && !until.passed()) {
    detail::spin_pause();
  }
  return f.status();
}

[[nodiscard, gnu::noinline]] inline result<wait_status> wait_for(fence& f, deadline until, eventfd_wait) noexcept {
  const unique_fd event = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) {
    return fail_errno("eventfd");
  }
  eventfd_callback node(event);
  if (f.add_callback(node) == add_outcome::added) {
    pollfd entry{event.get(), POLLIN, 0};
    PADDOCK_TRY_VOID(detail::poll(&entry, 1, until));
  }
  return f.status();
}

/// Waits until the fence completes or the deadline passes.
/// Returns signaled, failed (the fence tells the error) or timed_out. A deadline of deadline::now() only looks.
/// Errors: only those of the policy's own means (eventfd_wait: limit_reached).
/// Thread-safety: any thread; not from inside a callback, which must not block.
template <wait_policy Policy = hybrid_wait>
[[nodiscard]] result<wait_status> wait(fence& f, deadline until, Policy policy = {},
                                       place at = place::here()) noexcept {
  detail::note_wait(until, at);
  if (const wait_status now = f.status(); now != wait_status::timed_out) [[likely]] {
    return now;
  }
  return wait_for(f, until, policy);
}

/// Whose elements dereference to fence: fence_ptr, or pointers.
template <class Range>
concept fence_range = std::ranges::range<Range> && requires(std::ranges::range_reference_t<Range> element) {
  { *element } -> std::convertible_to<fence&>;
};

namespace detail {

template <class Range>
[[nodiscard]] bool all_succeeded(Range& fences) noexcept {
  const auto succeeded = [](auto&& each) noexcept { return (*each).status() == wait_status::signaled; };
  if constexpr (std::ranges::common_range<Range>) {
    return std::all_of(std::begin(fences), std::end(fences), succeeded);  // Unrolled, where a loop would not be.
  } else {
    return std::ranges::all_of(fences, succeeded);
  }
}

}  // namespace detail

/// Waits until all of them are complete or the deadline passes. `fences` is a range whose elements dereference to
/// fence: fence_ptr, or a pointer; they stay alive meanwhile, and it can be walked more than once. Returns: timed_out
/// while one is pending, else failed when one of them failed. Errors and thread-safety: as wait().
template <fence_range Range, wait_policy Policy = hybrid_wait>
[[nodiscard]] result<wait_status> wait_all(Range&& fences, deadline until, Policy policy = {},
                                           place at = place::here()) noexcept {
  detail::note_wait(until, at);
  if (detail::all_succeeded(fences)) [[likely]] {
    return wait_status::signaled;
  }
  // Asked for at once, or each source would start only when those before it are done.
  for (auto&& each : fences) {
    if (!(*each).sleeps_at_source()) {
      (*each).enable_signaling();
    }
  }
  wait_status worst = wait_status::signaled;
  for (auto&& each : fences) {
    PADDOCK_TRY(const wait_status ended, wait(*each, until, policy, at));
    if (ended == wait_status::timed_out) {
      return ended;
    }
    worst = ended == wait_status::failed ? ended : worst;
  }
  return worst;
}

/// How wait_any() ended.
struct wait_any_outcome {
  wait_status status{wait_status::timed_out};
  std::size_t index{0};  ///< The first of the range that is complete. Meaningless after timed_out.
};

namespace detail {

/// Complete when the first of several fences is. It lives on the waiter's stack.
class first_of final : public fence {
 public:
  first_of() noexcept : fence(parts{0, 0, "wait_any", nullptr, nullptr, 0}) {}
};

class first_of_callback final : public fence_callback {
 public:
  explicit first_of_callback(first_of& first) noexcept : fence_callback(&run), first_(first) {}
  first_of_callback(const first_of_callback&) = delete;
  first_of_callback& operator=(const first_of_callback&) = delete;
  ~first_of_callback() { retire(); }

 private:
  static void run(fence_callback& node, const fence_outcome&) noexcept {
    static_cast<first_of_callback&>(node).first_.signal(no_timestamp{});
  }
  first_of& first_;
};

/// Puts callbacks on the fences, eight to a stack frame since nothing may be allocated, waits in the innermost frame,
/// and takes the callbacks back on the way out.
template <class Iterator, class End, class Policy>
[[nodiscard]] result<wait_status> wait_for_first(Iterator next, End end, first_of& first, deadline until,
                                                 Policy policy) noexcept {
  std::array<first_of_callback, 8> nodes{first_of_callback(first), first_of_callback(first), first_of_callback(first),
                                         first_of_callback(first), first_of_callback(first), first_of_callback(first),
                                         first_of_callback(first), first_of_callback(first)};
  for (first_of_callback& node : nodes) {
    if (next == end || first.is_signaled()) {
      break;
    }
    if ((**next).add_callback(node) == add_outcome::already_signaled) {
      first.signal(no_timestamp{});
    }
    ++next;
  }
  if (next != end && !first.is_signaled()) {
    return wait_for_first(next, end, first, until, policy);
  }
  return first.is_signaled() ? first.status() : wait_for(first, until, policy);
}

template <class Range, class Look>
[[nodiscard]] wait_any_outcome find_complete(Range& fences, Look look) noexcept {
  std::size_t index = 0;
  for (auto&& each : fences) {
    if (look(*each)) {
      return {(*each).status(), index};
    }
    ++index;
  }
  return {};
}

}  // namespace detail

/// Waits until one of them is complete or the deadline passes. The range as for wait_all(); its iterators can be walked
/// more than once. An empty range times out at once. Uses about 400 bytes of stack for every eight fences.
/// Errors and thread-safety: as wait(). Kernel: dma_fence_wait_any_timeout.
template <fence_range Range, wait_policy Policy = hybrid_wait>
[[nodiscard]] result<wait_any_outcome> wait_any(Range&& fences, deadline until, Policy policy = {},
                                                place at = place::here()) noexcept {
  detail::note_wait(until, at);
  const auto is_signaled = [](fence& f) noexcept { return f.is_signaled(); };
  wait_any_outcome found = detail::find_complete(fences, is_signaled);
  if (found.status != wait_status::timed_out || until.is_poll() || std::begin(fences) == std::end(fences)) {
    return found;
  }
  if constexpr (std::same_as<Policy, polling_wait>) {
    do {
      found = detail::find_complete(fences, [](fence& f) noexcept { return f.poll(); });
      detail::spin_pause();
    } while (found.status == wait_status::timed_out && !until.passed());
    return found;
  } else {
    detail::first_of first;
    PADDOCK_TRY_VOID(detail::wait_for_first(std::begin(fences), std::end(fences), first, until, policy));
    return detail::find_complete(fences, is_signaled);
  }
}

}  // namespace PADDOCK_NAMESPACE
