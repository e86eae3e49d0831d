// SPDX-License-Identifier: BSL-1.0
// What each composition with a VFIO device costs, in bytes, with pointers of 64 bits.
#include "sizes.hpp"

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/buffer/mixed_exporter.hpp>
#include <paddock/buffer/placement.hpp>
#include <paddock/vfio/bar_exporter.hpp>
#include <paddock/vfio/device.hpp>
#include <paddock/vfio/pool_exporter.hpp>
#include <paddock/vfio/pool_source.hpp>

namespace paddock::vfio {
namespace {

using test::has_size;

using slice = dma_buf<bar_exporter>;
using bells = dma_buf<doorbell_exporter>;
using pages = dma_buf<pool_exporter>;
using moving = dma_buf<placement_exporter<pool_source, memory_source>>;
using mixed = dma_buf<mixed_exporter<memory_exporter, bar_exporter, bar_exporter>>;
using memory = dma_buf<memory_exporter>;

// An exporter of a BAR is told by its device, and knows where in the BAR it is: a cache line more than other buffers.
static_assert(has_size<bar_exporter, 80> && has_size<doorbell_exporter, 80>);
static_assert(has_size<pool_exporter, 96>);
static_assert(has_size<pool_source, 88>);
static_assert(has_size<slice, 576>);
static_assert(has_size<bells, 576>);
static_assert(has_size<pages, 576>);
static_assert(has_size<moving, 576>);
static_assert(has_size<mixed, 704>);

// As any device's.
static_assert(has_size<attachment<memory, device>, 72>);
static_assert(has_size<attachment<memory, device, no_auto_fence, spin_wait, system_only>, 72>);
static_assert(has_size<attachment<slice, device, paddock::revocable>, 96>);
static_assert(has_size<attachment<bells, device, paddock::revocable>, 96>);
static_assert(has_size<attachment<pages, device, paddock::revocable>, 96>);
static_assert(has_size<attachment<mixed, device, paddock::revocable>, 96>);
static_assert(has_size<attachment<moving, device, movable>, 112>);
static_assert(has_size<attachment<moving, device, movable, p2p_only>, 112>);

// A record keeps the addresses in the IOMMU, which are nobody else's until the handle goes.
static_assert(has_size<mapping<device>, 16>);
static_assert(has_size<paddock::detail::mapping_record<device>, 104>);
static_assert(has_size<dma_mapping, 32>);

}  // namespace
}  // namespace paddock::vfio
