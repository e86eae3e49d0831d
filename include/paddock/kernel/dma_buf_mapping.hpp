// SPDX-License-Identifier: BSL-1.0
/// \file
/// `dma_buf_mapping`: a dma-buf in this process's address space. The bytes are reached through cpu_access.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/kernel/dma_buf_ref.hpp>
#include <paddock/kernel/mapped_memory.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// A mapped window of a dma-buf, and a descriptor of its own to bracket accesses with, so that it depends on no other
/// object. Costs one FD; who has none to spare maps with mapped_memory and brackets with cpu_access(ref, bytes).
class dma_buf_mapping {
 public:
  /// Bytes mapped.
  [[nodiscard]] std::size_t size() const noexcept { return memory_.bytes().size(); }
  [[nodiscard]] buffer_id id() const noexcept { return buffer_.id(); }
  /// What the mapping was made for; one made for writing can be read as well.
  [[nodiscard]] access permits() const noexcept { return permits_; }
  [[nodiscard]] dma_buf_ref sync_handle() const noexcept { return buffer_; }

  /// The bytes without START and END: stale or lost on a device that is not coherent. For those who know theirs is, and
  /// for calls that only want the address. Writing to a mapping made for reading is SIGSEGV.
  [[nodiscard]] std::span<std::byte> unsynchronized_bytes() const noexcept { return memory_.bytes(); }

  /// Unmaps now, and says how that went. Requires: no cpu_access guard of this mapping is alive.
  [[nodiscard]] result<void> unmap() noexcept {
    buffer_ = dma_buf_ref();
    fd_.reset();
    return memory_.unmap();
  }

  dma_buf_mapping(dma_buf_mapping&& other) noexcept
      : fd_(std::move(other.fd_)),
        buffer_(std::exchange(other.buffer_, dma_buf_ref())),
        memory_(std::move(other.memory_)),
        permits_(other.permits_) {}
  dma_buf_mapping& operator=(dma_buf_mapping&& other) noexcept {
    if (this != &other) {
      fd_ = std::move(other.fd_);
      buffer_ = std::exchange(other.buffer_, dma_buf_ref());
      memory_ = std::move(other.memory_);
      permits_ = other.permits_;
    }
    return *this;
  }

 private:
  friend class dma_buf_operations;

  dma_buf_mapping(unique_fd fd, dma_buf_ref buffer, mapped_memory memory, access permits) noexcept
      : fd_(std::move(fd)), buffer_(buffer), memory_(std::move(memory)), permits_(permits) {}

  unique_fd fd_;
  dma_buf_ref buffer_;  // Of fd_.
  mapped_memory memory_;
  access permits_;
};

inline result<dma_buf_mapping> dma_buf_operations::map(access what) const noexcept { return map(what, 0, size_); }

inline result<dma_buf_mapping> dma_buf_operations::map(access what, std::uint64_t offset,
                                                       std::uint64_t length) const noexcept {
  if (!fd_.valid()) {
    return fail(errc::bad_fd, "mmap");
  }
  if (!range_fits(offset, length, size_)) {
    return fail(errc::out_of_range, "dma-buf window");
  }
  PADDOCK_TRY(unique_fd copy, unique_fd::dup(fd_));
  PADDOCK_TRY(mapped_memory memory, mapped_memory::map(copy, what, offset, length));
  dma_buf_ref buffer(*this);
  buffer.fd_ = copy.borrow();
  return dma_buf_mapping(std::move(copy), buffer, std::move(memory), writes(what) ? access::read_write : access::read);
}

}  // namespace PADDOCK_NAMESPACE::kernel
