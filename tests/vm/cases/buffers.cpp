// SPDX-License-Identifier: BSL-1.0
// Buffers with real devices: a DMA engine that reaches memory and other devices' BARs through attachments, and devices
// that take their memory back.
#include <paddock/buffer/dma_buf.hpp>

#include <array>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/buffer/mixed_exporter.hpp>
#include <paddock/buffer/mmio_access.hpp>
#include <paddock/kernel/dma_heap.hpp>
#include <paddock/kernel/heap_exporter.hpp>
#include <paddock/kernel/udmabuf_exporter.hpp>
#include <paddock/pci/read_libpci.hpp>
#include <paddock/vfio/bar_exporter.hpp>
#include <paddock/vfio/coherent_buffer.hpp>
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/device.hpp>
#include <paddock/vfio/pool_exporter.hpp>

#include <nvme/registers.hpp>

#include "edu.hpp"
#include "guest.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t page = 4096;

using bar_buffer = dma_buf<vfio::bar_exporter>;
template <class Buffer, class... Policies>
using importer = attachment<Buffer, vfio::device, revocable, Policies...>;

/// `edu` as the importer, with a page to fetch patterns from.
struct machine {
  vfio::container space = unwrap(vfio::container::create());
  vfio::device device = unwrap(vfio::device::open(space, role("EDU")));
  edu engine{unwrap(device.map_bar(bar_index(0)))};
  vfio::coherent_buffer source = unwrap(vfio::coherent_buffer::create(space, page));

  machine() {
    unwrap(device.set_bus_master(true));
    // This guest's root complex forwards: verify.cpp shows it.
    device.trust_routes();
  }
  /// The engine writes such bytes there.
  [[nodiscard]] bool put(unsigned seed, iova to, std::uint64_t bytes = edu::longest) {
    for (std::size_t i = 0; i < bytes; ++i) {
      source.bytes()[i] = byte(seed, i);
    }
    return engine.read_from(source.iova(), bytes) && engine.write_to(to, bytes);
  }
  static std::byte byte(unsigned seed, std::size_t i) {
    return static_cast<std::byte>((i * 31 + i / 256 + seed) & 0xff);
  }
  [[nodiscard]] static bool has(unsigned seed, std::span<const std::byte> bytes, std::size_t first = 0) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (bytes[i] != byte(seed, first + i)) {
        return false;
      }
    }
    return true;
  }
  [[nodiscard]] static bool has(unsigned seed, const mmio_span& window, std::size_t first = 0) {
    std::vector<std::byte> bytes(window.size());
    unwrap(copy_from_device(bytes, window));
    return has(seed, bytes, first);
  }
};

vfio::device open_peer(machine& m, const char* name) { return unwrap(vfio::device::open(m.space, role(name))); }

buffer_ptr<bar_buffer> export_memory(vfio::device& peer, std::uint64_t offset, std::uint64_t bytes) {
  return unwrap(
      bar_buffer::create(vfio::bar_exporter(unwrap(unwrap(peer.map_bar(bar_index(2))).slice(offset, bytes)))));
}

/// Maps through an attachment that is armed here.
template <class Attachment>
mapping<vfio::device> map_now(Attachment& link, direction dir = direction::bidirectional) {
  const resv_lock held = unwrap(link.buffer().lock());
  return unwrap(unwrap(link.arm(held))->map(held, dir));
}

/// Bytes of a buffer behind a BAR.
template <class Buffer>
bool window_has(const buffer_ptr<Buffer>& buffer, unsigned seed, std::size_t offset = 0) {
  auto guard = unwrap(mmio_access<access::read>::begin(*buffer));
  return machine::has(seed, unwrap(guard.window().subspan(offset, edu::longest)));
}

/// A page of memory, and behind it one of a BAR.
using mixed = mixed_exporter<memory_exporter, vfio::bar_exporter>;
mixed memory_and_bar(vfio::device& peer, std::uint64_t offset) {
  return mixed(memory_exporter(page),
               vfio::bar_exporter(unwrap(unwrap(peer.map_bar(bar_index(2))).slice(offset, page))));
}

}  // namespace

