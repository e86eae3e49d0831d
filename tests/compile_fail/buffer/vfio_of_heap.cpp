// SPDX-License-Identifier: BSL-1.0
// A device that pins pages by their address cannot have those of a heap: the kernel answers EFAULT.
// EXPECT: paddock: this device pins pages by their address, and the kernel pins none of a dma-buf FD or of p2pmem
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_device.hpp>
#include <paddock/kernel/heap_exporter.hpp>
#include <paddock/kernel/udmabuf_exporter.hpp>
#include <paddock/vfio/device.hpp>

using namespace paddock;

struct pinning_device : cpu_device {
  static constexpr bool maps_by_address = vfio::device::maps_by_address;
};

void caller() {
#ifdef PADDOCK_ALLOWED
  attachment<dma_buf<kernel::udmabuf_exporter>, pinning_device> made;
  attachment<dma_buf<kernel::heap_exporter>, cpu_device> by_cpu;
#else
  attachment<dma_buf<kernel::heap_exporter>, pinning_device> made;
#endif
}
