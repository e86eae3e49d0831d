// SPDX-License-Identifier: BSL-1.0
// vfio::iommufd: the same devices and buffers as over a container, and what the kernel takes back without a word.
#include <paddock/vfio/iommufd.hpp>

#include <sys/mman.h>

#include <cstring>
#include <optional>
#include <variant>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/kernel/heap_exporter.hpp>
#include <paddock/kernel/memfd.hpp>
#include <paddock/kernel/p2pmem.hpp>
#include <paddock/kernel/udmabuf_exporter.hpp>
#include <paddock/vfio/bar_exporter.hpp>
#include <paddock/vfio/coherent_buffer.hpp>
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/device.hpp>

#include "edu.hpp"
#include "guest.hpp"

using namespace paddock;
using namespace paddock::test;

namespace {

vfio::iommufd open_space() {
  auto made = vfio::iommufd::create();
  if (!made && made.error() == errc::unsupported_by_kernel) {
    skip("this kernel has no iommufd");
  }
  return unwrap(std::move(made));
}

struct machine {
  vfio::iommufd space = open_space();
  vfio::device device = unwrap(vfio::device::open(space, role("EDU")));
  edu engine{unwrap(device.map_bar(bar_index(0)))};

  machine() {
    unwrap(device.set_bus_master(true));
    device.trust_routes();
  }
};

void fill(std::span<std::byte> bytes, unsigned seed) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>((i * 31 + seed) & 0xffU);
  }
}
/// Whether DMA from memory to `target` arrives at `seen`, a window on it.
bool arrives(machine& m, iova target, const mmio_span& seen, unsigned seed) {
  auto source = unwrap(vfio::coherent_buffer::create(m.space, 4096));
  fill(source.bytes(), seed);
  REQUIRE(m.engine.read_from(source.iova(), 64));
  REQUIRE(m.engine.write_to(target, 64));
  for (std::size_t i = 0; i < 64; i += 4) {
    std::uint32_t expected = 0;
    std::memcpy(&expected, source.bytes().data() + i, sizeof expected);
    if (seen.read32(i) != expected) {
      return false;
    }
  }
  return true;
}

/// PCI_COMMAND by a way that paddock knows nothing of.
void set_memory_behind_our_back(const vfio::device& device, bool on) {
  unwrap(device.state()->with_fd([&](borrowed_fd fd) -> result<void> {
    const auto config = device.state()->config(fd);
    PADDOCK_TRY(const auto now, config.read<std::uint16_t>(vfio::pci_regs::command));
    const auto wanted =
        static_cast<std::uint16_t>(on ? now | vfio::pci_regs::command_memory : now & ~vfio::pci_regs::command_memory);
    return config.write<std::uint16_t>(vfio::pci_regs::command, wanted);
  }));
}

}  // namespace

TEST_CASE("iommufd: a kernel without it says so") {
  const auto made = vfio::iommufd::create();
  const auto known = vfio::probe_iommufd();
  CHECK(made.has_value() == known.address_spaces.is_yes());
  if (!made) {
    CHECK(code(made) == errc::unsupported_by_kernel);
    CHECK(known.map_file.value == kernel::answer::no);
  } else {
    CHECK(known.map_file.is_yes());
  }
}

TEST_CASE("iommufd: DMA reads and writes memory, by address and by file") {
  machine m;
  CHECK(m.engine.id() == 0x010000edU);
  auto buffer = unwrap(vfio::coherent_buffer::create(m.space, 8192));
  fill(buffer.bytes().first(edu::longest), 7);
  REQUIRE(m.engine.read_from(buffer.iova(), edu::longest));
  REQUIRE(m.engine.write_to(buffer.iova(4096), edu::longest));
  CHECK(std::memcmp(buffer.bytes().data(), buffer.bytes().data() + 4096, edu::longest) == 0);

  const auto memory = unwrap(kernel::memfd::create(8192, "by file"));
  const borrowed_fd file = memory.fd();
  const auto storage = unwrap(make_storage(
      std::monostate{}, segment{.kind = storage_kind::memory, .file = file, .length = 4096, .offset = 4096}));
  // A storage without an address is mapped by its file here, and nowhere else.
  auto mapped = unwrap(m.space.map(storage));
  REQUIRE(m.engine.write_to(mapped.iova(), edu::longest));
  const auto seen = unwrap(memory.map());
  CHECK(std::memcmp(seen.bytes().data() + 4096, buffer.bytes().data(), edu::longest) == 0);
  CHECK(mapped.status() == vfio::mapping_status::live);
}