TEST_CASE("buffers: a device writes into memory, and the CPU reads it") {
  machine m;
  using buffer = dma_buf<memory_exporter>;
  const auto made = unwrap(buffer::create(memory_exporter(2 * page)));
  attachment<buffer, vfio::device> link;
  unwrap(link.attach(made, m.device));
  auto mapped = unwrap(link.map(direction::bidirectional));
  CHECK(mapped.status() == mapping_status::live);
  REQUIRE(m.put(1, mapped.iova(page)));
  auto guard = unwrap(cpu_access<access::read>::begin(*made));
  CHECK(machine::has(1, guard.bytes().subspan(page, edu::longest)));
  CHECK(guard.bytes()[0] == std::byte{0});
}

TEST_CASE(
    "buffers: a device writes into a udmabuf by its memory's address, and the CPU reads it through the descriptor") {
  machine m;
  const auto made = unwrap(dma_buf<kernel::udmabuf_exporter>::create(
      unwrap(kernel::udmabuf_exporter::create(unwrap(kernel::udmabuf_device::open()), 2 * page))));
  attachment<dma_buf<kernel::udmabuf_exporter>, vfio::device> link;
  unwrap(link.attach(made, m.device));
  const auto mapped = unwrap(link.map(direction::bidirectional));
  REQUIRE(m.put(7, mapped.iova(page)));
  {
    auto guard = unwrap(cpu_access<access::read>::begin(*made));
    CHECK(machine::has(7, guard.bytes().subspan(page, edu::longest)));
  }
  const auto other = unwrap(made->exporter().export_fd());
  const auto window = unwrap(other.map(access::read));
  auto guard = unwrap(cpu_access<access::read>::begin(window));
  CHECK(machine::has(7, guard.bytes().subspan(page, edu::longest)));
}

TEST_CASE("buffers: memory of a heap is mapped by the CPU, and by no VFIO device") {
  machine m;
  const auto made = unwrap(dma_buf<kernel::heap_exporter>::create(
      unwrap(kernel::heap_exporter::create(unwrap(kernel::dma_heap::open("system")), page))));
  const auto guard = unwrap(cpu_access<access::write>::begin(*made));
  guard.bytes()[0] = std::byte{1};
  // The type refuses an attachment; by the address alone the kernel does.
  const auto refused = m.space.map(guard.bytes());
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::bad_address);
}

TEST_CASE("buffers: a device writes into another one's BAR, and reads it") {
  machine m;
  for (const char* name : {"NVME_A", "IVSHMEM"}) {
    INFO(name);
    auto peer = open_peer(m, name);
    const auto made = export_memory(peer, 0x10000, 2 * page);
    importer<bar_buffer, p2p_only> link;
    unwrap(link.attach(made, m.device));
    auto mapped = map_now(link);
    REQUIRE(m.put(2, mapped.iova(page)));
    CHECK(window_has(made, 2, page));
    auto copy = unwrap(vfio::coherent_buffer::create(m.space, page));
    REQUIRE(m.put(3, copy.iova()));  // What the engine has is not what it will read.
    REQUIRE(m.engine.read_from(mapped.iova(page), edu::longest));
    REQUIRE(m.engine.write_to(copy.iova(), edu::longest));
    CHECK(machine::has(2, copy.bytes().first(edu::longest)));
    CHECK(made->statistics().of(buffer_statistics::what::bounces) == 0);
  }
}

TEST_CASE("buffers: a BAR that is mapped by its window's address outlives the peer's reset and close in the IOMMU") {
  machine m;
  auto peer = open_peer(m, "NVME_A");
  const auto bar = unwrap(peer.map_bar(bar_index(2)));
  const auto made = export_memory(peer, 0, page);
  std::byte* window = nullptr;
  {
    const resv_lock held = unwrap(made->lock());
    window = unwrap(made->storage(held))->segments()[0].address;
  }
  // As a program does that does not say what it maps: nobody can take it back.
  auto mapped = unwrap(m.space.map({window, page}));
  const std::size_t faults = iommu_faults();
  REQUIRE(m.put(71, mapped.iova()));
  CHECK(machine::has(71, unwrap(bar.mmio(0, edu::longest))));
  unwrap(peer.reset());
  CHECK(made->status() == buffer_status::revoked);
  CHECK(mapped.status() == mapping_status::live);
  REQUIRE(m.put(72, mapped.iova()));
  CHECK(machine::has(72, unwrap(bar.mmio(0, edu::longest))));
  peer.close();
  REQUIRE(m.put(73, mapped.iova()));
  CHECK(iommu_faults() == faults);
  unwrap(mapped.unmap());
  static_cast<void>(m.put(74, mapped.iova()));
  CHECK(faults_after(faults) > faults);
}

