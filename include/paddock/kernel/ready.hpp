// SPDX-License-Identifier: BSL-1.0
/// \file
/// One ppoll over one descriptor whose revents are read, not only counted: an error is never mistaken for readiness.
#pragma once

#include <poll.h>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/detail/syscall.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// Waits for `events` on `fd`. Returns signaled or timed_out, never failed: poll(2) knows no reasons.
/// Errors: bad_fd (POLLNVAL: not open), io (POLLERR, or a hang-up without what was waited for), as ppoll.
[[nodiscard]] inline result<wait_status> wait_ready(borrowed_fd fd, short events, deadline until) noexcept {
  // ppoll ignores negative descriptors, so that a wait on nothing would silently become a sleep.
  if (!fd.valid()) {
    return fail(errc::bad_fd, "ppoll");
  }
  pollfd entry{fd.get(), events, 0};
  PADDOCK_TRY(const int ready, detail::poll(&entry, 1, until));
  if (ready == 0) {
    return wait_status::timed_out;
  }
  if ((entry.revents & POLLNVAL) != 0) {
    return fail(errc::bad_fd, "ppoll");
  }
  if ((entry.revents & POLLERR) != 0 || (entry.revents & events) == 0) {
    return fail(errc::io, "ppoll");
  }
  return wait_status::signaled;
}

}  // namespace PADDOCK_NAMESPACE::detail