TEST_CASE("iommufd: DMA reaches another device's BAR by its dma-buf, and nothing arrives after the unmap") {
  machine m;
  auto peer = unwrap(vfio::device::open(m.space, role("IVSHMEM")));
  const auto memory = unwrap(peer.map_bar(bar_index(2)));
  auto window = unwrap(m.space.map(unwrap(memory.slice(0x10000, 0x10000))));
  CHECK(window.status() == vfio::mapping_status::unknown);  // The kernel may have taken it.
  const mmio_span seen = unwrap(memory.mmio(0x10800, 0x1000));
  CHECK(arrives(m, window.iova(0x800), seen, 3));
  const auto before = iommu_faults();
  const iova stale = window.iova(0x800);
  unwrap(window.retire());  // The addresses are given to nobody else meanwhile.
  CHECK_FALSE(arrives(m, stale, seen, 4));
  CHECK(faults_after(before) > before);
}

TEST_CASE("iommufd: devices of two address spaces reach each other's BARs") {
  machine m;
  auto elsewhere = unwrap(vfio::iommufd::create());
  auto peer = unwrap(vfio::device::open(elsewhere, role("IVSHMEM")));
  const auto memory = unwrap(peer.map_bar(bar_index(2)));
  auto window = unwrap(m.space.map(unwrap(memory.slice(0, 4096))));
  CHECK(arrives(m, window.iova(), unwrap(memory.mmio(0, 4096)), 5));
}

TEST_CASE("iommufd: what this process takes back is revoked at once, and is mapped anew") {
  machine m;
  auto peer = unwrap(vfio::device::open(m.space, role("IVSHMEM")));
  const auto memory = unwrap(peer.map_bar(bar_index(2)));
  const auto slice = unwrap(memory.slice(0, 4096));
  auto old_mapping = unwrap(m.space.map(slice));
  unwrap(peer.set_memory_enabled(false));
  CHECK(old_mapping.status() == vfio::mapping_status::revoked);
  CHECK(code(m.space.map(slice)) == errc::revoked);
  unwrap(peer.set_memory_enabled(true));
  CHECK(old_mapping.status() == vfio::mapping_status::revoked);
  auto new_mapping = unwrap(m.space.map(slice));
  CHECK(new_mapping.iova() != old_mapping.iova());
  CHECK(arrives(m, new_mapping.iova(), unwrap(memory.mmio(0, 4096)), 6));
}

TEST_CASE("iommufd: what the kernel took back is not known, faults, and is mapped anew") {
  machine m;
  auto peer = unwrap(vfio::device::open(m.space, role("IVSHMEM")));
  const auto memory = unwrap(peer.map_bar(bar_index(2)));
  const auto slice = unwrap(memory.slice(0, 4096));
  std::optional<vfio::dma_mapping> lost = unwrap(m.space.map(slice));
  const mmio_span seen = unwrap(memory.mmio(0, 4096));
  REQUIRE(arrives(m, lost->iova(), seen, 7));
  const auto before = iommu_faults();
  set_memory_behind_our_back(peer, false);
  CHECK(lost->status() == vfio::mapping_status::unknown);
  const auto elsewhere = unwrap(memory.slice(8192, 4096));
  CHECK(code(m.space.map(elsewhere)) == errc::revoked);  // ENODEV of IOMMU_IOAS_MAP_FILE.
  set_memory_behind_our_back(peer, true);
  CHECK_FALSE(arrives(m, lost->iova(), seen, 8));  // It does not come back by itself.
  CHECK(faults_after(before) > before);
  lost.reset();
  auto again = unwrap(m.space.map(slice));
  CHECK(arrives(m, again.iova(), seen, 9));
}