TEST_CASE("buffers: without certain routes a peer is refused or bounced, and what is learned opens the way") {
  machine m;
  auto peer = open_peer(m, "NVME_A");
  const pci::topology tree = unwrap(pci::read_system());
  const auto made = export_memory(peer, 0, page);
  m.device.trust_routes(false);
  unwrap(m.device.use_routes(tree));
  {
    importer<bar_buffer, p2p_only> link;
    unwrap(link.attach(made, m.device));
    const resv_lock held = unwrap(made->lock());
    CHECK(code(link.arm(held)) == errc::unreachable);
  }
  {
    importer<bar_buffer> link;
    unwrap(link.attach(made, m.device));
    auto mapped = map_now(link);
    CHECK(m.space.find(mapped.iova())->storage == storage_kind::memory);
    REQUIRE(m.put(4, mapped.iova()));
    const auto window = unwrap(peer.map_bar(bar_index(2)));
    CHECK_FALSE(machine::has(4, unwrap(window.mmio(0, edu::longest))));
    {
      const resv_lock held = unwrap(made->lock());
      unwrap(link.sync_for_cpu(held, mapped, direction::from_device));
    }
    CHECK(machine::has(4, unwrap(window.mmio(0, edu::longest))));
  }
  CHECK(window_has(made, 4));
  CHECK(made->statistics().of(buffer_statistics::what::bounces) == 1);
  CHECK(made->statistics().routes().of(fallback::unknown) == 2);

  const std::array forwards{pci::quirk{pci::quirk::role::host_bridge, pci::quirk::any, pci::quirk::any,
                                       pci::transactions::both, pci::quirk::effect::works, "verified in this guest"}};
  unwrap(m.device.use_routes(tree, forwards));
  importer<bar_buffer, p2p_only> link;
  unwrap(link.attach(made, m.device));
  auto mapped = map_now(link);
  CHECK(m.space.find(mapped.iova())->storage == storage_kind::device_memory);
  REQUIRE(m.put(5, mapped.iova()));
  CHECK(window_has(made, 5));
}

TEST_CASE("buffers: memory and a BAR are one range of addresses") {
  machine m;
  auto peer = open_peer(m, "NVME_A");
  using buffer = dma_buf<mixed>;
  const auto made = unwrap(buffer::create(memory_and_bar(peer, 0x20000)));
  importer<buffer> link;
  unwrap(link.attach(made, m.device));
  auto mapped = map_now(link);
  REQUIRE(m.put(6, mapped.iova(page - edu::longest / 2)));  // Half of it in each.
  const resv_lock held = unwrap(made->lock());
  const auto where = unwrap(made->storage(held));
  const auto segments = where->segments();
  const auto half = static_cast<std::size_t>(edu::longest / 2);
  CHECK(machine::has(6, std::span(segments[0].address + page - half, half)));
  CHECK(machine::has(6, mmio_span(segments[1].address, half), half));
  CHECK(m.space.find(mapped.iova())->storage == storage_kind::memory);
  CHECK(m.space.find(mapped.iova(page))->storage == storage_kind::device_memory);
}

