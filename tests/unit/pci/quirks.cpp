// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/quirks.hpp>

#include <array>
#include <span>
#include <vector>

#include <paddock/pci/route.hpp>

#include "catch.hpp"
#include "machines.hpp"

using namespace paddock;
using pci::dma_owner;
using pci::quirk;
using pci::route_type;
using pci::transactions;

namespace {

/// From 03:00.0, a 1234:5678 below the switch port 1234:0003, to 04:00.0, which is 1234:aaaa.
struct small_machine {
  small_machine() {
    test::machine m = test::two_switches();
    m["04:00.0"].put16(2, 0xaaaa);
    tree.emplace(std::move(*m.build(pci::cpu_rule::none)));
  }
  pci::route route(const char* from, const char* to, transaction what, std::span<const quirk> quirks,
                   dma_owner owner = dma_owner::kernel_dma) const {
    return *pci::route_between(*tree->find(test::at(from)), *tree->find(test::at(to)), what, owner, quirks);
  }
  std::optional<pci::topology> tree;
};

}  // namespace

TEST_CASE("a quirk may fail reads and leave writes alone, or the other way round") {
  const small_machine m;
  const std::array table{quirk{quirk::role::provider, 0x1234, 0xaaaa, transactions::reads, quirk::effect::fails, "r"}};
  const pci::route reads = m.route("03:00.0", "04:00.0", transaction::read, table);
  CHECK(reads.type() == route_type::not_supported);
  CHECK(reads.kernel_type() == route_type::bus_addr);
  CHECK(reads.decided_by() == table.data());
  const pci::route writes = m.route("03:00.0", "04:00.0", transaction::write, table);
  CHECK(writes.type() == route_type::bus_addr);
  CHECK(writes.decided_by() == nullptr);
  CHECK(includes(transactions::both, transaction::read));
  CHECK(includes(transactions::writes, transaction::write));
  CHECK_FALSE(includes(transactions::writes, transaction::read));
  CHECK_FALSE(includes(transactions::reads, transaction::write));
}

TEST_CASE("a quirk is of the client, the provider, a bridge between them, or a host bridge") {
  const small_machine m;
  const auto fails = [&](quirk::role who, std::uint16_t device, const char* from, const char* to) {
    const std::array table{quirk{who, 0x1234, device, transactions::both, quirk::effect::fails, "x"}};
    return m.route(from, to, transaction::read, table).decided_by() != nullptr;
  };
  CHECK(fails(quirk::role::provider, 0xaaaa, "03:00.0", "04:00.0"));
  CHECK_FALSE(fails(quirk::role::provider, 0xaaaa, "04:00.0", "03:00.0"));
  CHECK(fails(quirk::role::client, 0xaaaa, "04:00.0", "03:00.0"));
  CHECK_FALSE(fails(quirk::role::client, 0xaaaa, "03:00.0", "04:00.0"));
  CHECK(fails(quirk::role::bridge, 0x0003, "03:00.0", "04:00.0"));        // The ports right above them.
  CHECK(fails(quirk::role::bridge, 0x0002, "03:00.0", "04:00.0"));        // The common one.
  CHECK_FALSE(fails(quirk::role::bridge, 0x0001, "03:00.0", "04:00.0"));  // Above it.
  CHECK(fails(quirk::role::bridge, 0x0001, "03:00.0", "09:00.0"));
  CHECK_FALSE(fails(quirk::role::bridge, 0xaaaa, "03:00.0", "04:00.0"));  // An end is no bridge between.
  CHECK_FALSE(fails(quirk::role::bridge, 0x5678, "03:00.0", "03:00.0"));
  CHECK(fails(quirk::role::host_bridge, 0x0000, "03:00.0", "09:00.0"));
  CHECK_FALSE(fails(quirk::role::host_bridge, 0x0000, "03:00.0", "04:00.0"));
}

TEST_CASE("a quirk may be of all devices of a vendor, or of all") {
  const pci::function one = pci::read_function(test::at("04:00.0"), test::endpoint().view());
  CHECK(quirk{quirk::role::provider, 0x1234, quirk::any}.matches(one));
  CHECK(quirk{}.matches(one));
  CHECK_FALSE(quirk{quirk::role::provider, 0x4321, quirk::any}.matches(one));
  CHECK_FALSE(quirk{quirk::role::provider, 0x1234, 0x5679}.matches(one));
}

