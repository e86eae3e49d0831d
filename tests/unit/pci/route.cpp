// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/route.hpp>

#include <string>
#include <vector>

#include "catch.hpp"
#include "machines.hpp"

using namespace paddock;
using pci::cpu_rule;
using pci::dma_owner;
using pci::missing;
using pci::root_complex_rule;
using pci::route;
using pci::route_type;
using pci::topology;
using test::machine;
namespace bits = pci::acs_bits;

namespace {

topology must_build(const machine& of, cpu_rule cpu = cpu_rule::none) {
  auto built = of.build(cpu);
  REQUIRE(built);
  return std::move(*built);
}

route between(const topology& tree, const char* client, const char* provider, dma_owner owner = dma_owner::kernel_dma) {
  const auto from = tree.find(test::at(client));
  const auto to = tree.find(test::at(provider));
  REQUIRE(from);
  REQUIRE(to);
  const auto found = pci::route_between(*from, *to, transaction::write, owner);
  REQUIRE(found);
  return *found;
}

std::string redirects(const route& of) {
  std::string text;
  of.for_each_redirect([&](const pci::node& port) { text += to_string(port->where).substr(5) + " "; });
  return text;
}

/// A machine below a host bridge of the kernel's list.
machine listed(machine m, std::uint16_t device = 0x09a2) {
  m["00:00.0"] = test::host_bridge(0x8086, device);
  return m;
}

/// Two host bridges, with an endpoint below a root port of each.
machine two_host_bridges(std::uint16_t first, std::uint16_t second) {
  machine m;
  m.add("00:00.0", test::host_bridge(0x8086, first)).add("00:01.0", test::root_port(1, 1));
  m.add("01:00.0", test::endpoint()).add("80:00.0", test::host_bridge(0x8086, second));
  m.add("80:01.0", test::root_port(0x81, 0x81)).add("81:00.0", test::endpoint());
  return m;
}

}  // namespace

TEST_CASE("distances are the kernel's hops") {
  const topology tree = must_build(test::two_switches());
  CHECK(between(tree, "03:00.0", "03:00.0").distance() == 0U);
  CHECK(between(tree, "03:00.0", "03:00.1").distance() == 2U);
  CHECK(between(tree, "03:00.0", "04:00.0").distance() == 4U);
  CHECK(between(tree, "03:00.0", "07:00.0").distance() == 6U);
  CHECK(between(tree, "03:00.0", "09:00.0").distance() == 6U);
  CHECK(between(tree, "00:01.0", "00:02.0").distance() == 2U);
  CHECK(between(tree, "03:00.0", "01:00.0").distance() == 2U);
}

TEST_CASE("two meet at the nearest bridge above both, or at themselves") {
  const topology tree = must_build(test::two_switches());
  const auto common = [&](const char* a, const char* b) {
    const auto bridge = between(tree, a, b).common_bridge();
    return bridge ? to_string((*bridge)->where) : "none";
  };
  CHECK(common("03:00.0", "03:00.0") == "0000:03:00.0");
  CHECK(common("03:00.0", "03:00.1") == "0000:02:00.0");
  CHECK(common("04:00.0", "07:00.0") == "0000:01:00.0");
  CHECK(common("04:00.0", "01:00.0") == "0000:01:00.0");
  CHECK(common("04:00.0", "09:00.0") == "none");
}

TEST_CASE("below one switch that does not redirect, the way is the bus address") {
  for (const cpu_rule cpu : {cpu_rule::none, cpu_rule::unknown, cpu_rule::amd_zen}) {
    const topology tree = must_build(test::two_switches(), cpu);
    const route found = between(tree, "03:00.0", "07:00.0");
    CHECK(found.type() == route_type::bus_addr);
    CHECK(found.is_supported());
    CHECK(found.root_rule() == root_complex_rule::not_asked);
    CHECK(found.what_is_missing() == missing::nothing);
  }
}