TEST_CASE("buffers: pages of a pool") {
  machine m;
  auto peer = open_peer(m, "NVME_A");
  auto pool = unwrap(pci::pool::create({peer.address(), bar_index(2), 0x100000, 4 * page}));
  const auto window = unwrap(peer.map_bar(bar_index(2)));
  using buffer = dma_buf<vfio::pool_exporter>;
  {
    const auto made = unwrap(buffer::create(unwrap(vfio::pool_exporter::create(pool, window, page))));
    importer<buffer> link;
    unwrap(link.attach(made, m.device));
    auto mapped = map_now(link);
    REQUIRE(m.put(7, mapped.iova()));
    CHECK(window_has(made, 7));
    CHECK(machine::has(7, unwrap(window.mmio(0x100000, edu::longest))));
    CHECK(pool.available() == 3 * page);
  }
  CHECK(pool.available() == 4 * page);
}

TEST_CASE("buffers: a reset of the exporter revokes, and a restored buffer works anew") {
  machine m;
  auto peer = open_peer(m, "NVME_A");
  const auto made = export_memory(peer, 0, page);
  struct {
    int told{0};
    std::size_t mapped{0};
  } seen;
  const std::size_t faults = iommu_faults();
  const std::size_t mapped_before = m.space.mapping_count();
  importer<bar_buffer> link;
  unwrap(link.attach(made, m.device));
  mapping<vfio::device> mapped;
  {
    const resv_lock held = unwrap(made->lock());
    auto* armed = unwrap(link.arm(held, [&seen, &m](auto&, const resv_lock&) noexcept {
      ++seen.told;
      seen.mapped = m.space.mapping_count();
    }));
    mapped = unwrap(armed->map(held, direction::bidirectional));
  }
  REQUIRE(m.put(8, mapped.iova()));
  CHECK(window_has(made, 8));
  unwrap(peer.reset());
  CHECK(seen.told == 1);
  CHECK(seen.mapped == mapped_before + 1);
  CHECK(mapped.status() == mapping_status::revoked);
  CHECK(made->status() == buffer_status::revoked);
  CHECK(m.space.mapping_count() == mapped_before);
  CHECK(iommu_faults() == faults);
  {
    const resv_lock held = unwrap(made->lock());
    CHECK(code(link.arm(held)) == errc::revoked);
  }

  unwrap(made->restore());
  importer<bar_buffer> anew;
  unwrap(anew.attach(made, m.device));
  auto mapped_anew = map_now(anew);
  CHECK(mapped_anew.iova() != mapped.iova());
  REQUIRE(m.put(9, mapped_anew.iova()));
  CHECK(window_has(made, 9));
  CHECK(iommu_faults() == faults);

  // A device that has not been told faults, and hits nobody. (So faults are seen here at all.)
  static_cast<void>(m.put(10, mapped.iova()));
  CHECK(window_has(made, 9));
  CHECK(faults_after(faults) > faults);
}

TEST_CASE("buffers: memory and the BARs of two devices go together when one of them is reset, and come back") {
  machine m;
  auto first = open_peer(m, "NVME_A");
  auto second = open_peer(m, "NVME_B");
  using exporter_of_both = mixed_exporter<vfio::bar_exporter, memory_exporter, vfio::bar_exporter>;
  const auto slice = [](vfio::device& of) {
    return vfio::bar_exporter(unwrap(unwrap(of.map_bar(bar_index(2))).slice(0, page)));
  };
  using buffer = dma_buf<exporter_of_both>;
  const auto made = unwrap(buffer::create(exporter_of_both(slice(first), memory_exporter(page), slice(second))));
  const std::size_t faults = iommu_faults();
  const std::size_t mapped_before = m.space.mapping_count();
  unsigned seed = 40;
  const auto use = [&](const mapping<vfio::device>& mapped) {
    for (const std::uint64_t boundary : {page, 2 * page}) {
      REQUIRE(m.put(++seed, mapped.iova(boundary - edu::longest / 2)));
      std::array<std::byte, edu::longest> seen{};
      REQUIRE(m.engine.read_from(mapped.iova(boundary - edu::longest / 2), edu::longest));
      REQUIRE(m.engine.write_to(m.source.iova(), edu::longest));
      std::memcpy(seen.data(), m.source.bytes().data(), seen.size());
      CHECK(machine::has(seed, seen));
    }
  };
  for (vfio::device* taken : {&second, &first}) {
    importer<buffer> link;
    unwrap(link.attach(made, m.device));
    auto mapped = map_now(link);
    use(mapped);
    unwrap(taken->reset());
    CHECK(made->status() == buffer_status::revoked);
    CHECK(mapped.status() == mapping_status::revoked);
    CHECK(m.space.mapping_count() == mapped_before);
    unwrap(made->restore());
  }
  {
    importer<buffer> link;
    unwrap(link.attach(made, m.device));
    auto mapped = map_now(link);
    use(mapped);
    second.close();
    CHECK(mapped.status() == mapping_status::revoked);
  }
  CHECK(made->status() == buffer_status::dead);
  CHECK(code(made->restore()) == errc::no_device);
  CHECK(iommu_faults() == faults);
}

