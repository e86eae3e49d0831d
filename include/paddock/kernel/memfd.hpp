// SPDX-License-Identifier: BSL-1.0
/// \file
/// `memfd`: anonymous memory behind a descriptor, sealed the way udmabuf and address-based DMA mappings need it.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <limits>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/kernel/mapped_memory.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// Rounds up to whole pages of this machine. Errors: invalid_argument (0), out_of_range (no such size).
[[nodiscard]] inline result<std::uint64_t> round_up_to_page(std::uint64_t size) noexcept {
  if (size == 0) {
    return fail(errc::invalid_argument, "size of nothing");
  }
  if (size > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max()) - detail::page_size()) {
    return fail(errc::out_of_range, "size");
  }
  return detail::round_up_to_page(size);
}

/// Memory that cannot shrink under those who pinned or mapped it.
class memfd {
 public:
  /// Makes zeroed memory of `size` bytes, rounded up to whole pages, sealed against shrinking. `name` is for debugging
  /// and ends in /proc/self/maps. Errors: invalid_argument, out_of_range, permission, limit_reached, out_of_memory,
  /// unsupported_by_kernel. Kernel: memfd_create(MFD_ALLOW_SEALING), fcntl(F_ADD_SEALS, F_SEAL_SHRINK).
  [[nodiscard]] static result<memfd> create(std::uint64_t size, const char* name = "paddock") noexcept;
  /// Takes a memfd made elsewhere, hugetlb or not, and closes it when it is none. Seals stay as they are.
  /// Errors: bad_fd (not a memfd).
  [[nodiscard]] static result<memfd> adopt(unique_fd fd) noexcept;

  [[nodiscard]] borrowed_fd fd() const noexcept { return fd_.borrow(); }
  /// Bytes; a multiple of the page when create() made it.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Maps all of it; by that address VFIO type1 maps it for devices. Errors: as mapped_memory::map.
  [[nodiscard]] result<mapped_memory> map(access what = access::read_write) const noexcept {
    return mapped_memory::map(fd_, what, 0, size_);
  }
  /// The F_SEAL_* bits. Errors: bad_fd.
  [[nodiscard]] result<unsigned> seals() const noexcept { return seals_of(fd_); }
  [[nodiscard]] static result<unsigned> seals_of(borrowed_fd fd) noexcept {
    const int seals = ::fcntl(fd.get(), F_GET_SEALS);
    if (seals < 0) {
      return fail_errno("fcntl(F_GET_SEALS)");
    }
    return static_cast<unsigned>(seals);
  }
  /// Gives the descriptor away.
  [[nodiscard]] unique_fd release() && noexcept { return std::move(fd_); }

 private:
  memfd(unique_fd fd, std::uint64_t size) noexcept : fd_(std::move(fd)), size_(size) {}

  unique_fd fd_;
  std::uint64_t size_;
};

inline result<memfd> memfd::create(std::uint64_t size, const char* name) noexcept {
  // Since 6.3, without which vm.memfd_noexec=2 refuses; its number is stable, the libc's headers may be older.
  constexpr unsigned noexec_seal = 8;
  constexpr unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  PADDOCK_TRY(const std::uint64_t rounded, round_up_to_page(size));
  int raw = ::memfd_create(name, flags | noexec_seal);
  if (raw < 0 && errno == EINVAL) {
    raw = ::memfd_create(name, flags);
  }
  if (raw < 0) {
    return fail_errno("memfd_create");
  }
  unique_fd fd = unique_fd::adopt(raw);
  if (detail::retry<false>([&] { return ::ftruncate(fd.get(), static_cast<off_t>(rounded)); }) != 0) {
    return fail_errno("ftruncate");
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK) != 0) {
    return fail_errno("fcntl(F_ADD_SEALS)");
  }
  return memfd(std::move(fd), rounded);
}

inline result<memfd> memfd::adopt(unique_fd fd) noexcept {
  PADDOCK_TRY_VOID(seals_of(fd));
  struct stat file {};
  if (::fstat(fd.get(), &file) != 0) {
    return fail_errno("fstat");
  }
  return memfd(std::move(fd), static_cast<std::uint64_t>(file.st_size));
}

}  // namespace PADDOCK_NAMESPACE::kernel
