// SPDX-License-Identifier: BSL-1.0
/// \file
/// `sync_file`: a snapshot of kernel fences as a descriptor, or the fact that there is nothing left to wait for.
/// Kernel: drivers/dma-buf/sync_file.c.
#pragma once

#include <cstring>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/base/uapi/sync_file.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/kernel/ready.hpp>
#include <paddock/kernel/sync_file_info.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// Fences that were submitted before, and when they complete. Vulkan and Android spell "already completed" as the
/// descriptor -1; here that is a state (`already_signaled`), and an FD that is missing by mistake is an error.
/// Moved from, it is neither: every call answers bad_fd, so that a lost fence never reads as a completed one.
/// Thread-safety: const calls from any thread.
class sync_file {
 public:
  sync_file(sync_file&& other) noexcept
      : fd_(std::move(other.fd_)), without_fd_(std::exchange(other.without_fd_, false)) {}
  sync_file& operator=(sync_file&& other) noexcept {
    if (this != &other) {
      fd_ = std::move(other.fd_);
      without_fd_ = std::exchange(other.without_fd_, false);
    }
    return *this;
  }

  /// Takes a sync_file's descriptor, and closes it when it is none. Errors: bad_fd.
  [[nodiscard]] static result<sync_file> adopt(unique_fd fd) noexcept;
  /// The same for an FD of vkGetSemaphoreFdKHR, vkGetFenceFdKHR or a release fence, where -1 is "already signaled".
  [[nodiscard]] static result<sync_file> adopt_or_signaled(unique_fd fd) noexcept;
  /// Copies a descriptor that somebody else owns and keeps. Errors: bad_fd, limit_reached.
  [[nodiscard]] static result<sync_file> dup(borrowed_fd fd) noexcept;
  /// Takes a descriptor that an ioctl has just made as a sync_file: there is nothing to verify.
  [[nodiscard]] static sync_file adopt_new(unique_fd fd) noexcept { return sync_file(std::move(fd), false); }
  /// Nothing to wait for, and no descriptor.
  [[nodiscard]] static sync_file already_signaled() noexcept { return sync_file(unique_fd(), true); }

  /// A second handle on the same fences. Errors: bad_fd (moved from), limit_reached.
  [[nodiscard]] result<sync_file> dup() const noexcept;

  /// Completes when both have. Fences of one context are kept once, the latest of them; the arguments stay as they are.
  /// Requires: `name` has at most 31 bytes, none of them NUL; it is for debugging. Errors: invalid_argument (name),
  /// bad_fd, limit_reached, out_of_memory. Kernel: SYNC_IOC_MERGE.
  [[nodiscard]] static result<sync_file> merge(const sync_file& a, const sync_file& b,
                                               std::string_view name = "paddock") noexcept;
  /// Completes when all have; none at all have completed already. Errors: as above.
  [[nodiscard]] static result<sync_file> merge(std::span<const sync_file> all,
                                               std::string_view name = "paddock") noexcept;

  /// Waits for all fences. Returns signaled, failed (completed with an error, which info() tells) or timed_out. Signals
  /// that arrive do not extend the deadline. Errors: bad_fd, io. Kernel: ppoll(POLLIN), then SYNC_IOC_FILE_INFO.
  [[nodiscard]] result<wait_status> wait(deadline until) const noexcept;
  /// How it stands, without waiting. Errors: bad_fd.
  [[nodiscard]] result<sync_status> status() const noexcept;
  /// Name, state and every fence. Errors: bad_fd. Kernel: SYNC_IOC_FILE_INFO, asked again while the number grows.
  [[nodiscard]] result<sync_file_info> info() const;

  /// Asks the drivers to complete by then, a hint (a GPU may raise its clock); never() asks nothing.
  /// Errors: bad_fd, unsupported_by_kernel. Kernel: SYNC_IOC_SET_DEADLINE, since 6.6.
  [[nodiscard]] result<void> set_deadline(deadline by) const noexcept;

  /// True for the state that has no descriptor. False says nothing about completion: see status().
  [[nodiscard]] bool is_already_signaled() const noexcept { return without_fd_; }
  /// For poll sets and other libraries; not valid (-1, which is what Vulkan wants) when already signaled.
  [[nodiscard]] borrowed_fd fd() const noexcept { return fd_.borrow(); }
  /// Gives the descriptor away; none (-1) when already signaled.
  [[nodiscard]] unique_fd release() && noexcept {
    without_fd_ = false;
    return std::move(fd_);
  }

 private:
  sync_file(unique_fd fd, bool without_fd) noexcept : fd_(std::move(fd)), without_fd_(without_fd) {}

