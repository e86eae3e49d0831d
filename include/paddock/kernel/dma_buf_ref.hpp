// SPDX-License-Identifier: BSL-1.0
/// \file
/// What can be asked of any dma-buf FD, and `dma_buf_ref`: one that somebody else owns.
/// Kernel: drivers/dma-buf/dma-buf.c, since 5.3 (before, a dma-buf could not be told from other files).
#pragma once

#include <poll.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/base/uapi/dma_buf.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/kernel/dma_buf_info.hpp>
#include <paddock/kernel/ready.hpp>
#include <paddock/kernel/sync_file.hpp>

namespace PADDOCK_NAMESPACE::kernel {

class dma_buf_fd;
class dma_buf_mapping;
class dma_buf_ref;

/// The calls that an owned and a borrowed dma-buf FD share. Used through dma_buf_fd or dma_buf_ref.
/// Thread-safety: const calls from any thread.
class dma_buf_operations {
 public:
  /// The descriptor, for calls of other libraries; they must not close it.
  [[nodiscard]] borrowed_fd fd() const noexcept { return fd_; }
  [[nodiscard]] bool valid() const noexcept { return fd_.valid(); }
  /// Bytes, fixed when the buffer was made. 0 when moved from.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// Which buffer it is, equal for every FD and every import of it. The only key for caches: FD numbers are reused.
  [[nodiscard]] buffer_id id() const noexcept { return id_; }

  /// Names the buffer, for people who read fdinfo or bufinfo. Requires: at most 31 bytes, none of them NUL or a
  /// newline. Errors: invalid_argument, bad_fd. Kernel: DMA_BUF_SET_NAME_B.
  [[nodiscard]] result<void> set_name(std::string_view name) const noexcept;
  /// Name, exporter and reference count. Errors: bad_fd, not_found (no /proc), as read. Kernel: /proc/self/fdinfo.
  [[nodiscard]] result<dma_buf_info> info() const { return read_dma_buf_info(fd_); }

  /// Maps all of it. The mapping keeps a descriptor of its own, so this one may be closed.
  /// Errors: not_mappable (the exporter has no mmap), permission (written, and the FD is read-only), limit_reached,
  /// out_of_memory, bad_fd. Kernel: mmap.
  [[nodiscard]] result<dma_buf_mapping> map(access what) const noexcept;
  /// Maps a window. Errors: also misaligned (offset is no multiple of the page) and out_of_range.
  [[nodiscard]] result<dma_buf_mapping> map(access what, std::uint64_t offset, std::uint64_t length) const noexcept;

  /// Waits until a CPU or device access of this kind need not wait for implicit fences: to read, for the writers; to
  /// write, for everybody. Says nothing about caches, and nothing about failed fences: export_sync_file() does.
  /// Returns signaled or timed_out. Errors: bad_fd, io. Kernel: ppoll (POLLIN, POLLOUT).
  [[nodiscard]] result<wait_status> wait(access what, deadline until) const noexcept {
    return detail::wait_ready(fd_, writes(what) ? POLLOUT : POLLIN, until);
  }
  /// wait() that does not wait.
  [[nodiscard]] result<wait_status> poll(access what) const noexcept { return wait(what, deadline::now()); }

  /// The fences that an access of this kind has to wait for, as of now: to read, the writers; to write, everybody.
  /// Later fences are not in it. An idle buffer gives one that is signaled. Exporting, submitting and importing the
  /// result is not atomic: callers that share a buffer need a lock of their own. Errors: unsupported_by_kernel
  /// (before 6.0), limit_reached, out_of_memory, bad_fd. Kernel: DMA_BUF_IOCTL_EXPORT_SYNC_FILE.
  [[nodiscard]] result<sync_file> export_sync_file(access what) const noexcept;
  /// Makes others wait: adds these fences as an access of this kind. One that is already signaled adds nothing.
  /// Errors: bad_fd, unsupported_by_kernel, out_of_memory. Kernel: DMA_BUF_IOCTL_IMPORT_SYNC_FILE.
  [[nodiscard]] result<void> import_sync_file(const sync_file& fences, access what) const noexcept;

  /// Half a bracket. Use cpu_access, whose END cannot be forgotten and cannot differ from its START; this is what it
  /// calls. May block on fences. Errors: bad_fd, as the exporter reports. Kernel: DMA_BUF_IOCTL_SYNC.
  [[nodiscard]] result<void> sync_start(access what) const noexcept { return sync(what, uapi::dma_buf_sync_start); }
  /// The other half.
  [[nodiscard]] result<void> sync_end(access what) const noexcept { return sync(what, uapi::dma_buf_sync_end); }
  /// What a cpu_access guard keeps: it stays right when the object that it was taken from moves.
  [[nodiscard]] dma_buf_ref sync_handle() const noexcept;

  /// One more FD of the same buffer. Errors: limit_reached, bad_fd.
  [[nodiscard]] result<dma_buf_fd> dup() const noexcept;

  /// Whether both are the same buffer, whatever their FD numbers.
  friend bool operator==(const dma_buf_operations& a, const dma_buf_operations& b) noexcept { return a.id_ == b.id_; }

