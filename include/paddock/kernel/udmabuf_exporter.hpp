// SPDX-License-Identifier: BSL-1.0
/// \file
/// `udmabuf_exporter`: a buffer in memory of this process that is a dma-buf, too.
#pragma once

#include <cstdint>
#include <utility>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/kernel/dma_buf_exporter.hpp>
#include <paddock/kernel/dma_buf_fd.hpp>
#include <paddock/kernel/mapped_memory.hpp>
#include <paddock/kernel/memfd.hpp>
#include <paddock/kernel/udmabuf.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// Pages of a memfd, pinned by their dma-buf: every kind of device reaches them. VFIO takes the memory, by address or
/// as a file, and drivers of the kernel take the dma-buf. Thread-safety: any thread.
class udmabuf_exporter final : public dma_buf_exporter {
 public:
  /// At least `bytes`, in whole pages, zeroed. Errors: as udmabuf::create() and mapped_memory::map().
  [[nodiscard]] static result<udmabuf_exporter> create(const udmabuf_device& device, std::uint64_t bytes,
                                                       const char* name = "paddock") noexcept {
    PADDOCK_TRY(udmabuf made, udmabuf::create(device, bytes, name));
    return adopt(std::move(made));
  }
  /// Of one that is there. Errors: as mapped_memory::map(); out_of_memory.
  [[nodiscard]] static result<udmabuf_exporter> adopt(udmabuf whole) noexcept {
    auto [buffer, memory] = std::move(whole).release();
    PADDOCK_TRY(mapped_memory bytes, memory.map());
    const segment all{
        .kind = storage_kind::memory, .file = memory.fd(), .length = buffer.size(), .address = bytes.bytes().data()};
    PADDOCK_TRY(dma_buf_exporter made,
                of(std::move(buffer), std::pair(std::move(memory), std::move(bytes)), all, access::read_write));
    return udmabuf_exporter(std::move(made));
  }

 private:
  explicit udmabuf_exporter(dma_buf_exporter made) noexcept : dma_buf_exporter(std::move(made)) {}
};
static_assert(identified_exporter<udmabuf_exporter> && bracketing_exporter<udmabuf_exporter>);

}  // namespace PADDOCK_NAMESPACE::kernel