TEST_CASE("ACS that redirects anywhere on the way sends it up") {
  for (const char* port : {"03:00.0", "02:00.0", "01:00.0", "02:02.0", "05:00.0", "06:00.0", "07:00.0"}) {
    INFO(port);
    machine m = test::two_switches();
    m[port].acs(bits::completion_redirect);
    const topology tree = must_build(m);
    for (const route& found : {between(tree, "03:00.0", "07:00.0"), between(tree, "07:00.0", "03:00.0")}) {
      CHECK(found.type() == route_type::not_supported);
      CHECK(found.is_redirected());
      CHECK(found.distance() == 6U);
      CHECK(redirects(found) == std::string(port) + " ");
      CHECK(found.root_rule() == root_complex_rule::not_listed);
    }
    CHECK(between(must_build(m, cpu_rule::amd_zen), "03:00.0", "07:00.0").type() == route_type::thru_host_bridge);
  }
}

TEST_CASE("ACS above the common bridge, beside the way, or without redirection is of no matter") {
  for (const char* port : {"00:01.0", "02:01.0", "03:00.1", "09:00.0"}) {
    machine m = test::two_switches();
    m[port].acs(bits::redirect);
    CHECK(between(must_build(m), "03:00.0", "07:00.0").type() == route_type::bus_addr);
  }
  machine m = test::two_switches();
  m["02:00.0"].acs(bits::source_validation | bits::upstream_forwarding);
  CHECK(between(must_build(m), "03:00.0", "07:00.0").type() == route_type::bus_addr);
}

TEST_CASE("redirecting functions are told as the kernel logs them: from the provider up, then from the client up") {
  machine m = test::two_switches();
  for (const char* port : {"00:01.0", "01:00.0", "02:00.0", "02:02.0", "06:00.0", "07:00.0"}) {
    m[port].acs(bits::request_redirect);
  }
  const topology tree = must_build(m);
  CHECK(redirects(between(tree, "03:00.0", "07:00.0")) == "07:00.0 06:00.0 02:02.0 01:00.0 02:00.0 ");
  CHECK(redirects(between(tree, "07:00.0", "03:00.0")) == "02:00.0 01:00.0 07:00.0 06:00.0 02:02.0 ");
  CHECK(redirects(between(tree, "07:00.0", "09:00.0")).empty());
}

TEST_CASE("a function whose own ACS redirects does not even reach itself") {
  machine m = test::two_switches();
  m["04:00.0"].acs(bits::request_redirect);
  const topology tree = must_build(m);
  const route found = between(tree, "04:00.0", "04:00.0");
  CHECK(found.type() == route_type::not_supported);
  CHECK(found.distance() == 0U);
  CHECK(redirects(found) == "04:00.0 ");
  CHECK(between(must_build(listed(m)), "04:00.0", "04:00.0").type() == route_type::thru_host_bridge);
}

TEST_CASE("the boot parameter names every redirecting function, and is empty where it would not help") {
  machine m = test::two_switches();
  m["02:00.0"].acs(bits::redirect);
  m["06:00.0"].acs(bits::redirect);
  m["00:01.0"].acs(bits::redirect);
  const topology tree = must_build(m);
  CHECK(between(tree, "03:00.0", "07:00.0").boot_parameter() == "pci=disable_acs_redir=0000:06:00.0;0000:02:00.0");
  CHECK(between(tree, "04:00.0", "03:00.0").boot_parameter() == "pci=disable_acs_redir=0000:02:00.0");
  CHECK(between(tree, "03:00.0", "09:00.0").boot_parameter().empty());
  CHECK(between(must_build(test::two_switches()), "03:00.0", "07:00.0").boot_parameter().empty());
}

TEST_CASE("through the root complex decides the CPU, then the list") {
  const auto through = [](const machine& m, cpu_rule cpu) { return between(must_build(m, cpu), "03:00.0", "09:00.0"); };
  const machine plain = test::two_switches();
  CHECK(through(plain, cpu_rule::none).type() == route_type::not_supported);
  CHECK(through(plain, cpu_rule::none).root_rule() == root_complex_rule::not_listed);
  CHECK(through(plain, cpu_rule::amd_zen).type() == route_type::thru_host_bridge);
  CHECK(through(plain, cpu_rule::amd_zen).root_rule() == root_complex_rule::cpu);
  CHECK(through(listed(plain), cpu_rule::none).type() == route_type::thru_host_bridge);
  CHECK(through(listed(plain), cpu_rule::none).root_rule() == root_complex_rule::listed);
  const topology tree = must_build(listed(plain));
  CHECK(between(tree, "03:00.0", "09:00.0").provider_entry()->device == 0x09a2);
  CHECK(through(listed(plain), cpu_rule::unknown).root_rule() == root_complex_rule::listed);
}

