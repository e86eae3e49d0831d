// SPDX-License-Identifier: BSL-1.0
/// \file
/// `userfault`: events of this process's memory by userfaultfd(2), for memory_monitor. No fault is ever taken: ranges
/// are registered for write protection, and nothing is protected.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/uapi/userfaultfd.hpp>
#include <paddock/buffer/memory_event.hpp>
#include <paddock/detail/syscall.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// One range, with a descriptor of its own: an event is unknown until it is read, so nothing else may hang on it. While
/// it lives the range is not passed to children (MADV_DONTFORK), which would part processor and device when one of them
/// writes; afterwards it is, also where it was not before. Thread-safety: one thread at a time.
class userfault_range {
 public:
  userfault_range(userfault_range&& other) noexcept
      : fd_(std::move(other.fd_)), range_(std::exchange(other.range_, {})), owner_(other.owner_) {}
  userfault_range& operator=(userfault_range&&) = delete;
  ~userfault_range() {
    // A forked child shares the file, which stands for its parent's memory.
    if (fd_ && ::getpid() == owner_) {
      end(range_);
      // Closing lets go who is held, unless a child that did not exec has the file as well.
      std::array<memory_event, 8> ignored;
      for (auto left = read(ignored); left && *left != 0; left = read(ignored)) {
      }
    }
  }

  [[nodiscard]] borrowed_fd fd() const noexcept { return fd_; }

  /// Lets go as many threads as it gives events. Errors: as read(2).
  [[nodiscard]] result<std::size_t> read(std::span<memory_event> into) noexcept {
    std::size_t count = 0;
    while (count < into.size()) {
      uapi::uffd_msg message;
      const auto got = detail::retry<false>([&] { return ::read(fd_.get(), &message, sizeof(message)); });
      if (got < 0 && errno != EAGAIN) {
        return fail_errno("read(userfaultfd)");
      }
      if (static_cast<std::size_t>(got) != sizeof(message)) {
        break;
      }
      if (understand(message, into[count]) && into[count++].what == memory_change::remapped) {
        break;  // What comes next is mremap's own unmapping of the old addresses.
      }
    }
    return count;
  }

 private:
  friend class userfault;
  userfault_range(unique_fd fd, std::span<std::byte> range) noexcept : fd_(std::move(fd)), range_(range) {}

  [[nodiscard]] static std::byte* address(std::uint64_t word) noexcept {
    return reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(word));  // NOLINT(performance-no-int-to-ptr)
  }
  /// Neither call can do anything about what is no longer mapped, nor needs to.
  void end(std::span<std::byte> pages) noexcept {
    if (!pages.empty()) {
      uapi::uffdio_range range{reinterpret_cast<std::uintptr_t>(pages.data()), pages.size()};
      static_cast<void>(detail::ioctl(fd_, uapi::uffdio_unregister_ioctl, &range, "UFFDIO_UNREGISTER"));
      static_cast<void>(::madvise(pages.data(), pages.size(), MADV_DOFORK));
    }
  }

  [[nodiscard]] bool understand(const uapi::uffd_msg& message, memory_event& event) noexcept {
    const auto& words = message.words;
    switch (message.event) {
      case uapi::uffd_event_remove:
        event = {memory_change::removed, {address(words[0]), words[1] - words[0]}, nullptr};
        return true;
      case uapi::uffd_event_unmap:
        event = {memory_change::unmapped, {address(words[0]), words[1] - words[0]}, nullptr};
        forget(event.range);
        return true;
      case uapi::uffd_event_remap:
        event = {memory_change::remapped, {address(words[0]), words[2]}, address(words[1])};
        forget(event.range);
        end({event.moved_to, event.range.size()});
        return true;
      case uapi::uffd_event_fork:
        unique_fd::adopt(static_cast<int>(words[0])).reset();  // The child's own: it watches nothing.
        event = {memory_change::forked, range_, nullptr};
        return true;
      default: return false;  // No other was asked for.
    }
  }
  /// These addresses may be somebody else's soon; what is beside them ends now.
  void forget(std::span<std::byte> gone) noexcept {
    if (range_.empty()) {
      return;
    }
    std::byte* const begin = range_.data();
    std::byte* const last = begin + range_.size();
    if (gone.data() > begin) {
      end({begin, gone.data()});
    }
    if (gone.data() + gone.size() < last) {
      end({gone.data() + gone.size(), last});
    }
    range_ = {};
  }

  unique_fd fd_;
  std::span<std::byte> range_;  ///< That is still registered, and not passed to children.
  pid_t owner_{::getpid()};
};