TEST_CASE("a quirk that vouches for a root complex decides for a process, and never for the kernel") {
  const small_machine m;
  const std::array table{
      quirk{quirk::role::host_bridge, 0x1234, 0x0000, transactions::writes, quirk::effect::works, "posted"}};
  const pci::route writes = m.route("03:00.0", "09:00.0", transaction::write, table, dma_owner::vfio);
  CHECK(writes.type() == route_type::thru_host_bridge);
  CHECK(writes.decided_by() == table.data());
  CHECK(writes.what_is_missing() == pci::missing::nothing);
  CHECK(m.route("03:00.0", "09:00.0", transaction::read, table, dma_owner::vfio).type() == route_type::unknown);
  CHECK(m.route("03:00.0", "09:00.0", transaction::write, table).type() == route_type::not_supported);
}

TEST_CASE("of several quirks the last one that fails decides, and none undoes it") {
  const small_machine m;
  const std::vector<quirk> table{
      {quirk::role::provider, 0x1234, 0xaaaa, transactions::both, quirk::effect::fails, "first"},
      {quirk::role::client, 0x1234, 0x5678, transactions::both, quirk::effect::works, "second"}};
  CHECK(m.route("03:00.0", "04:00.0", transaction::write, table, dma_owner::vfio).decided_by() == table.data());
  CHECK(m.route("03:00.0", "04:00.0", transaction::write, table, dma_owner::vfio).type() == route_type::not_supported);
}

TEST_CASE("Rocket Lake's root complex is known to fail, for the kernel and for a process") {
  test::machine m = test::two_switches();
  m["00:00.0"] = test::host_bridge(0x8086, 0x4c43);
  const auto tree = m.build(pci::cpu_rule::none);
  for (const dma_owner owner : {dma_owner::kernel_dma, dma_owner::vfio}) {
    const auto across = pci::route_between(*tree->find(test::at("03:00.0")), *tree->find(test::at("09:00.0")),
                                           transaction::write, owner);
    CHECK(across->type() == route_type::not_supported);
    CHECK(across->decided_by() == pci::builtin_quirks.data());
  }
  const auto below =
      pci::route_between(*tree->find(test::at("03:00.0")), *tree->find(test::at("04:00.0")), transaction::write);
  CHECK(below->type() == route_type::bus_addr);
}

TEST_CASE("a quirk of a bridge above the common one counts where the way leads to the root complex") {
  test::machine m = test::two_switches();
  m["00:01.0"].put16(2, 0xbbbb);
  const std::array table{quirk{quirk::role::bridge, 0x1234, 0xbbbb, transactions::both, quirk::effect::fails, "b"}};
  const auto route = [&](dma_owner owner) {
    const pci::topology tree = *m.build(pci::cpu_rule::amd_zen);
    return pci::route_between(*tree.find(test::at("03:00.0")), *tree.find(test::at("04:00.0")), transaction::read,
                              owner, table)
        ->type();
  };
  CHECK(route(dma_owner::kernel_dma) == route_type::bus_addr);
  CHECK(route(dma_owner::vfio) == route_type::not_supported);
  m["02:00.0"].acs(pci::acs_bits::request_redirect);
  CHECK(route(dma_owner::kernel_dma) == route_type::not_supported);
}

TEST_CASE("to vouch for a way through the root complex takes a host bridge, and both of two") {
  test::machine m;
  m.add("00:00.0", test::host_bridge(0x1111, 1)).add("00:02.0", test::endpoint());
  m.add("80:00.0", test::host_bridge(0x2222, 2)).add("80:02.0", test::endpoint());
  const pci::topology tree = *m.build(pci::cpu_rule::none);
  const auto type = [&](std::span<const quirk> known) {
    return pci::route_between(*tree.find(test::at("00:02.0")), *tree.find(test::at("80:02.0")), transaction::read,
                              dma_owner::vfio, known)
        ->type();
  };
  using role = quirk::role;
  const auto vouch = [](role who, std::uint16_t vendor) {
    return quirk{who, vendor, quirk::any, transactions::both, quirk::effect::works, "w"};
  };
  CHECK(type({}) == route_type::unknown);
  CHECK(type(std::array{vouch(role::host_bridge, 0x1111)}) == route_type::unknown);
  CHECK(type(std::array{vouch(role::host_bridge, quirk::any)}) == route_type::thru_host_bridge);
  for (const role who : {role::client, role::provider, role::bridge}) {
    CHECK(type(std::array{vouch(who, quirk::any)}) == route_type::unknown);
  }
}
