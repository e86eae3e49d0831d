// SPDX-License-Identifier: BSL-1.0
/// \file
/// The one place where EINTR and EAGAIN are retried.
#pragma once

#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// Calls until the answer is something else than EINTR, or EAGAIN where that means "again" and not "empty".
template <bool AgainMeansRetry, class Call>
[[nodiscard]] auto retry(Call call) noexcept {
  for (;;) {
    const auto answer = call();
    if (answer != -1)
        [[likely]] {  // Once, as a rule: or a compiler aligns the loop, by instructions in each call's way.
      return answer;
    }
    if (errno != EINTR && !(AgainMeansRetry && errno == EAGAIN)) {
      return answer;
    }
    if (errno == EAGAIN) {
      ::sched_yield();
    }
  }
}

/// The rest of an ioctl that answered -1: retries it, or tells why not. Out of line, so that wrappers stay small enough
/// to be inlined: a call, and a result in memory, would be most of what they add to the system call.
template <bool AgainMeansRetry>
[[nodiscard]] [[gnu::cold]] [[gnu::noinline]] result<int> ioctl_failed(int fd, unsigned long request, void* argument,
                                                                       const char* name) noexcept {
  bool is_first = true;
  const int answer =
      retry<AgainMeansRetry>([&] { return std::exchange(is_first, false) ? -1 : ::ioctl(fd, request, argument); });
  if (answer < 0) {
    return fail_errno(name);
  }
  return answer;
}

/// ioctl with a structure, retried also where the kernel asks for it by EAGAIN: dma-bufs, sync_files, DRM.
/// Returns the ioctl's value. `name` becomes error::where.
[[nodiscard]] inline result<int> ioctl(borrowed_fd fd, unsigned long request, void* argument,
                                       const char* name) noexcept {
  const int answer = ::ioctl(fd.get(), request, argument);
  return answer >= 0 ? result<int>(answer) : ioctl_failed<true>(fd.get(), request, argument, name);
}

/// ioctl whose EAGAIN is an answer: VFIO's reset gives it while the kernel is taking the device away, and for ever.
[[nodiscard]] inline result<int> ioctl_once(borrowed_fd fd, unsigned long request, void* argument,
                                            const char* name) noexcept {
  const int answer = ::ioctl(fd.get(), request, argument);
  return answer >= 0 ? result<int>(answer) : ioctl_failed<false>(fd.get(), request, argument, name);
}
/// The same with a number.
[[nodiscard]] inline result<int> ioctl_once(borrowed_fd fd, unsigned long request, unsigned long argument,
                                            const char* name) noexcept {
  return ioctl_once(fd, request, reinterpret_cast<void*>(argument), name);  // NOLINT(performance-no-int-to-ptr)
}

/// ppoll until the deadline, which a signal does not extend. Returns the number of ready entries, 0 for the deadline.
[[nodiscard]] inline result<int> poll(pollfd* fds, std::size_t count, deadline until) noexcept {
  for (;;) {
    const timespec left = until.is_never() ? timespec{} : until.remaining_timespec();
    const int ready = ::ppoll(fds, static_cast<nfds_t>(count), until.is_never() ? nullptr : &left, nullptr);
    if (ready >= 0) {
      return ready;
    }
    if (errno != EINTR) {
      return fail_errno("ppoll");
    }
  }
}

/// pread of exactly `size` bytes. Errors: as pread; out_of_range when the file ends first.
[[nodiscard]] inline result<void> pread_exactly(borrowed_fd fd, void* to, std::size_t size, std::uint64_t offset,
                                                const char* name) noexcept {
  const auto got = retry<false>([&] { return ::pread(fd.get(), to, size, static_cast<off_t>(offset)); });
  if (got < 0) {
    return fail_errno(name);
  }
  if (static_cast<std::size_t>(got) != size) {
    return fail(errc::out_of_range, name);
  }
  return {};
}

/// pwrite of exactly `size` bytes. Errors: as pwrite; out_of_range when not all was taken.
[[nodiscard]] inline result<void> pwrite_exactly(borrowed_fd fd, const void* from, std::size_t size,
                                                 std::uint64_t offset, const char* name) noexcept {
  const auto put = retry<false>([&] { return ::pwrite(fd.get(), from, size, static_cast<off_t>(offset)); });
  if (put < 0) {
    return fail_errno(name);
  }
  if (static_cast<std::size_t>(put) != size) {
    return fail(errc::out_of_range, name);
  }
  return {};
}

/// open with CLOEXEC, retried. `name` becomes error::where.
[[nodiscard]] inline result<unique_fd> open(const char* path, int flags, const char* name) noexcept {
  const int fd = retry<false>([&] { return ::open(path, flags | O_CLOEXEC); });
  if (fd < 0) {
    return fail_errno(name);
  }
  return unique_fd::adopt(fd);
}

[[nodiscard]] inline std::size_t page_size() noexcept {
  static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

/// Requires: size is at least a page below the largest size_t.
[[nodiscard]] inline std::size_t round_up_to_page(std::size_t size) noexcept {
  return (size + page_size() - 1) / page_size() * page_size();
}

}  // namespace PADDOCK_NAMESPACE::detail
