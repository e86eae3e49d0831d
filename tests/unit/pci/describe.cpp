// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/describe.hpp>

#include <array>

#include "catch.hpp"
#include "machines.hpp"

using namespace paddock;
using pci::dma_owner;

namespace {

std::string words(const pci::topology& tree, const char* client, const char* provider,
                  dma_owner owner = dma_owner::kernel_dma, std::span<const pci::quirk> quirks = {}) {
  return describe(*pci::route_between(*tree.find(test::at(client)), *tree.find(test::at(provider)), transaction::write,
                                      owner, quirks));
}

bool says(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a route below a switch is told in four lines") {
  const auto tree = test::two_switches().build();
  CHECK(words(*tree, "03:00.0", "04:00.0") ==
        "0000:03:00.0 writes 0000:04:00.0: BUS_ADDR, 4 hops\n"
        "  client: 0000:03:00.0 [1234:5678] endpoint\n"
        "  provider: 0000:04:00.0 [1234:5678] endpoint\n"
        "  common bridge: 0000:01:00.0 [1234:0002] upstream\n");
}

TEST_CASE("a refusal tells who redirects, what the root complex lacks, and what would help") {
  test::machine m = test::two_switches();
  m["02:00.0"].acs(0x1d);
  m["02:01.0"].acs(0x1d);
  CHECK(words(*m.build(), "03:00.0", "04:00.0") ==
        "0000:03:00.0 writes 0000:04:00.0: NOT_SUPPORTED, 4 hops\n"
        "  client: 0000:03:00.0 [1234:5678] endpoint\n"
        "  provider: 0000:04:00.0 [1234:5678] endpoint\n"
        "  common bridge: 0000:01:00.0 [1234:0002] upstream\n"
        "  ACS redirects at 0000:02:01.0: ReqRedir CmpltRedir\n"
        "  ACS redirects at 0000:02:00.0: ReqRedir CmpltRedir\n"
        "  host bridge of the provider: 0000:00 [1234:0000], not on the kernel's list\n"
        "  root complex: it is not on the kernel's list, and the CPU is no AMD since Zen\n"
        "  boot parameter that lets them talk below the common bridge: "
        "pci=disable_acs_redir=0000:02:01.0;0000:02:00.0\n");
}

TEST_CASE("what is missing is said, each with what it takes") {
  test::machine m = test::two_switches();
  m["07:00.0"].first(256);
  m["00:00.0"] = test::all_ones();
  const auto tree = m.build(pci::cpu_rule::unknown);
  CHECK(says(words(*tree, "03:00.0", "07:00.0"), "missing: the ACS of a function"));
  const std::string across = words(*tree, "03:00.0", "09:00.0");
  CHECK(says(across, "UNKNOWN, 6 hops"));
  CHECK(says(across, "common bridge: none"));
  CHECK(says(across, "missing: the kind of CPU"));
  CHECK(says(across, "missing: the first function of a root bus"));
  CHECK(says(across, "which could not be read"));
  m["02:02.0"] = test::all_ones();
  const auto lost = m.build();
  CHECK(says(words(*lost, "03:00.0", "07:00.0"), "missing: a bridge above"));
  CHECK_FALSE(says(words(*lost, "03:00.0", "07:00.0"), "hops"));
  CHECK(says(words(*lost, "03:00.0", "09:00.0", dma_owner::vfio), "missing: nothing vouches"));
}

TEST_CASE("two host bridges are both told, with their entries") {
  test::machine m;
  m.add("00:00.0", test::host_bridge(0x8086, 0x2f00)).add("00:01.0", test::endpoint());
  m.add("80:00.0", test::host_bridge(0x8086, 0x09a2)).add("80:01.0", test::endpoint());
  const std::string text = words(*m.build(), "00:01.0", "80:01.0");
  CHECK(says(text, "host bridge of the provider: 0000:80 [8086:09a2], on the kernel's list as Intel Ice Lake"));
  CHECK(says(text, "host bridge of the client: 0000:00 [8086:2f00], on the kernel's list as Intel Haswell-E"));
  CHECK(says(text, "trusts it within one host bridge, and these are two"));
}

TEST_CASE("quirks and IOMMU groups are told") {
  std::vector<pci::function> functions = test::two_switches().functions();
  functions[9].iommu_group = 17;
  functions[9].domain = pci::iommu_domain::translated;
  const auto tree = pci::topology::build(functions, {pci::cpu_rule::none, true});
  REQUIRE(tree);
  REQUIRE(functions[9].where == test::at("04:00.0"));
  const std::array quirks{pci::quirk{pci::quirk::role::provider, 0x1234, 0x5678, pci::transactions::both,
                                     pci::quirk::effect::fails, "it drops them"}};
  const std::string text = words(*tree, "04:00.0", "03:00.0", dma_owner::kernel_dma, quirks);
  CHECK(says(text, "  client: IOMMU group 17, translated\n"));
  CHECK(says(text, "  provider: in no IOMMU group\n"));
  CHECK(says(text, "  known: it drops them\n"));
}