TEST_CASE("without the kind of CPU a host bridge that is not listed leaves the verdict open") {
  const route found = between(must_build(test::two_switches(), cpu_rule::unknown), "03:00.0", "09:00.0");
  CHECK(found.type() == route_type::unknown);
  CHECK(found.root_rule() == root_complex_rule::undetermined);
  CHECK(found.what_is_missing() == missing::cpu);
  CHECK_FALSE(found.is_supported());
  CHECK(found.distance() == 6U);
}

TEST_CASE("a host bridge that could not be read leaves the verdict open, unless the CPU decides") {
  machine m = test::two_switches();
  m["00:00.0"] = test::all_ones();
  const route found = between(must_build(m), "03:00.0", "09:00.0");
  CHECK(found.type() == route_type::unknown);
  CHECK(found.what_is_missing() == missing::host_bridge);
  CHECK(between(must_build(m, cpu_rule::unknown), "03:00.0", "09:00.0").what_is_missing() ==
        (missing::host_bridge | missing::cpu));
  CHECK(between(must_build(m, cpu_rule::amd_zen), "03:00.0", "09:00.0").type() == route_type::thru_host_bridge);
}

TEST_CASE("some host bridges are trusted within one of them only") {
  CHECK(between(must_build(listed(test::two_switches(), 0x3c00)), "03:00.0", "09:00.0").type() ==
        route_type::thru_host_bridge);
  const topology two = must_build(two_host_bridges(0x2f00, 0x2f00));
  CHECK(between(two, "01:00.0", "81:00.0").type() == route_type::not_supported);
  CHECK(between(two, "01:00.0", "81:00.0").root_rule() == root_complex_rule::only_same);
  CHECK(between(must_build(two_host_bridges(0x09a2, 0x2f00)), "01:00.0", "81:00.0").root_rule() ==
        root_complex_rule::only_same);
  CHECK(between(must_build(two_host_bridges(0x2f00, 0x2f00), cpu_rule::unknown), "01:00.0", "81:00.0").type() ==
        route_type::unknown);
}

TEST_CASE("between two host bridges both have to be listed") {
  const auto across = [](std::uint16_t first, std::uint16_t second) {
    return between(must_build(two_host_bridges(first, second)), "01:00.0", "81:00.0");
  };
  CHECK(across(0x09a2, 0x2030).type() == route_type::thru_host_bridge);
  CHECK(across(0x09a2, 0x1111).type() == route_type::not_supported);
  CHECK(across(0x1111, 0x09a2).type() == route_type::not_supported);
  const topology tree = must_build(two_host_bridges(0x1111, 0x09a2));
  CHECK(between(tree, "01:00.0", "81:00.0").client_entry() == nullptr);
  CHECK(between(tree, "01:00.0", "81:00.0").provider_entry() != nullptr);
  CHECK(across(0x09a2, 0x2030).distance() == 4U);
}

TEST_CASE("ACS that could not be read leaves the verdict open, and is never taken for off") {
  for (const char* port : {"03:00.0", "02:00.0", "01:00.0", "06:00.0", "07:00.0"}) {
    machine m = test::two_switches();
    m[port].first(256);
    for (const cpu_rule cpu : {cpu_rule::none, cpu_rule::amd_zen}) {
      const route found = between(must_build(m, cpu), "03:00.0", "07:00.0");
      CHECK(found.type() == route_type::unknown);
      CHECK(found.what_is_missing() == missing::acs);
      CHECK_FALSE(found.is_acs_known());
    }
  }
  machine above = test::two_switches();
  above["00:01.0"].first(256);
  CHECK(between(must_build(above), "03:00.0", "07:00.0").type() == route_type::bus_addr);
}

