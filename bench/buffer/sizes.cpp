// SPDX-License-Identifier: BSL-1.0
// How large the types are, as their policies have it. Not measured, but said by the compiler.
#include <cstddef>
#include <string>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/cpu_device.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/buffer/mixed_exporter.hpp>
#include <paddock/buffer/mmio_access.hpp>
#include <paddock/buffer/placement.hpp>
#include <paddock/kernel/fd_exporter.hpp>
#include <paddock/kernel/heap_exporter.hpp>
#include <paddock/kernel/p2pmem_exporter.hpp>
#include <paddock/kernel/udmabuf_exporter.hpp>

#include "../support/batch.hpp"
#include "../support/buffers.hpp"

namespace paddock::bench {
namespace {

template <class T>
void add_size(const std::string& of, const std::string& composition) {
  add_row("size: " + of, composition, [](benchmark::State& state) {
    for ([[maybe_unused]] auto repetition : state) {
      state.SetIterationTime(1e-9);
      state.counters["bytes"] = sizeof(T);
    }
  });
}

template <class Residency>
void add_attachments(const std::string& residency) {
  using buffer = dma_buf<two_places>;
  add_size<attachment<buffer, plain_device, Residency>>("attachment", residency);
  add_size<attachment<buffer, plain_device, Residency, no_auto_fence>>("attachment", residency + ", no_auto_fence");
  add_size<attachment<buffer, plain_device, Residency, p2p_only>>("attachment", residency + ", p2p_only");
  add_size<attachment<buffer, plain_device, Residency, system_only>>("attachment", residency + ", system_only");
}

template <class Device>
void add_mappings(const std::string& device) {
  add_size<mapping<Device>>("mapping", device);
  add_size<detail::mapping_record<Device>>("mapping's record", device);
}

const bool registered = [] {
  add_size<dma_buf<memory_exporter>>("dma_buf", "memory_exporter");
  add_size<dma_buf<memory_exporter, revocable>>("dma_buf", "memory_exporter, revocable");
  add_size<dma_buf<placement_exporter<memory_source, memory_source>>>("dma_buf", "placement_exporter");
  add_size<dma_buf<mixed_exporter<memory_exporter, memory_exporter>>>("dma_buf", "mixed_exporter of two memories");
  add_size<dma_buf<kernel::udmabuf_exporter>>("dma_buf", "kernel::udmabuf_exporter");
  add_size<dma_buf<kernel::heap_exporter>>("dma_buf", "kernel::heap_exporter");
  add_size<dma_buf<kernel::fd_exporter>>("dma_buf", "kernel::fd_exporter");
  add_size<dma_buf<kernel::p2pmem_exporter>>("dma_buf", "kernel::p2pmem_exporter");
  add_size<reservation>("dma_buf", "of it: reservation");
  add_size<buffer_statistics>("dma_buf", "of it: statistics");
  add_attachments<pinned>("pinned");
  add_attachments<movable>("movable");
  add_attachments<revocable>("revocable");
  add_size<attachment<dma_buf<kernel::p2pmem_exporter>, plain_device, kernel_managed>>("attachment", "kernel_managed");
  add_mappings<plain_device>("a device with addresses");
  add_mappings<cpu_device>("cpu_device");
  add_size<detail::owned_storage<detail::anonymous_pages>>("storage", "memory_exporter");
  add_size<segment>("storage", "of it: each segment");
  add_size<cpu_access<access::read>>("CPU access", "cpu_access");
  add_size<mmio_access<access::read>>("CPU access", "mmio_access");
  return true;
}();

}  // namespace
}  // namespace paddock::bench
