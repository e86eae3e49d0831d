// SPDX-License-Identifier: BSL-1.0
// pci::verify with a real DMA engine: what arrives at a peer's memory and what does not, reads and writes apart.
#include <paddock/pci/verify.hpp>

#include <array>

#include <paddock/pci/describe.hpp>
#include <paddock/pci/read_libpci.hpp>
#include <paddock/vfio/bar_export.hpp>
#include <paddock/vfio/coherent_buffer.hpp>
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/device.hpp>
#include <paddock/vfio/ioas.hpp>

#include "edu.hpp"
#include "guest.hpp"

using namespace paddock;
using namespace paddock::test;

namespace {

/// `edu` as the client of another function's BAR: it copies through the buffer that it has inside.
class edu_client {
 public:
  explicit edu_client(const char* provider)
      : device_(unwrap(vfio::device::open(space_, role("EDU")))),
        engine_(unwrap(device_.map_bar(bar_index(0)))),
        peer_(unwrap(vfio::device::open(space_, role(provider)))),
        peer_memory_(unwrap(peer_.map_bar(bar_index(2)))),
        window_(unwrap(space_.map(unwrap(peer_memory_.slice(0, 0x10000))))),
        ram_(unwrap(vfio::coherent_buffer::create(space_, 4096))) {
    unwrap(device_.set_bus_master(true));
  }

  [[nodiscard]] static pci::address where() { return role("EDU"); }
  [[nodiscard]] std::span<std::byte> memory() { return ram_.bytes().first(edu::longest); }
  result<void> write_provider() { return copy(ram_.iova(), window_.iova()); }
  result<void> read_provider() { return copy(window_.iova(), ram_.iova()); }

  [[nodiscard]] mmio_span provider() { return unwrap(peer_memory_.mmio()); }
  void take_window_away() { unwrap(window_.unmap()); }
  void stop_mastering() { unwrap(device_.set_bus_master(false)); }

 private:
  result<void> copy(iova from, iova to) {
    const bool ended = engine_.read_from(from, edu::longest) && engine_.write_to(to, edu::longest);
    return ended ? result<void>() : fail(errc::timed_out, "edu");
  }

  vfio::container space_ = unwrap(vfio::container::create());
  vfio::device device_;
  edu engine_;
  vfio::device peer_;
  vfio::bar peer_memory_;
  vfio::dma_mapping window_;
  vfio::coherent_buffer ram_;
};

using state = pci::arrival::state;

pci::verification verify(edu_client& client, const char* provider) {
  const pci::topology machine = unwrap(pci::read_system());
  const pci::route way =
      unwrap(pci::route_between(unwrap(machine.find(role("EDU"))), unwrap(machine.find(role(provider))),
                                transaction::read, pci::dma_owner::vfio));
  return unwrap(pci::verify(way, client, client.provider()));
}

}  // namespace

TEST_CASE("verify: a device writes a peer's memory and reads it, and every byte arrives") {
  for (const char* provider : {"IVSHMEM", "NVME_A"}) {
    INFO(provider);
    edu_client client(provider);
    const auto seen = verify(client, provider);
    CHECK(seen.writes.what == state::arrived);
    CHECK(seen.reads.what == state::arrived);
  }
}

TEST_CASE("verify: what the IOMMU stops is told as lost") {
  edu_client client("IVSHMEM");
  client.take_window_away();
  const auto seen = verify(client, "IVSHMEM");
  CHECK(seen.writes.what == state::lost);
  CHECK_FALSE(seen.reads.is_good());
}

TEST_CASE("verify: a client that may not master the bus changes nothing anywhere") {
  edu_client client("IVSHMEM");
  client.stop_mastering();
  const auto seen = verify(client, "IVSHMEM");
  CHECK(seen.writes.what == state::lost);
  CHECK(seen.reads.what == state::lost);
}

TEST_CASE("verify: what was seen makes the route of a process certain") {
  const pci::topology machine = unwrap(pci::read_system());
  const pci::node from = unwrap(machine.find(role("EDU")));
  const pci::node to = unwrap(machine.find(role("IVSHMEM")));
  edu_client client("IVSHMEM");
  const auto seen = verify(client, "IVSHMEM");
  for (const transaction what : {transaction::read, transaction::write}) {
    const pci::route before = unwrap(pci::route_between(from, to, what, pci::dma_owner::vfio));
    INFO(pci::describe(before));
    CHECK(before.type() == pci::route_type::unknown);
    const std::array known{unwrap(pci::learned(before, seen, "verified in this guest"))};
    const pci::route after = unwrap(pci::route_between(from, to, what, pci::dma_owner::vfio, known));
    CHECK(after.type() == pci::route_type::thru_host_bridge);
    CHECK(after.decided_by() == &known[0]);
  }
}
