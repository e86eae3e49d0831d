// SPDX-License-Identifier: BSL-1.0
// vfio::ioas on a real IOMMU: memory and peer BARs reached by a real DMA engine, and what the kernel refuses.
#include <paddock/vfio/ioas.hpp>

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <numeric>

#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/kernel/fd_exporter.hpp>
#include <paddock/kernel/p2pmem.hpp>
#include <paddock/pci/memory_windows.hpp>
#include <paddock/vfio/bar_export.hpp>
#include <paddock/vfio/coherent_buffer.hpp>
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/device.hpp>
#include <paddock/vfio/diagnose.hpp>

#include "edu.hpp"
#include "guest.hpp"

using namespace paddock;
using namespace paddock::test;

namespace {

struct machine {
  vfio::container space = unwrap(vfio::container::create());
  vfio::device device = unwrap(vfio::device::open(space, role("EDU")));
  edu engine{unwrap(device.map_bar(bar_index(0)))};

  machine() { unwrap(device.set_bus_master(true)); }
};

void fill(std::span<std::byte> bytes, unsigned seed) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>((i * 31 + seed) & 0xffU);
  }
}

void needs_bar_export(const vfio::device& exporter) {
  if (const auto given = vfio::probe_bar_export(exporter); !given.is_yes()) {
    skip(fmt::format("this kernel does not export BARs as dma-bufs: {}", given.reason).c_str());
  }
}

}  // namespace

TEST_CASE("ioas: DMA reads and writes memory") {
  machine m;
  auto buffer = unwrap(vfio::coherent_buffer::create(m.space, 8192));
  fill(buffer.bytes().first(edu::longest), 7);
  REQUIRE(m.engine.read_from(buffer.iova(), edu::longest));
  REQUIRE(m.engine.write_to(buffer.iova(4096), edu::longest));
  CHECK(std::memcmp(buffer.bytes().data(), buffer.bytes().data() + 4096, edu::longest) == 0);
  CHECK(m.space.find(buffer.iova(100))->storage == storage_kind::memory);
}

TEST_CASE("ioas: DMA reaches another device's BAR, and nothing arrives after the unmap") {
  machine m;
  auto peer = unwrap(vfio::device::open(m.space, role("IVSHMEM")));
  const auto memory = unwrap(peer.map_bar(bar_index(2)));
  const mmio_span span = unwrap(memory.mmio());
  auto source = unwrap(vfio::coherent_buffer::create(m.space, 4096));
  fill(source.bytes(), 3);
  auto window = unwrap(m.space.map(unwrap(memory.slice(0x10000, 0x10000))));
  CHECK(m.space.find(window.iova(0x8000))->storage == storage_kind::device_memory);

  REQUIRE(m.engine.read_from(source.iova(), edu::longest));
  REQUIRE(m.engine.write_to(window.iova(0x800), edu::longest));
  for (std::size_t i = 0; i < edu::longest; i += 4) {
    std::uint32_t expected = 0;
    std::memcpy(&expected, source.bytes().data() + i, sizeof expected);
    REQUIRE(span.read32(0x10800 + i) == expected);
  }
  REQUIRE(m.engine.read_from(window.iova(0x800), edu::longest));
  std::memset(source.bytes().data(), 0, edu::longest);
  REQUIRE(m.engine.write_to(source.iova(), edu::longest));
  CHECK(source.bytes()[100] == static_cast<std::byte>((100 * 31 + 3) & 0xff));

  const iova stale = window.iova();
  unwrap(window.unmap());
  CHECK_FALSE(m.space.find(stale));
  span.write32(0x10000, 0x5a5a5a5a);
  static_cast<void>(m.engine.write_to(stale, 64));
  CHECK(span.read32(0x10000) == 0x5a5a5a5a);
}