TEST_CASE("iommufd: a buffer in a BAR is attached as over a container, and revoked by a reset") {
  machine m;
  auto peer = unwrap(vfio::device::open(m.space, role("NVME_A")));
  const auto memory = unwrap(peer.map_bar(bar_index(2)));
  using shared = dma_buf<vfio::bar_exporter>;
  const auto buffer = unwrap(shared::create(vfio::bar_exporter(unwrap(memory.slice(0, 65536)))));
  attachment<shared, vfio::device, revocable, p2p_only> use;
  unwrap(use.attach(buffer, m.device));
  mapping<vfio::device> mapped;
  {
    const auto held = unwrap(buffer->lock());
    mapped = unwrap(unwrap(use.arm(held))->map(held, direction::bidirectional));
  }
  CHECK(mapped.status() == mapping_status::unknown);
  unwrap(peer.reset());
  CHECK(mapped.status() == mapping_status::revoked);
  CHECK(buffer->status() == buffer_status::revoked);
}

TEST_CASE("iommufd: a device is reset with its bus when all of it is ours, and what was mapped of it is revoked") {
  machine m;
  auto peer = unwrap(vfio::device::open(m.space, role("NVME_A")));
  auto mapped = unwrap(m.space.map(unwrap(unwrap(peer.map_bar(bar_index(2))).slice(0, 4096))));
  unwrap(peer.hot_reset());
  CHECK(mapped.status() == vfio::mapping_status::revoked);
}

TEST_CASE("iommufd: opening and closing leaks neither descriptors nor addresses") {
  static_cast<void>(open_space());
  const auto before = open_fds();
  for (int round = 0; round < 3; ++round) {
    machine m;
    auto buffer = unwrap(vfio::coherent_buffer::create(m.space, 4096));
    CHECK(code(vfio::device::open(m.space, role("EDU"))) == errc::busy);
  }
  CHECK(open_fds() == before);
}

TEST_CASE("iommufd: a device that is not bound, or not there, is an error that says so") {
  auto space = open_space();
  CHECK(code(vfio::device::open(space, *pci::address::parse("0000:ff:1f.7"))) == errc::not_found);
  struct lent {
    pci::address drive = role("NVME_FAR");
    lent() { bind(drive, "nvme"); }
    ~lent() { bind(drive, "vfio-pci"); }
  } const drive;
  CHECK(code(vfio::device::open(space, drive.drive)) == errc::not_bound);
}

TEST_CASE("iommufd: a udmabuf is mapped by its memfd, not by its own descriptor, nor where that is mapped") {
  machine m;
  auto device = kernel::udmabuf_device::open();
  if (!device) {
    skip("no udmabuf on this kernel");
  }
  auto made = unwrap(kernel::udmabuf_exporter::create(*device, 4096));
  CHECK(m.space.map(unwrap(made.initial_storage())));
  const auto own = unwrap(made.export_fd());
  const segment by_fd{.kind = storage_kind::memory, .file = own.fd(), .length = 4096};
  CHECK(code(m.space.map(unwrap(make_storage(0, by_fd)))) == errc::unsupported_by_kernel);
  const auto bytes = unwrap(own.map(access::read_write));
  CHECK(code(m.space.map({bytes.unsynchronized_bytes().data(), 4096})) == errc::bad_address);
}

TEST_CASE("iommufd: memory that the kernel does not pin for a device is refused: of a heap, and what a driver lends") {
  machine m;
  const auto heap = kernel::dma_heap::open("system");
  if (!heap) {
    skip("no system heap on this kernel");
  }
  const auto of_heap = unwrap(kernel::heap_exporter::create(*heap, 4096));
  auto exporter = of_heap;
  CHECK(code(m.space.map(unwrap(exporter.initial_storage()))) == errc::bad_address);
  const auto own = unwrap(of_heap.export_fd());
  const segment by_fd{.kind = storage_kind::memory, .file = own.fd(), .length = 4096};
  CHECK(code(m.space.map(unwrap(make_storage(0, by_fd)))) == errc::unsupported_by_kernel);
  struct lent {
    pci::address drive = role("NVME_FAR");
    lent() { bind(drive, "nvme"); }
    ~lent() { bind(drive, "vfio-pci"); }
  } const drive;
  const auto memory = unwrap(kernel::p2pmem::allocate(drive.drive, 4096));
  CHECK(code(m.space.map({static_cast<std::byte*>(memory.address()), memory.size()})) == errc::bad_address);
}
