// SPDX-License-Identifier: BSL-1.0
/// \file
/// `mapped_memory`: a mapping of a file into this process, unmapped when dropped.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/syscall.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// Pages of a file, shared with everybody else who maps it. It never holds MAP_FAILED: empty, or a valid mapping.
/// The mapping keeps the file's memory alive by itself, after every descriptor is closed.
class mapped_memory {
 public:
  mapped_memory() noexcept = default;
  mapped_memory(mapped_memory&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  mapped_memory& operator=(mapped_memory&& other) noexcept {
    if (this != &other) {
      drop();
      bytes_ = std::exchange(other.bytes_, {});
    }
    return *this;
  }
  ~mapped_memory() { drop(); }

  /// Maps [offset, offset + length) of `fd`, shared. `what` with write also allows to read: no MMU here does otherwise.
  /// Errors: misaligned (offset), invalid_argument (no length), out_of_range, permission (the FD was not opened for
  /// that), not_mappable, bad_fd, out_of_memory. `call` becomes error::where; files whose mmap has errors of its own
  /// have rows of their own in the errno table. Kernel: mmap(MAP_SHARED).
  [[nodiscard]] static result<mapped_memory> map(borrowed_fd fd, access what, std::uint64_t offset,
                                                 std::uint64_t length, const char* call = "mmap") noexcept {
    if (offset % detail::page_size() != 0) {
      return fail(errc::misaligned, "mmap offset");
    }
    if (length == 0) {
      return fail(errc::invalid_argument, "mmap length");
    }
    if (!range_fits(offset, length, std::numeric_limits<off_t>::max())) {
      return fail(errc::out_of_range, "mmap");
    }
    const int protection = writes(what) ? PROT_READ | PROT_WRITE : PROT_READ;
    void* const address = ::mmap(nullptr, length, protection, MAP_SHARED, fd.get(), static_cast<off_t>(offset));
    if (address == MAP_FAILED) {
      return fail_errno(call);
    }
    return mapped_memory(std::span(static_cast<std::byte*>(address), length));
  }

  /// The mapped bytes; empty when moved from or unmapped. Writing needs a mapping made for it.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

  /// Unmaps now, and says how that went. A second call does nothing.
  [[nodiscard]] result<void> unmap() noexcept {
    const auto old = std::exchange(bytes_, {});
    if (!old.empty() && ::munmap(old.data(), old.size()) != 0) {
      return fail_errno("munmap");
    }
    return {};
  }

 private:
  explicit mapped_memory(std::span<std::byte> bytes) noexcept : bytes_(bytes) {}

  void drop() noexcept {
    if (const auto gone = unmap(); !gone) {
      report_lost_error(gone.error());
    }
  }

  std::span<std::byte> bytes_;
};

}  // namespace PADDOCK_NAMESPACE::kernel