TEST_CASE("ioas: memory that a kernel driver lends cannot be mapped") {
  struct lent {
    pci::address provider = role("NVME_FAR");
    lent() { bind(provider, "nvme"); }
    ~lent() { bind(provider, "vfio-pci"); }
  } const drive;
  const auto lends = kernel::p2pmem::statistics(drive.provider);
  if (!lends) {
    bind(drive.provider, "vfio-pci");  // Skipping ends the process.
    skip(fmt::format("this kernel's nvme driver lends no memory: {}", lends.error()).c_str());
  }
  const auto memory = unwrap(kernel::p2pmem::allocate(drive.provider, 4096));
  machine m;
  CHECK(code(m.space.map({static_cast<std::byte*>(memory.address()), memory.size()})) == errc::bad_address);
}

TEST_CASE("ioas: one slice mapped twice is one mapping, until the last holder goes") {
  machine m;
  auto peer = unwrap(vfio::device::open(m.space, role("IVSHMEM")));
  const auto slice = unwrap(unwrap(peer.map_bar(bar_index(2))).slice(0, 8192));
  auto first = unwrap(m.space.map(slice));
  auto second = unwrap(m.space.map(slice));
  CHECK(first.iova() == second.iova());
  CHECK(m.space.mapping_count() == 1);
  unwrap(first.unmap());
  CHECK(m.space.mapping_count() == 1);
  CHECK(second.status() == vfio::mapping_status::live);
  unwrap(second.unmap());
  CHECK(m.space.mapping_count() == 0);
  auto one_way = unwrap(m.space.map(slice, {.dir = direction::to_device}));
  auto both = unwrap(m.space.map(slice));
  CHECK(one_way.iova() != both.iova());
}

TEST_CASE("ioas: a revoked mapping is dead for good, its address is not reused while it is held") {
  machine m;
  auto peer = unwrap(vfio::device::open(m.space, role("NVME_A")));
  const auto memory = unwrap(peer.map_bar(bar_index(2)));
  const auto slice = unwrap(memory.slice(0, 4096));
  auto old_mapping = unwrap(m.space.map(slice));
  auto source = unwrap(vfio::coherent_buffer::create(m.space, 4096));
  unwrap(peer.reset());
  CHECK(old_mapping.status() == vfio::mapping_status::revoked);
  static_cast<void>(m.engine.write_to(old_mapping.iova(), 64));
  auto new_mapping = unwrap(m.space.map(slice));
  CHECK(new_mapping.status() == vfio::mapping_status::live);
  CHECK(new_mapping.iova() != old_mapping.iova());
  CHECK(old_mapping.status() == vfio::mapping_status::revoked);
  unwrap(old_mapping.unmap());
}

TEST_CASE("ioas: a peer that closes takes its mappings along") {
  machine m;
  std::optional<vfio::dma_mapping> mapping;
  const auto before = unwrap(m.space.available_mappings());
  {
    auto peer = unwrap(vfio::device::open(m.space, role("IVSHMEM")));
    mapping = unwrap(m.space.map(unwrap(unwrap(peer.map_bar(bar_index(2))).slice(0, 4096))));
    CHECK(unwrap(m.space.available_mappings()) == before - 1);
  }
  CHECK(mapping->status() == vfio::mapping_status::revoked);
  CHECK(unwrap(m.space.available_mappings()) == before);
  unwrap(mapping->unmap());
}

TEST_CASE("ioas: what cannot be mapped is refused with its reason (VT2, VT3, VT5)") {
  machine m;
  auto buffer = unwrap(vfio::coherent_buffer::create(m.space, 8192));
  const auto before = unwrap(m.space.available_mappings());
  const auto bytes = buffer.bytes();
  CHECK(code(m.space.map(bytes.first(0))) == errc::invalid_argument);
  CHECK(code(m.space.map(bytes.first(100))) == errc::misaligned);
  CHECK(code(m.space.map(bytes.subspan(8, 4096))) == errc::misaligned);
  CHECK(code(m.space.map(bytes, {.at = iova(0x1001)})) == errc::misaligned);
  CHECK(code(m.space.map(bytes, {.at = buffer.iova()})) == errc::already_exists);
  CHECK(code(m.space.map(bytes, {.at = buffer.iova(4096)})) == errc::already_exists);
  CHECK(code(m.space.map(bytes, {.at = iova(0xfee00000)})) == errc::out_of_range);
  CHECK(code(m.space.map(bytes, {.alignment = 12288})) == errc::invalid_argument);

  void* gone = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(gone != MAP_FAILED);
  ::munmap(gone, 4096);
  CHECK(code(m.space.map({static_cast<std::byte*>(gone), 4096})) == errc::bad_address);
  CHECK(unwrap(m.space.available_mappings()) == before);
  CHECK(m.space.mapping_count() == 1);
}

