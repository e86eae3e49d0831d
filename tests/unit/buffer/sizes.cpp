// SPDX-License-Identifier: BSL-1.0
// What each composition costs, in bytes, with pointers of 64 bits. A policy that is not selected costs none.
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_device.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/buffer/mixed_exporter.hpp>
#include <paddock/buffer/placement.hpp>

#include "sizes.hpp"

namespace paddock {
namespace {

/// A device whose mappings are an address.
struct dma_device {
  struct mapped {
    paddock::iova at;
    [[nodiscard]] paddock::iova iova() const noexcept { return at; }
  };
  [[nodiscard]] result<mapped> map(const storage_ptr&, direction) noexcept { return mapped{}; }
  [[nodiscard]] result<void> unmap(mapped&) noexcept { return {}; }
};

/// Memory with caches to look after.
struct caching_memory : memory_exporter {
  using memory_exporter::memory_exporter;
  [[nodiscard]] result<void> sync_for_device(const storage&, direction) noexcept { return {}; }
  [[nodiscard]] result<void> sync_for_cpu(const storage&, direction) noexcept { return {}; }
};
static_assert(caching_exporter<caching_memory>);

using fixed = dma_buf<memory_exporter>;
using moving = dma_buf<placement_exporter<memory_source>>;

using test::has_size;

// The reservation begins on a cache line, so that a buffer is whole lines: seven of what all buffers have, and one of
// the exporter and its caches.
static_assert(has_size<reservation, 128> && has_size<buffer_statistics, 120>);
static_assert(has_size<fixed, 512>);
static_assert(has_size<dma_buf<memory_exporter, revocable>, 512>);
static_assert(has_size<dma_buf<memory_exporter, no_auto_fence, spin_wait, sync_explicit, system_only>, 512>);
static_assert(has_size<dma_buf<caching_memory>, 512>);
static_assert(has_size<moving, 512>);
static_assert(has_size<dma_buf<storage_exporter<>>, 512>);
static_assert(has_size<dma_buf<mixed_exporter<memory_exporter, memory_exporter>>, 512>);

static_assert(has_size<attachment<fixed, dma_device>, 72>);
static_assert(has_size<attachment<fixed, dma_device, no_auto_fence, spin_wait, coherent, system_only>, 72>);
static_assert(has_size<attachment<fixed, cpu_device>, 72>);
// And the importer's hook: two words of its own, and whom to call. What may move also keeps which jobs it requeued.
static_assert(has_size<attachment<moving, dma_device, movable>, 112>);
static_assert(has_size<attachment<moving, dma_device, movable, no_auto_fence, spin_wait, system_only>, 112>);
static_assert(has_size<attachment<fixed, dma_device, revocable>, 96>);
static_assert(has_size<attachment<fixed, dma_device, movable>, 112>);

// A handle, and the address where there is one.
static_assert(has_size<mapping<cpu_device>, 8>);
static_assert(has_size<mapping<dma_device>, 16>);
// What a handle leads to: all but 8, or 16, is the same for all devices.
static_assert(has_size<detail::mapping_record<dma_device>, 80> && has_size<detail::mapping_record<cpu_device>, 88>);

static_assert(has_size<segment, 48> && has_size<storage, 88>);
static_assert(has_size<placement_exporter<memory_source>, 24> &&
              has_size<placement_exporter<memory_source, memory_source>, 24>);
static_assert(has_size<memory_exporter, 8> && has_size<storage_exporter<>, 8>);

}  // namespace
}  // namespace paddock
