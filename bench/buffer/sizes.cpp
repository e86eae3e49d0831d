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
#include <paddock/drm/importer.hpp>
#include <paddock/kernel/fd_exporter.hpp>
#include <paddock/kernel/heap_exporter.hpp>
#include <paddock/kernel/p2pmem_exporter.hpp>
#include <paddock/kernel/udmabuf_exporter.hpp>
#include <paddock/vfio/bar_exporter.hpp>
#include <paddock/vfio/device.hpp>
#include <paddock/vfio/pool_exporter.hpp>
#include <paddock/vfio/pool_source.hpp>

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

template <class Device, class Residency>
void add_attachments(const std::string& of, const std::string& residency) {
  using buffer = dma_buf<two_places>;
  add_size<attachment<buffer, Device, Residency>>(of, residency);
  add_size<attachment<buffer, Device, Residency, no_auto_fence>>(of, residency + ", no_auto_fence");
  add_size<attachment<buffer, Device, Residency, p2p_only>>(of, residency + ", p2p_only");
  add_size<attachment<buffer, Device, Residency, system_only>>(of, residency + ", system_only");
}
template <class Device>
void add_attachments(const std::string& of) {
  add_attachments<Device, pinned>(of, "pinned");
  add_attachments<Device, movable>(of, "movable");
  add_attachments<Device, revocable>(of, "revocable");
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
  add_size<dma_buf<vfio::bar_exporter>>("dma_buf", "vfio::bar_exporter");
  add_size<dma_buf<vfio::doorbell_exporter>>("dma_buf", "vfio::doorbell_exporter");
  add_size<dma_buf<vfio::pool_exporter>>("dma_buf", "vfio::pool_exporter");
  add_size<dma_buf<placement_exporter<vfio::pool_source, memory_source>>>("dma_buf",
                                                                          "placement_exporter of a vfio::pool_source");
  add_size<dma_buf<mixed_exporter<memory_exporter, vfio::bar_exporter, vfio::bar_exporter>>>(
      "dma_buf", "mixed_exporter of a memory and two BARs");
  add_size<reservation>("dma_buf", "of it: reservation");
  add_size<buffer_statistics>("dma_buf", "of it: statistics");
  add_attachments<plain_device>("attachment");
  add_size<attachment<dma_buf<kernel::p2pmem_exporter>, plain_device, kernel_managed>>("attachment", "kernel_managed");
  add_attachments<vfio::device>("attachment to vfio::device");
  add_size<attachment<dma_buf<vfio::bar_exporter>, vfio::device, revocable>>("attachment to vfio::device",
                                                                             "revocable, of a BAR");
  add_size<attachment<dma_buf<vfio::doorbell_exporter>, vfio::device, revocable>>("attachment to vfio::device",
                                                                                  "revocable, of registers");
  add_size<attachment<dma_buf<kernel::udmabuf_exporter>, drm::importer>>("attachment to drm::importer", "pinned");
  add_size<attachment<dma_buf<kernel::fd_exporter>, drm::importer, kernel_managed>>("attachment to drm::importer",
                                                                                    "kernel_managed");
  add_size<attachment<dma_buf<memory_exporter>, cpu_device>>("attachment to cpu_device", "pinned");
  add_mappings<plain_device>("a device with addresses");
  add_mappings<vfio::device>("vfio::device");
  add_mappings<drm::importer>("drm::importer");
  add_mappings<cpu_device>("cpu_device");
  add_size<detail::owned_storage<detail::anonymous_pages>>("storage", "memory_exporter");
  add_size<segment>("storage", "of it: each segment");
  add_size<cpu_access<access::read>>("CPU access", "cpu_access");
  add_size<mmio_access<access::read>>("CPU access", "mmio_access");
  return true;
}();

}  // namespace
}  // namespace paddock::bench