/// What else is asked of the kernel.
struct userfault_options {
  /// Tell of a fork that copied the range after all, since somebody undid MADV_DONTFORK. Needs CAP_SYS_PTRACE. The
  /// thread that forks is held with the locks of malloc: then neither unmapping nor a job may allocate or free.
  bool tell_forks{false};
};

/// The kernel's events. Anonymous memory from Linux 5.7, memfds and other shared memory from 5.19; private mappings of
/// files are not watched. A hole that another process punches into a shared file is not seen.
/// Thread-safety: any thread. Kernel: fs/userfaultfd.c.
class userfault {
 public:
  using registration = userfault_range;

  /// Asks whether it can be used. Errors: permission (where error::where is "userfaultfd", what runs around this
  /// process forbids the call; where it is "UFFDIO_API", tell_forks needs a capability), unsupported_by_kernel
  /// (no userfaultfd, or not for write protection and all events), limit_reached.
  [[nodiscard]] static result<userfault> open(const userfault_options& options = {}) noexcept {
    uapi::uffdio_api asked;
    {
      PADDOCK_TRY(const unique_fd probe, make_fd());
      PADDOCK_TRY_VOID(detail::ioctl(probe, uapi::uffdio_api_ioctl, &asked, "UFFDIO_API"));
    }
    if ((asked.features & needed) != needed) {
      return fail(errc::unsupported_by_kernel, "UFFDIO_API");
    }
    const std::uint64_t features = needed | (asked.features & uapi::uffd_feature_wp_hugetlbfs_shmem) |
                                   (options.tell_forks ? uapi::uffd_feature_event_fork : 0);
    PADDOCK_TRY_VOID(ready_fd(features));
    return userfault(features);
  }

  /// Watches whole pages that are mapped without a gap. Errors: misaligned, invalid_argument (empty), out_of_range,
  /// busy (a part of it is watched), bad_address (not mapped, or of a kind that the kernel does not watch),
  /// limit_reached, permission.
  [[nodiscard]] result<registration> watch(std::span<std::byte> range) noexcept {
    const auto start = reinterpret_cast<std::uintptr_t>(range.data());
    if (start % detail::page_size() != 0 || range.size() % detail::page_size() != 0) {
      return fail(errc::misaligned, "userfault::watch");
    }
    if (range.empty()) {
      return fail(errc::invalid_argument, "userfault::watch");
    }
    if (range.size() > std::numeric_limits<std::uintptr_t>::max() - start) {
      return fail(errc::out_of_range, "userfault::watch");
    }
    PADDOCK_TRY(unique_fd fd, ready_fd(features_));
    uapi::uffdio_register request;
    request.range = {start, range.size()};
    request.mode = uapi::uffdio_register_mode_wp;
    PADDOCK_TRY_VOID(detail::ioctl(fd, uapi::uffdio_register_ioctl, &request, "UFFDIO_REGISTER"));
    registration made(std::move(fd), range);
    if (::madvise(range.data(), range.size(), MADV_DONTFORK) != 0) {
      return fail_errno("madvise(MADV_DONTFORK)");
    }
    return made;
  }

  /// Errors: bad_address (not mapped everywhere), invalid_argument (locked memory). Kernel: madvise(MADV_DONTNEED).
  [[nodiscard]] static result<void> give_back(std::span<std::byte> range) noexcept {
    if (::madvise(range.data(), range.size(), MADV_DONTNEED) != 0) {
      return fail_errno("madvise(MADV_DONTNEED)");
    }
    return {};
  }

 private:
  static constexpr std::uint64_t needed = uapi::uffd_feature_pagefault_flag_wp | uapi::uffd_feature_event_remove |
                                          uapi::uffd_feature_event_unmap | uapi::uffd_feature_event_remap;

  explicit userfault(std::uint64_t features) noexcept : features_(features) {}

  [[nodiscard]] static result<unique_fd> make_fd() noexcept {
    // User mode only: without privilege the kernel allows no other, and no fault is to be taken anyway. Before 5.11
    // there was no such flag, and no such rule.
    auto fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | uapi::uffd_user_mode_only));
    if (fd < 0 && errno == EINVAL) {
      fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
    }
    if (fd < 0) {
      return fail_errno("userfaultfd");
    }
    return unique_fd::adopt(fd);
  }
  [[nodiscard]] static result<unique_fd> ready_fd(std::uint64_t features) noexcept {
    PADDOCK_TRY(unique_fd fd, make_fd());
    uapi::uffdio_api request;
    request.features = features;
    PADDOCK_TRY_VOID(detail::ioctl(fd, uapi::uffdio_api_ioctl, &request, "UFFDIO_API"));
    return fd;
  }

  std::uint64_t features_;
};

static_assert(memory_events<userfault>);

}  // namespace PADDOCK_NAMESPACE::kernel
