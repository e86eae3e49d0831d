// SPDX-License-Identifier: BSL-1.0
/// \file
/// `heap_exporter`: a buffer in memory of one of the kernel's heaps.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/kernel/dma_buf_exporter.hpp>
#include <paddock/kernel/dma_buf_fd.hpp>
#include <paddock/kernel/dma_heap.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// Memory that a heap gave, and that stays where it is. The CPU and drivers that import the FD reach it; VFIO does not:
/// the kernel pins no page of a heap's mmap. Thread-safety: any thread.
class heap_exporter final : public dma_buf_exporter {
 public:
  static constexpr bool maps_by_address = false;

  /// At least `bytes`, in whole pages. Errors: as dma_heap::allocate().
  [[nodiscard]] static result<heap_exporter> create(const dma_heap& from, std::uint64_t bytes,
                                                    std::string_view name = {}) noexcept {
    PADDOCK_TRY(dma_buf_fd buffer, from.allocate(bytes, name));
    PADDOCK_TRY(dma_buf_exporter made, of(std::move(buffer), access::read_write));
    return heap_exporter(std::move(made));
  }

 private:
  explicit heap_exporter(dma_buf_exporter made) noexcept : dma_buf_exporter(std::move(made)) {}
};
static_assert(identified_exporter<heap_exporter> && bracketing_exporter<heap_exporter>);

}  // namespace PADDOCK_NAMESPACE::kernel