TEST_CASE("ioas: the last page of the address space can be asked for, and given back") {
  machine m;
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(page != MAP_FAILED);
  const iova last((std::uint64_t{1} << 39U) - 4096);
  auto mapping = unwrap(m.space.map({static_cast<std::byte*>(page), 4096}, {.at = last}));
  CHECK(mapping.iova() == last);
  CHECK(m.space.find(last + 4095));
  unwrap(mapping.unmap());
  ::munmap(page, 4096);
}

TEST_CASE("ioas: DMA goes on into pinned pages after munmap (VT13)") {
  machine m;
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(page != MAP_FAILED);
  auto mapping = unwrap(m.space.map({static_cast<std::byte*>(page), 4096}));
  auto other = unwrap(vfio::coherent_buffer::create(m.space, 4096));
  fill(other.bytes(), 9);
  ::munmap(page, 4096);
  REQUIRE(m.engine.read_from(other.iova(), 64));
  REQUIRE(m.engine.write_to(mapping.iova(), 64));
  REQUIRE(m.engine.read_from(mapping.iova(), 64));
  std::memset(other.bytes().data(), 0, 64);
  REQUIRE(m.engine.write_to(other.iova(), 64));
  CHECK(other.bytes()[63] == static_cast<std::byte>((63 * 31 + 9) & 0xff));
}

TEST_CASE("ioas: without bus mastering nothing is written (VT15)") {
  machine m;
  auto buffer = unwrap(vfio::coherent_buffer::create(m.space, 4096));
  fill(buffer.bytes(), 1);
  REQUIRE(m.engine.read_from(buffer.iova(), 64));
  std::memset(buffer.bytes().data(), 0x77, 64);
  unwrap(m.device.set_bus_master(false));
  static_cast<void>(m.engine.write_to(buffer.iova(), 64));
  CHECK(buffer.bytes()[5] == std::byte{0x77});
}

TEST_CASE("ioas: addresses stay clear of every memory window of the host bridge") {
  machine m;
  const auto windows = unwrap(pci::host_bridge_windows(role("EDU")));
  REQUIRE(windows.size() > 3);
  for (const auto& window : windows) {
    void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    INFO(fmt::format("{:#x}-{:#x}", window.first, window.last));
    CHECK(code(m.space.map({static_cast<std::byte*>(page), 4096}, {.at = iova(window.first & ~0xfffULL)})) ==
          errc::out_of_range);
    ::munmap(page, 4096);
  }
}

TEST_CASE("ioas: the limit on locked memory is named, with how much is needed (X42)") {
  machine m;
  const rlimit small{64UL * 1024, 64UL * 1024};
  REQUIRE(::setrlimit(RLIMIT_MEMLOCK, &small) == 0);
  const auto before = unwrap(m.space.available_mappings());
  REQUIRE(::setuid(65534) == 0);
  const auto refused = vfio::coherent_buffer::create(m.space, 1 << 20);
  CHECK(code(refused) == errc::limit_reached);
  const std::string advice = vfio::explain_map_failure(1 << 20, refused.error());
  INFO(advice);
  CHECK(advice.find("64 KiB") != std::string::npos);
  CHECK(advice.find("1024 KiB") != std::string::npos);
  CHECK(unwrap(m.space.available_mappings()) == before);
}