TEST_CASE("where something redirects, ACS that could not be read changes nothing") {
  machine m = test::two_switches();
  m["02:00.0"].acs(bits::redirect);
  m["07:00.0"].first(256);
  const route found = between(must_build(m), "03:00.0", "07:00.0");
  CHECK(found.type() == route_type::not_supported);
  CHECK_FALSE(found.is_acs_known());
}

TEST_CASE("64 bytes of each function, as a process without privilege gets, leave every switch open") {
  machine m;
  for (const pci::function& each : test::two_switches().functions()) {
    test::machine whole = test::two_switches();
    const std::string where = to_string(each.where);
    m.add(where, whole[where].first(64));
  }
  const topology tree = must_build(m, cpu_rule::unknown);
  CHECK(between(tree, "03:00.0", "07:00.0").what_is_missing() == missing::acs);
  CHECK(between(tree, "03:00.0", "09:00.0").what_is_missing() == missing::cpu);
}

TEST_CASE("functions that read all ones leave the verdict open") {
  machine m = test::two_switches();
  m["07:00.0"] = test::all_ones();
  CHECK(between(must_build(m), "03:00.0", "07:00.0").what_is_missing() == missing::acs);
  m["02:02.0"] = test::all_ones();
  const topology tree = must_build(m);
  const route found = between(tree, "03:00.0", "07:00.0");
  CHECK(found.what_is_missing() == missing::placement);
  CHECK(found.type() == route_type::unknown);
  CHECK_FALSE(found.distance());
  CHECK_FALSE(found.common_bridge());
  CHECK(found.provider_entry() == nullptr);
}

TEST_CASE("nodes of two topologies have no route") {
  const topology one = must_build(test::two_switches());
  const topology other = must_build(test::two_switches());
  CHECK(pci::route_between(one.at(0), other.at(0), transaction::read).error() == errc::invalid_argument);
}

TEST_CASE("a process's IOVAs leave a switch upwards, whatever its ACS") {
  const route found = between(must_build(listed(test::two_switches())), "03:00.0", "07:00.0", dma_owner::vfio);
  CHECK(found.type() == route_type::thru_host_bridge);
  CHECK(found.kernel_type() == route_type::bus_addr);
  CHECK_FALSE(found.is_redirected());
  CHECK(found.owner() == dma_owner::vfio);
}

TEST_CASE("a process is not refused where the kernel would refuse, and has to verify") {
  machine m = test::two_switches();
  for (const dma_owner owner : {dma_owner::vfio, dma_owner::vfio_identity}) {
    const route found = between(must_build(m), "03:00.0", "09:00.0", owner);
    CHECK(found.kernel_type() == route_type::not_supported);
    CHECK(found.type() == route_type::unknown);
    CHECK(found.what_is_missing() == missing::forwarding);
    CHECK(between(must_build(m, cpu_rule::amd_zen), "03:00.0", "09:00.0", owner).type() ==
          route_type::thru_host_bridge);
  }
}

TEST_CASE("IOVAs that equal bus addresses stay below a switch, unless something redirects") {
  machine m = test::two_switches();
  CHECK(between(must_build(m), "03:00.0", "07:00.0", dma_owner::vfio_identity).type() == route_type::bus_addr);
  machine unread = m;
  unread["07:00.0"].first(256);
  CHECK(between(must_build(unread), "03:00.0", "07:00.0", dma_owner::vfio_identity).what_is_missing() == missing::acs);
  m["02:00.0"].acs(bits::redirect);
  CHECK(between(must_build(m), "03:00.0", "07:00.0", dma_owner::vfio_identity).what_is_missing() ==
        missing::forwarding);
  CHECK(between(must_build(listed(m)), "03:00.0", "07:00.0", dma_owner::vfio_identity).type() ==
        route_type::thru_host_bridge);
}

TEST_CASE("a function reaches itself by any address") {
  CHECK(between(must_build(test::two_switches()), "03:00.0", "03:00.0", dma_owner::vfio).type() ==
        route_type::bus_addr);
}