TEST_CASE("buffers: switching the exporter's memory off revokes, and the buffer comes back when it answers") {
  machine m;
  auto peer = open_peer(m, "NVME_A");
  const auto made = export_memory(peer, 0, page);
  importer<bar_buffer> link;
  unwrap(link.attach(made, m.device));
  auto mapped = map_now(link);
  const std::size_t faults = iommu_faults();
  unwrap(peer.set_memory_enabled(false));
  CHECK(mapped.status() == mapping_status::revoked);
  CHECK(code(made->restore()) == errc::revoked);
  CHECK(code(mmio_access<access::read>::begin(*made)) == errc::revoked);
  unwrap(peer.set_memory_enabled(true));
  unwrap(made->restore());
  importer<bar_buffer> anew;
  unwrap(anew.attach(made, m.device));
  auto mapped_anew = map_now(anew);
  REQUIRE(m.put(11, mapped_anew.iova()));
  CHECK(window_has(made, 11));
  CHECK(iommu_faults() == faults);
}

TEST_CASE("buffers: an exporter that closes has nobody map its memory then, and leaves dead buffers") {
  struct last final : vfio::revocable {
    explicit last(machine& of) : m(of) {}
    void on_revoke(vfio::revoke_reason) noexcept override { mapped = m.space.mapping_count(); }
    machine& m;
    std::size_t mapped{SIZE_MAX};
  };
  machine m;
  const std::size_t faults = iommu_faults();
  const std::size_t mapped_before = m.space.mapping_count();
  std::optional<vfio::device> peer = open_peer(m, "NVME_A");
  const auto made = export_memory(*peer, 0, page);
  last behind(m);
  unwrap(peer->state()->listeners->join(behind));
  importer<bar_buffer> link;
  unwrap(link.attach(made, m.device));
  auto mapped = map_now(link);
  REQUIRE(m.put(12, mapped.iova()));
  const auto before = unwrap(m.space.available_mappings());
  peer.reset();
  CHECK(behind.mapped == mapped_before);
  CHECK(mapped.status() == mapping_status::revoked);
  CHECK(made->status() == buffer_status::dead);
  CHECK(code(made->restore()) == errc::no_device);
  CHECK(unwrap(m.space.available_mappings()) == before + 1);
  CHECK(iommu_faults() == faults);
  importer<bar_buffer> late;
  CHECK(code(late.attach(made, m.device)) == errc::revoked);

  // The device itself can be opened again, and its memory be exported anew.
  auto reopened = open_peer(m, "NVME_A");
  const auto fresh = export_memory(reopened, 0, page);
  unwrap(late.attach(fresh, m.device));
  auto mapped_anew = map_now(late);
  REQUIRE(m.put(13, mapped_anew.iova()));
  CHECK(window_has(fresh, 13));
}