TEST_CASE("ioas: the container outlives its handles as long as a mapping needs it (VT16)") {
  std::optional<vfio::device> device;
  std::optional<vfio::coherent_buffer> buffer;
  {
    auto space = unwrap(vfio::container::create());
    device = unwrap(vfio::device::open(space, role("EDU")));
    buffer = unwrap(vfio::coherent_buffer::create(space, 4096));
  }
  CHECK(device->regions()[0].size == 0x100000);
  CHECK(device->space().mapping_count() == 1);
  device.reset();
  buffer.reset();
}

TEST_CASE("bar_export: a slice becomes a kernel dma-buf of its size (VD1, VD10)") {
  machine m;
  auto nvme = unwrap(vfio::device::open(m.space, role("NVME_A")));
  needs_bar_export(nvme);
  const auto memory = unwrap(nvme.map_bar(bar_index(2)));
  auto exported = unwrap(vfio::export_bar(nvme, unwrap(memory.slice(0x100000, 0x200000))));
  CHECK(exported.size() == 0x200000);
  auto again = unwrap(vfio::export_bar(nvme, bar_index(2), 0x100000, 0x200000));
  CHECK_FALSE(exported.id() == again.id());
  CHECK_FALSE(exported.map(access::read));
}

TEST_CASE("bar_export: a dma-buf without an mmap is imported for devices alone") {
  machine m;
  auto nvme = unwrap(vfio::device::open(m.space, role("NVME_A")));
  needs_bar_export(nvme);
  auto exported = unwrap(vfio::export_bar(nvme, bar_index(2), 0, 0x200000));
  const buffer_id id = exported.id();
  const auto buffer =
      unwrap(dma_buf<kernel::fd_exporter>::create(unwrap(kernel::fd_exporter::import_(std::move(exported)))));
  CHECK(buffer->size() == 0x200000);
  CHECK(cpu_access<access::read>::begin(*buffer).error() == errc::not_mappable);
  const auto held = unwrap(buffer->lock());
  const storage_ptr where = unwrap(buffer->storage(held));
  CHECK(where->segments()[0].address == nullptr);
  CHECK(unwrap(kernel::dma_buf_fd::borrow(where->dma_buf())).id() == id);
}

TEST_CASE("bar_export: bad slices are refused (VD2, VD3, VD4)") {
  machine m;
  auto nvme = unwrap(vfio::device::open(m.space, role("NVME_A")));
  const std::size_t fds = open_fds();
  CHECK(code(vfio::export_bar(nvme, bar_index(2), 0, 0)) == errc::invalid_argument);
  CHECK(code(vfio::export_bar(nvme, bar_index(2), 0, 100)) == errc::misaligned);
  CHECK(code(vfio::export_bar(nvme, bar_index(2), 8, 4096)) == errc::misaligned);
  CHECK(code(vfio::export_bar(nvme, bar_index(2), 0, 128U << 20U)) == errc::out_of_range);
  CHECK(code(vfio::export_bar(nvme, bar_index(2), 64U << 20U, 4096)) == errc::out_of_range);
  CHECK(code(vfio::export_bar(nvme, bar_index(2), 4096, UINT64_MAX - 4095)) == errc::out_of_range);
  CHECK(code(vfio::export_bar(nvme, bar_index(1), 0, 4096)) == errc::not_found);
  CHECK(code(vfio::export_bar(nvme, bar_index(6), 0, 4096)) == errc::not_found);
  CHECK(open_fds() == fds);
}

TEST_CASE("bar_export: the dma-buf survives a reset, and does not keep the device open (VD17)") {
  machine m;
  auto nvme = unwrap(vfio::device::open(m.space, role("NVME_A")));
  needs_bar_export(nvme);
  auto exported = unwrap(vfio::export_bar(nvme, bar_index(2), 0, 4096));
  unwrap(nvme.reset());
  CHECK(unwrap(vfio::export_bar(nvme, bar_index(2), 0, 4096)).size() == 4096);
  nvme.close();
  CHECK(code(vfio::export_bar(nvme, bar_index(2), 0, 4096)) == errc::no_device);
  CHECK(exported.size() == 4096);
  auto reopened = unwrap(vfio::device::open(m.space, role("NVME_A")));
  CHECK(reopened.regions()[2].size == 64U << 20U);
}
