// SPDX-License-Identifier: BSL-1.0
/// \file
/// Waiting for a fence, by policy. A wait on a complete fence is a load, whatever the policy.
#pragma once

#include <sys/eventfd.h>

#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/policy/wait.hpp>

namespace paddock {

namespace detail {

/// Spins until the fence is complete, the deadline passed or the rounds are used up.
inline void spin(const fence& f, deadline until, std::uint64_t rounds) noexcept {
  for (std::uint64_t round = 0; round < rounds && !f.is_signaled(); ++round) {
    spin_pause();
    // The clock costs as much as a few pauses: look at it now and then.
    if ((round & 63U) == 63U && until.passed()) {
      return;
    }
  }
}

/// A callback that adds one to an eventfd.
class eventfd_callback final : public fence_callback {
 public:
  explicit eventfd_callback(borrowed_fd fd) noexcept : fence_callback(&run), fd_(fd) {}
  eventfd_callback(const eventfd_callback&) = delete;
  eventfd_callback& operator=(const eventfd_callback&) = delete;
  ~eventfd_callback() { retire(); }

 private:
  static void run(fence_callback& node, const fence_outcome&) noexcept {
    const std::uint64_t one = 1;
    // Cannot fail: the counter is far from its limit, and the descriptor outlives the node.
    static_cast<void>(::write(static_cast<eventfd_callback&>(node).fd_.get(), &one, sizeof one));
  }
  borrowed_fd fd_;
};

}  // namespace detail

[[nodiscard]] inline result<wait_status> wait_for(fence& f, deadline until, spin_wait) noexcept {
  f.enable_signaling();
  detail::spin(f, until, UINT64_MAX);
  return f.status();
}

[[nodiscard]] inline result<wait_status> wait_for(fence& f, deadline until, futex_wait) noexcept {
  static_cast<void>(f.sleep_until(until));
  return f.status();
}

[[nodiscard]] inline result<wait_status> wait_for(fence& f, deadline until, hybrid_wait) noexcept {
  constexpr std::uint64_t rounds_before_sleep = 256;
  f.enable_signaling();
  detail::spin(f, until, rounds_before_sleep);
  if (!f.is_signaled() && !until.passed()) {
    static_cast<void>(f.sleep_until(until));
  }
  return f.status();
}

[[nodiscard]] inline result<wait_status> wait_for(fence& f, deadline until, polling_wait) noexcept {
  while (!f.poll() && !until.passed()) {
    detail::spin_pause();
  }
  return f.status();
}

[[nodiscard]] inline result<wait_status> wait_for(fence& f, deadline until, eventfd_wait) noexcept {
  const unique_fd event = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) {
    return fail_errno("eventfd");
  }
  detail::eventfd_callback node(event);
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
[[nodiscard]] result<wait_status> wait(fence& f, deadline until, Policy policy = {}) noexcept {
  if (f.is_signaled()) {
    return f.status();
  }
  return wait_for(f, until, policy);
}

}  // namespace paddock
