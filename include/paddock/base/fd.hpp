// SPDX-License-Identifier: BSL-1.0
/// \file
/// Who owns a file descriptor, said by its type: `unique_fd` by value is consumed whatever happens,
/// `borrowed_fd` lasts for the call. No function of paddock takes or returns a bare int.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>

namespace PADDOCK_NAMESPACE {

/// A descriptor that somebody else keeps open for at least as long as the call runs.
class borrowed_fd {
 public:
  constexpr borrowed_fd() noexcept = default;
  /// Says out loud that this int is lent, not given.
  explicit constexpr borrowed_fd(int fd) noexcept : fd_(fd) {}

  [[nodiscard]] constexpr int get() const noexcept { return fd_; }
  [[nodiscard]] constexpr bool valid() const noexcept { return fd_ >= 0; }

  friend constexpr bool operator==(borrowed_fd, borrowed_fd) noexcept = default;

 private:
  int fd_{-1};
};

/// An owned descriptor. Empty when default-made or moved from.
/// Thread-safety: as an int.
class [[nodiscard]] unique_fd {
 public:
  constexpr unique_fd() noexcept = default;

  unique_fd(unique_fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  unique_fd& operator=(unique_fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  unique_fd(const unique_fd&) = delete;
  unique_fd& operator=(const unique_fd&) = delete;
  ~unique_fd() { reset(); }

  /// Takes ownership of a descriptor that the caller owned until now.
  static unique_fd adopt(int fd) noexcept { return unique_fd(fd); }

  /// A second descriptor of the same open file description, with CLOEXEC.
  /// Errors: bad_fd, limit_reached. Kernel: fcntl(F_DUPFD_CLOEXEC).
  [[nodiscard]] static result<unique_fd> dup(borrowed_fd fd) noexcept {
    const int copy = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
      return fail_errno("fcntl(F_DUPFD_CLOEXEC)");
    }
    return unique_fd(copy);
  }

  [[nodiscard]] borrowed_fd borrow() const noexcept { return borrowed_fd(fd_); }
  // Lending to a call needs no ceremony; it is giving away that does.
  operator borrowed_fd() const noexcept { return borrow(); }  // NOLINT(google-explicit-constructor)

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }
  explicit operator bool() const noexcept { return valid(); }

  /// Gives the descriptor to the caller, who must close it.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

  /// Closes. A failing close has closed all the same, so it is reported, never retried.
  void reset() noexcept {
    if (fd_ < 0) {
      return;
    }
    const int saved_errno = errno;
    if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) {
      report_lost_error(last_error("close"));
    }
    errno = saved_errno;
  }

 private:
  explicit unique_fd(int fd) noexcept : fd_(fd) {}

  int fd_{-1};
};

}  // namespace PADDOCK_NAMESPACE