TEST_CASE("buffers: one device rings another one's doorbell") {
  using nvme::reg::acq;
  using nvme::reg::aqa;
  using nvme::reg::asq;
  machine m;
  auto drive = open_peer(m, "NVME_A");
  unwrap(drive.set_bus_master(true));
  const auto bar = unwrap(drive.map_bar(bar_index(0)));
  const mmio_span registers = unwrap(bar.mmio());
  const auto ready = [&](bool wanted) {
    const deadline until = deadline::in(10s);
    while (((registers.read32(nvme::reg::csts) & nvme::csts_ready) != 0) != wanted && !until.passed()) {
    }
    return ((registers.read32(nvme::reg::csts) & nvme::csts_ready) != 0) == wanted;
  };
  auto queues = unwrap(vfio::coherent_buffer::create(m.space, 3 * page));
  registers.write32(nvme::reg::cc, 0);
  REQUIRE(ready(false));
  registers.write32(aqa, 15U | (15U << 16U));
  registers.write64(asq, queues.iova().value());
  registers.write64(acq, queues.iova(page).value());
  registers.write32(nvme::reg::cc, nvme::cc_entry_sizes | nvme::cc_enable);
  REQUIRE(ready(true));

  using doorbells = dma_buf<vfio::doorbell_exporter>;
  const auto bells = unwrap(doorbells::create(vfio::doorbell_exporter(unwrap(bar.slice(nvme::reg::doorbells, page)))));
  importer<doorbells> link;
  unwrap(link.attach(bells, m.device, direction::from_device));
  auto mapped = map_now(link, direction::from_device);
  CHECK(m.space.find(mapped.iova())->storage == storage_kind::registers);

  nvme::submission ask;
  ask.opcode = static_cast<std::uint8_t>(nvme::admin_opcode::identify);
  ask.command_id = 42;
  ask.prp1 = queues.iova(2 * page).value();
  ask.dword10_to_15[0] = nvme::identify::cns_controller;
  std::memcpy(queues.bytes().data(), &ask, sizeof ask);
  *m.source.at<std::uint32_t>(0) = 1;  // The new tail.
  dma_wmb();
  REQUIRE(m.engine.read_from(m.source.iova(), 4));
  CHECK(queues.at<const nvme::completion>(page)->status_and_phase == 0);
  REQUIRE(m.engine.write_to(mapped.iova(), 4));

  const auto* phase = queues.at<const volatile std::uint16_t>(page + offsetof(nvme::completion, status_and_phase));
  const deadline until = deadline::in(10s);
  while ((*phase & 1U) == 0 && !until.passed()) {
  }
  dma_rmb();
  CHECK(*phase == 1);
  CHECK(queues.at<const nvme::completion>(page)->command_id == 42);
  CHECK(std::string_view(queues.at<const char>(2 * page + nvme::identify::serial), 9) == "paddock-a");
  registers.write32(nvme::reg::cc, 0);
  REQUIRE(ready(false));
}

TEST_CASE("buffers: nothing is left behind") {
  machine m;
  const auto use_all = [&] {
    auto peer = open_peer(m, "NVME_A");
    const auto made = export_memory(peer, 0, page);
    const auto memory = unwrap(dma_buf<memory_exporter>::create(memory_exporter(page)));
    attachment<dma_buf<memory_exporter>, vfio::device> plain;
    unwrap(plain.attach(memory, m.device));
    auto held = unwrap(plain.map(direction::to_device));
    for (int round = 0; round < 3; ++round) {
      importer<bar_buffer> link;
      unwrap(link.attach(made, m.device));
      auto mapped = map_now(link);
      unwrap(peer.reset());
      unwrap(made->restore());
    }
    importer<dma_buf<mixed>> of_mixed;
    unwrap(of_mixed.attach(unwrap(dma_buf<mixed>::create(memory_and_bar(peer, page))), m.device));
    auto mapped_mixed = map_now(of_mixed);
    importer<bar_buffer> link;
    unwrap(link.attach(made, m.device));
    auto mapped = map_now(link);
    peer.close();
  };
  static int lost;
  lost = 0;
  set_lost_error_handler([](const error&) noexcept { ++lost; });
  use_all();  // What is made once and kept, such as the group's file, is there from here on.
  const std::size_t fds = open_fds();
  const auto available = unwrap(m.space.available_mappings());
  const std::size_t mappings = m.space.mapping_count();
  for (int round = 0; round < 5; ++round) {
    use_all();
  }
  set_lost_error_handler(nullptr);
  CHECK(lost == 0);
  CHECK(open_fds() == fds);
  CHECK(unwrap(m.space.available_mappings()) == available);
  CHECK(m.space.mapping_count() == mappings);
}