  /// Counts and overall state, no records.
  [[nodiscard]] result<uapi::sync_file_info> head() const noexcept {
    uapi::sync_file_info head{};
    PADDOCK_TRY_VOID(detail::ioctl(fd_, uapi::sync_ioc_file_info, &head, "SYNC_IOC_FILE_INFO"));
    return head;
  }

  unique_fd fd_;
  bool without_fd_;
};

inline result<sync_file> sync_file::adopt(unique_fd fd) noexcept {
  sync_file made(std::move(fd), false);
  PADDOCK_TRY_VOID(made.head());
  return made;
}

inline result<sync_file> sync_file::adopt_or_signaled(unique_fd fd) noexcept {
  return fd.valid() ? adopt(std::move(fd)) : already_signaled();
}

inline result<sync_file> sync_file::dup(borrowed_fd fd) noexcept {
  PADDOCK_TRY(unique_fd copy, unique_fd::dup(fd));
  return adopt(std::move(copy));
}

inline result<sync_file> sync_file::dup() const noexcept {
  if (without_fd_) {
    return already_signaled();
  }
  PADDOCK_TRY(unique_fd copy, unique_fd::dup(fd_));
  return sync_file(std::move(copy), false);
}

inline result<sync_file> sync_file::merge(const sync_file& a, const sync_file& b, std::string_view name) noexcept {
  uapi::sync_merge_data data{};
  if (name.size() >= sizeof data.name || name.find('\0') != std::string_view::npos) {
    return fail(errc::invalid_argument, "sync_file name (at most 31 bytes)");
  }
  if (a.without_fd_ || b.without_fd_) {
    return a.without_fd_ ? b.dup() : a.dup();
  }
  std::memcpy(data.name, name.data(), name.size());
  data.fd2 = b.fd_.get();
  PADDOCK_TRY_VOID(detail::ioctl(a.fd_, uapi::sync_ioc_merge, &data, "SYNC_IOC_MERGE"));
  return adopt_new(unique_fd::adopt(data.fence));
}

inline result<sync_file> sync_file::merge(std::span<const sync_file> all, std::string_view name) noexcept {
  sync_file merged = already_signaled();
  for (const sync_file& next : all) {
    PADDOCK_TRY(merged, merge(merged, next, name));
  }
  return merged;
}

inline result<wait_status> sync_file::wait(deadline until) const noexcept {
  if (without_fd_) {
    return wait_status::signaled;
  }
  PADDOCK_TRY(const wait_status ready, detail::wait_ready(fd_, POLLIN, until));
  if (ready == wait_status::timed_out) {
    return ready;
  }
  // POLLIN says completed, not how.
  PADDOCK_TRY(const uapi::sync_file_info now, head());
  return now.status < 0 ? wait_status::failed : wait_status::signaled;
}

inline result<sync_status> sync_file::status() const noexcept {
  if (without_fd_) {
    return sync_status::signaled;
  }
  PADDOCK_TRY(const uapi::sync_file_info now, head());
  return to_sync_status(now.status);
}

inline result<sync_file_info> sync_file::info() const {
  uapi::sync_file_info now{};
  if (without_fd_) {
    now.status = 1;
    return sync_file_info(now, {});
  }
  PADDOCK_TRY(now, head());
  for (;;) {
    const std::uint32_t room = now.num_fences;
    std::vector<uapi::sync_fence_info> records(room);
    if (room == 0) {
      return sync_file_info(now, {});
    }
    now = uapi::sync_file_info{};
    now.num_fences = room;
    now.sync_fence_info = reinterpret_cast<std::uintptr_t>(records.data());
    const auto answer = detail::ioctl(fd_, uapi::sync_ioc_file_info, &now, "SYNC_IOC_FILE_INFO");
    if (answer) {
      // Fewer than announced when a chain was collected in between.
      records.resize(now.num_fences < room ? now.num_fences : room);
      return sync_file_info(now, {records.begin(), records.end()});
    }
    // EINVAL is also "more fences than records": only a larger number makes it worth another round.
    PADDOCK_TRY(now, head());
    if (answer.error().sys_errno != EINVAL || now.num_fences <= room) {
      return fail(answer.error());
    }
  }
}

inline result<void> sync_file::set_deadline(deadline by) const noexcept {
  if (without_fd_ || by.is_never()) {
    return {};
  }
  uapi::sync_set_deadline hint{};
  hint.deadline_ns = static_cast<std::uint64_t>(by.nanoseconds());
  PADDOCK_TRY_VOID(detail::ioctl(fd_, uapi::sync_ioc_set_deadline, &hint, "SYNC_IOC_SET_DEADLINE"));
  return {};
}

}  // namespace PADDOCK_NAMESPACE::kernel