TEST_CASE("a process has no DMA without an IOMMU, where that is told") {
  std::vector<pci::function> functions = test::two_switches().functions();
  for (pci::function& each : functions) {
    each.iommu_group = each.where.bus == 3 ? std::optional<std::uint32_t>(1) : std::nullopt;
  }
  const auto tree = topology::build(functions, {cpu_rule::amd_zen, true});
  REQUIRE(tree);
  CHECK(between(*tree, "03:00.0", "09:00.0", dma_owner::vfio).type() == route_type::thru_host_bridge);
  CHECK(between(*tree, "09:00.0", "03:00.0", dma_owner::vfio).type() == route_type::not_supported);
  CHECK(between(*tree, "09:00.0", "09:00.0", dma_owner::vfio_identity).type() == route_type::not_supported);
  CHECK(between(*tree, "09:00.0", "03:00.0").type() == route_type::thru_host_bridge);
  const auto untold = topology::build(functions, {cpu_rule::amd_zen, false});
  CHECK(between(*untold, "09:00.0", "03:00.0", dma_owner::vfio).type() == route_type::thru_host_bridge);
}

TEST_CASE("route types have the kernel's names") {
  CHECK(std::string(name(route_type::bus_addr)) == "BUS_ADDR");
  CHECK(std::string(name(route_type::thru_host_bridge)) == "THRU_HOST_BRIDGE");
  CHECK(std::string(name(route_type::not_supported)) == "NOT_SUPPORTED");
  CHECK(std::string(name(route_type::unknown)) == "UNKNOWN");
}

TEST_CASE("a client whose IOMMU domain lets nothing through reaches nobody as a kernel driver's") {
  std::vector<pci::function> functions = test::two_switches().functions();
  for (pci::function& each : functions) {
    each.domain = each.where == test::at("03:00.0") ? pci::iommu_domain::blocked : pci::iommu_domain::translated;
  }
  const pci::topology tree = *pci::topology::build(functions);
  const auto route = [&](const char* from, const char* to) {
    return *pci::route_between(*tree.find(test::at(from)), *tree.find(test::at(to)), transaction::read);
  };
  CHECK(route("03:00.0", "04:00.0").type() == route_type::not_supported);
  CHECK(route("03:00.0", "04:00.0").is_blocked());
  CHECK(route("03:00.0", "04:00.0").kernel_type() == route_type::bus_addr);
  CHECK(route("04:00.0", "03:00.0").type() == route_type::bus_addr);
}

TEST_CASE("there is no boot parameter for a process, nor where ACS could not be read, nor against a quirk") {
  test::machine m = test::two_switches();
  m["02:00.0"].acs(pci::acs_bits::request_redirect);
  const auto parameter = [&](pci::dma_owner owner, std::span<const pci::quirk> known) {
    const pci::topology tree = *m.build(pci::cpu_rule::amd_zen);
    return pci::route_between(*tree.find(test::at("03:00.0")), *tree.find(test::at("04:00.0")), transaction::read,
                              owner, known)
        ->boot_parameter();
  };
  CHECK(parameter(pci::dma_owner::kernel_dma, {}) == "pci=disable_acs_redir=0000:02:00.0");
  CHECK(parameter(pci::dma_owner::vfio, {}).empty());
  const std::array fails{pci::quirk{}};
  CHECK(parameter(pci::dma_owner::kernel_dma, fails).empty());
  m["02:01.0"].first(256);
  CHECK(parameter(pci::dma_owner::kernel_dma, {}).empty());
}

TEST_CASE("one host bridge that is not listed refuses, whether or not the other could be read") {
  test::machine m;
  m.add("00:00.0", test::host_bridge()).add("00:02.0", test::endpoint());
  m.add("80:00.0", test::all_ones()).add("80:01.0", test::root_port(0x81, 0x81)).add("81:00.0", test::endpoint());
  const pci::topology tree = *m.build(pci::cpu_rule::none);
  const auto way =
      *pci::route_between(*tree.find(test::at("00:02.0")), *tree.find(test::at("81:00.0")), transaction::read);
  CHECK(way.type() == route_type::not_supported);
  CHECK(way.root_rule() == pci::root_complex_rule::not_listed);
}
