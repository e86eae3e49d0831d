// SPDX-License-Identifier: BSL-1.0
/// \file
/// An eventfd, as event loops use it.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

namespace paddock::bench {

class event_fd {
 public:
  event_fd() = default;
  event_fd(const event_fd&) = delete;
  event_fd& operator=(const event_fd&) = delete;
  ~event_fd() { ::close(fd_); }

  [[nodiscard]] bool is_signaled() const noexcept { return ready_within(0); }
  void signal() noexcept {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(fd_, &one, sizeof one));
  }
  void wait() const noexcept {
    while (!ready_within(-1)) {
    }
  }

 private:
  [[nodiscard]] bool ready_within(int milliseconds) const noexcept {
    pollfd entry{fd_, POLLIN, 0};
    return ::poll(&entry, 1, milliseconds) == 1;
  }
  int fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

}  // namespace paddock::bench
