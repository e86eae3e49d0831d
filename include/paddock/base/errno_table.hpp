// SPDX-License-Identifier: BSL-1.0
/// \file
/// The one table that turns an errno into an errc. The same errno means different things to different calls, so a
/// row may name the call; a row without a call is the general meaning. docs/errors.md is checked against it.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <paddock/base/error.hpp>

namespace PADDOCK_NAMESPACE::detail {

struct errno_row {
  std::string_view call;  ///< As given in error::where; empty for the general meaning.
  int sys_errno;
  errc code;
};

/// Rows of named calls come first: the first match wins.
inline constexpr auto errno_table = std::to_array<errno_row>({
    {"DMA_BUF_IOCTL_IMPORT_SYNC_FILE", EINVAL, errc::bad_fd},
    {"DMA_HEAP_IOCTL_ALLOC", ENOTTY, errc::bad_fd},
    {"UDMABUF_CREATE", EBADFD, errc::bad_fd},
    {"UDMABUF_CREATE", EINVAL, errc::limit_reached},  // Unless the window is found to leave the memory.
    {"UDMABUF_CREATE_LIST", EBADFD, errc::bad_fd},
    {"UDMABUF_CREATE_LIST", EINVAL, errc::limit_reached},
    {"open(/dev/udmabuf)", ENOENT, errc::unsupported_by_kernel},
    {"opendir(/dev/dma_heap)", ENOENT, errc::unsupported_by_kernel},
    {"fcntl(F_GET_SEALS)", EINVAL, errc::bad_fd},
    {"SYNC_IOC_MERGE", ENOENT, errc::bad_fd},
    {"SYNC_IOC_MERGE", ENOTTY, errc::bad_fd},
    {"SYNC_IOC_FILE_INFO", ENOTTY, errc::bad_fd},
    {"open(/dev/iommu)", ENOENT, errc::unsupported_by_kernel},
    {"open(/dev/iommu)", ENODEV, errc::unsupported_by_kernel},
    {"IOMMU_IOAS_MAP_FILE", ENODEV, errc::revoked},
    {"IOMMU_IOAS_MAP_FILE", EOPNOTSUPP, errc::unsupported_by_kernel},
    {"VFIO_SET_IOMMU", ENODEV, errc::unsupported_by_platform},
    {"VFIO_SET_IOMMU", EPERM, errc::unsupported_by_platform},
    {"VFIO_GROUP_SET_CONTAINER", EPERM, errc::unsupported_by_platform},
    {"VFIO_GROUP_GET_DEVICE_FD", EPERM, errc::not_viable},
    {"VFIO_GROUP_GET_DEVICE_FD", ENODEV, errc::not_bound},
    {"VFIO_IOMMU_MAP_DMA", ENOMEM, errc::limit_reached},
    {"VFIO_DEVICE_RESET", EINVAL, errc::unsupported_by_device},
    {"VFIO_DEVICE_RESET", ENOTTY, errc::unsupported_by_device},
    {"VFIO_DEVICE_FEATURE", ENODEV, errc::not_found},
    {"VFIO_DEVICE_SET_IRQS", EINVAL, errc::unsupported_by_device},
    {"DRM_IOCTL_PRIME_FD_TO_HANDLE", ENODEV, errc::revoked},
    {"DRM_IOCTL_PRIME_FD_TO_HANDLE", ENOSYS, errc::unsupported_by_device},
    {"DRM_IOCTL_PRIME_HANDLE_TO_FD", ENOSYS, errc::unsupported_by_device},
    {"DRM_IOCTL_MODE_CREATE_DUMB", ENOSYS, errc::unsupported_by_device},
    {"DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE", EINVAL, errc::bad_fd},
    {"DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE(IMPORT_SYNC_FILE)", EINVAL, errc::bad_fd},
    {"DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD(EXPORT_SYNC_FILE)", EINVAL, errc::not_submitted},
    {"DRM_IOCTL_SYNCOBJ_TRANSFER", EINVAL, errc::not_submitted},
    {"DRM_IOCTL_SYNCOBJ_WAIT", EINVAL, errc::not_submitted},
    {"DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT", EINVAL, errc::not_submitted},
    {"DRM_IOCTL_SYNCOBJ_EVENTFD", EINVAL, errc::bad_fd},
    {"mmap", ENODEV, errc::not_mappable},
    {"mmap", EINVAL, errc::not_mappable},
    {"mmap(p2pmem/allocate)", ENOMEM, errc::limit_reached},
    {"memfd_create", EINVAL, errc::unsupported_by_kernel},
    {"UFFDIO_API", EINVAL, errc::unsupported_by_kernel},
    {"UFFDIO_REGISTER", EINVAL, errc::bad_address},  // All its other reasons are ruled out before the call.
    {"madvise(MADV_DONTFORK)", ENOMEM, errc::bad_address},
    {"madvise(MADV_DONTNEED)", ENOMEM, errc::bad_address},

    {"", EINVAL, errc::invalid_argument},
    {"", ERANGE, errc::out_of_range},
    {"", EOVERFLOW, errc::out_of_range},
    {"", EBADF, errc::bad_fd},
    {"", ENOENT, errc::not_found},
    {"", EEXIST, errc::already_exists},
    {"", EBUSY, errc::busy},
    {"", EAGAIN, errc::busy},
    {"", EACCES, errc::permission},
    {"", EPERM, errc::permission},
    {"", EROFS, errc::permission},
    {"", ENOMEM, errc::out_of_memory},
    {"", EMFILE, errc::limit_reached},
    {"", ENFILE, errc::limit_reached},
    {"", ENOSPC, errc::limit_reached},
    {"", E2BIG, errc::limit_reached},
    {"", EFAULT, errc::bad_address},
    {"", ENOTTY, errc::unsupported_by_kernel},
    {"", ENOSYS, errc::unsupported_by_kernel},
    {"", EOPNOTSUPP, errc::unsupported_by_device},
    {"", ETIME, errc::timed_out},
    {"", ETIMEDOUT, errc::timed_out},
    {"", EINTR, errc::interrupted},
    {"", ECANCELED, errc::canceled},
    {"", EDEADLK, errc::abandoned},
    {"", ENODEV, errc::no_device},
    {"", ENXIO, errc::no_device},
    {"", EPIPE, errc::disconnected},
    {"", ECONNRESET, errc::disconnected},
    {"", EIO, errc::io},
});

/// Where the table's rows for an errno are: errors are also answers, of probes and of calls that do not wait.
class errno_index {
 public:
  consteval errno_index() noexcept {
    std::uint8_t next = 0;
    for (int sys_errno = 0; sys_errno < end_of_errnos; ++sys_errno) {
      first_[static_cast<std::size_t>(sys_errno)] = next;
      for (std::size_t row = 0; row < errno_table.size(); ++row) {
        if (errno_table[row].sys_errno == sys_errno) {
          rows_[next++] = static_cast<std::uint8_t>(row);
        }
      }
    }
    first_[end_of_errnos] = next;
  }
  /// In the order of the table.
  [[nodiscard]] constexpr std::span<const std::uint8_t> rows_of(int sys_errno) const noexcept {
    if (sys_errno < 0 || sys_errno >= end_of_errnos) {
      return {};
    }
    const auto of = static_cast<std::size_t>(sys_errno);
    return {rows_.data() + first_[of], static_cast<std::size_t>(first_[of + 1] - first_[of])};
  }