 protected:
  // Protected, so that an owner is never sliced into something that looks like one.
  dma_buf_operations() noexcept = default;
  dma_buf_operations(const dma_buf_operations&) noexcept = default;
  dma_buf_operations& operator=(const dma_buf_operations&) noexcept = default;
  ~dma_buf_operations() = default;

  void clear() noexcept { *this = dma_buf_operations(); }
  /// Looks at the descriptor and keeps what it found, or stays empty.
  [[nodiscard]] result<void> identify(borrowed_fd fd) noexcept;
  /// The same of one that is known to be a dma-buf.
  [[nodiscard]] result<void> learn(borrowed_fd fd) noexcept;

 private:
  [[nodiscard]] result<void> sync(access what, std::uint64_t phase) const noexcept {
    uapi::dma_buf_sync argument{phase | static_cast<std::uint64_t>(what)};
    PADDOCK_TRY_VOID(detail::ioctl(fd_, uapi::dma_buf_ioctl_sync, &argument, "DMA_BUF_IOCTL_SYNC"));
    return {};
  }

  borrowed_fd fd_;
  std::uint64_t size_{0};
  buffer_id id_;
};

/// A dma-buf FD that somebody else keeps open for as long as this is used. Copied freely; owns nothing.
class dma_buf_ref final : public dma_buf_operations {
 public:
  dma_buf_ref() noexcept = default;

  /// Errors: bad_fd (not open, or not a dma-buf). Kernel: fstatfs, fstat.
  [[nodiscard]] static result<dma_buf_ref> borrow(borrowed_fd fd) noexcept {
    dma_buf_ref ref;
    PADDOCK_TRY_VOID(ref.identify(fd));
    return ref;
  }

 private:
  friend class dma_buf_operations;
  friend class dma_buf_fd;
  explicit dma_buf_ref(const dma_buf_operations& base) noexcept : dma_buf_operations(base) {}
};

// SYNC, EXPORT and IMPORT take the bits of `access` as they are.
static_assert(static_cast<std::uint64_t>(access::read) == uapi::dma_buf_sync_read);
static_assert(static_cast<std::uint64_t>(access::write) == uapi::dma_buf_sync_write);

inline dma_buf_ref dma_buf_operations::sync_handle() const noexcept { return dma_buf_ref(*this); }

inline result<void> dma_buf_operations::identify(borrowed_fd fd) noexcept {
  struct statfs file_system {};
  if (detail::retry<false>([&] { return ::fstatfs(fd.get(), &file_system); }) != 0) {
    return fail_errno("fstatfs");
  }
  if (file_system.f_type != uapi::dma_buf_magic) {
    return fail(errc::bad_fd, "not a dma-buf");
  }
  return learn(fd);
}

inline result<void> dma_buf_operations::learn(borrowed_fd fd) noexcept {
  struct stat file {};
  if (::fstat(fd.get(), &file) != 0) {
    return fail_errno("fstat");
  }
  fd_ = fd;
  size_ = static_cast<std::uint64_t>(file.st_size);
  id_ = buffer_id{file.st_dev, file.st_ino};
  return {};
}

inline result<void> dma_buf_operations::set_name(std::string_view name) const noexcept {
  if (name.size() > uapi::dma_buf_name_max) [[unlikely]] {
    return fail(errc::invalid_argument, "dma-buf name (at most 31 bytes)");
  }
  char terminated[uapi::dma_buf_name_max + 1]{};
  name.copy(terminated, name.size());
  // A newline would forge lines of fdinfo, which other programs parse. All places are looked at, so that it takes few
  // instructions: those behind the name end it too.
  auto name_and_ends = static_cast<std::uint8_t>(name.size());
  for (const char each : terminated) {
    name_and_ends = static_cast<std::uint8_t>(name_and_ends + static_cast<std::uint8_t>(each == '\0' || each == '\n'));
  }
  if (name_and_ends != sizeof terminated) [[unlikely]] {
    return fail(errc::invalid_argument, "dma-buf name (one line)");
  }
  PADDOCK_TRY_VOID(detail::ioctl(fd_, uapi::dma_buf_set_name_b, &terminated[0], "DMA_BUF_SET_NAME_B"));
  return {};
}

inline result<sync_file> dma_buf_operations::export_sync_file(access what) const noexcept {
  uapi::dma_buf_sync_file argument{static_cast<std::uint32_t>(what), -1};
  PADDOCK_TRY_VOID(
      detail::ioctl(fd_, uapi::dma_buf_ioctl_export_sync_file, &argument, "DMA_BUF_IOCTL_EXPORT_SYNC_FILE"));
  return sync_file::adopt_new(unique_fd::adopt(argument.fd));
}

inline result<void> dma_buf_operations::import_sync_file(const sync_file& fences, access what) const noexcept {
  if (fences.is_already_signaled()) {
    return {};
  }
  uapi::dma_buf_sync_file argument{static_cast<std::uint32_t>(what), fences.fd().get()};
  PADDOCK_TRY_VOID(
      detail::ioctl(fd_, uapi::dma_buf_ioctl_import_sync_file, &argument, "DMA_BUF_IOCTL_IMPORT_SYNC_FILE"));
  return {};
}

}  // namespace PADDOCK_NAMESPACE::kernel
