// SPDX-License-Identifier: BSL-1.0
/// \file
/// `coherent_buffer`: memory for queues and descriptors, that the CPU and the devices of an ioas see alike.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <paddock/base/ids.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/vfio/ioas.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// Pinned, zeroed, contiguous in the address space of the devices; coherent, because VFIO demands that of the IOMMU.
/// A forked child does not get it, so that copy-on-write cannot part CPU and device. Move-only.
class [[nodiscard]] coherent_buffer {
 public:
  /// Allocates at least `size` bytes, rounded up to pages, and maps them. Errors: as ioas::map(), and out_of_memory.
  [[nodiscard]] static result<coherent_buffer> create(ioas& space, std::size_t size, const map_options& options = {}) {
    if (size == 0 || size > SIZE_MAX / 2) {
      return fail(errc::invalid_argument, "coherent_buffer::create");
    }
    coherent_buffer made;
    const std::size_t whole = paddock::detail::round_up_to_page(size);
    void* memory = ::mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
      return fail_errno("mmap");
    }
    made.memory_ = {static_cast<std::byte*>(memory), whole};
    if (::madvise(memory, whole, MADV_DONTFORK) != 0) {
      return fail_errno("madvise(MADV_DONTFORK)");
    }
    PADDOCK_TRY(made.mapping_, space.map(made.memory_, options));
    return made;
  }

  coherent_buffer(coherent_buffer&& other) noexcept
      : memory_(std::exchange(other.memory_, {})), mapping_(std::move(other.mapping_)) {}
  coherent_buffer& operator=(coherent_buffer&& other) noexcept {
    if (this != &other) {
      release();
      memory_ = std::exchange(other.memory_, {});
      mapping_ = std::move(other.mapping_);
    }
    return *this;
  }
  coherent_buffer(const coherent_buffer&) = delete;
  coherent_buffer& operator=(const coherent_buffer&) = delete;
  ~coherent_buffer() { release(); }

  [[nodiscard]] std::span<std::byte> bytes() const& noexcept { return memory_; }
  std::span<std::byte> bytes() const&& = delete;  ///< The buffer would be gone before the span.
  [[nodiscard]] std::size_t size() const noexcept { return memory_.size(); }
  /// The device's address of byte `offset`: an addition. Requires: offset < size().
  [[nodiscard]] paddock::iova iova(std::uint64_t offset = 0) const noexcept { return mapping_.iova(offset); }
  /// Byte `offset` as an object that the device shares. Requires: room and alignment for a T.
  template <class T>
  [[nodiscard]] T* at(std::size_t offset) const& noexcept {
    return reinterpret_cast<T*>(memory_.data() + offset);
  }

 private:
  coherent_buffer() noexcept = default;

  void release() noexcept {
    if (auto unmapped = mapping_.unmap(); !unmapped) {
      report_lost_error(unmapped.error());
    }
    if (!memory_.empty() && ::munmap(memory_.data(), memory_.size()) != 0) {
      report_lost_error(last_error("munmap"));
    }
    memory_ = {};
  }

  std::span<std::byte> memory_;
  dma_mapping mapping_;
};

}  // namespace PADDOCK_NAMESPACE::vfio