 private:
  static constexpr int end_of_errnos =
      1 + std::max_element(errno_table.begin(), errno_table.end(), [](const errno_row& a, const errno_row& b) {
            return a.sys_errno < b.sys_errno;
          })->sys_errno;
  static_assert(errno_table.size() < 256);

  std::array<std::uint8_t, end_of_errnos + 1> first_{};
  std::array<std::uint8_t, errno_table.size()> rows_{};
};
inline constexpr errno_index errno_rows;

constexpr errc errc_from_errno(int sys_errno, std::string_view call) noexcept {
  for (const std::uint8_t index : errno_rows.rows_of(sys_errno)) {
    if (const errno_row& row = errno_table[index]; row.call.empty() || row.call == call) {
      return row.code;
    }
  }
  return errc::unexpected;
}

/// The errno whose general meaning a code is; EIO for codes that no errno means.
constexpr int errno_from_errc(errc code) noexcept {
  for (const errno_row& row : errno_table) {
    if (row.code == code && row.call.empty()) {
      return row.sys_errno;
    }
  }
  return EIO;
}

}  // namespace PADDOCK_NAMESPACE::detail

namespace PADDOCK_NAMESPACE {

/// The error for an errno that `call` left. `call` is a string literal, the name of the ioctl or of the libc function.
[[nodiscard]] constexpr error error_from_errno(int sys_errno, const char* call) noexcept {
  return error{detail::errc_from_errno(sys_errno, call), sys_errno, call};
}

/// The error of a call that failed just now in this thread.
[[nodiscard]] inline error last_error(const char* call) noexcept { return error_from_errno(errno, call); }

}  // namespace PADDOCK_NAMESPACE
