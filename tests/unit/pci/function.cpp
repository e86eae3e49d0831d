// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/function.hpp>

#include "catch.hpp"
#include "machines.hpp"

using namespace paddock;
using pci::port_type;

namespace {

pci::function read(const test::config& space) { return pci::read_function(test::at("03:00.0"), space.view()); }

}  // namespace

TEST_CASE("a function is read from its config space") {
  const pci::function of = read(test::config(0x144d, 0xa808).express(0).class_code(0x010802));
  CHECK(of.where == test::at("03:00.0"));
  CHECK(of.vendor == 0x144d);
  CHECK(of.device == 0xa808);
  CHECK(of.class_code == 0x010802);
  CHECK(of.port == port_type::endpoint);
  CHECK(of.responds);
  CHECK_FALSE(of.bridge);
  CHECK(of.is_endpoint());
  CHECK(of.vf_count == 0);
}

TEST_CASE("a bridge is one by its header, and tells its buses") {
  const pci::function of = read(test::root_port(5, 9));
  CHECK(of.bridge);
  CHECK(of.secondary == 5);
  CHECK(of.subordinate == 9);
  CHECK_FALSE(of.is_endpoint());
  CHECK(read(test::config().put8(0x0e, 0x82)).bridge);
  CHECK(read(test::config().put8(0x0e, 0x81)).bridge);
  CHECK_FALSE(read(test::config().put8(0x0e, 0x80)).bridge);
  CHECK_FALSE(read(test::host_bridge()).is_endpoint());
}

TEST_CASE("every type of port is told, and what no specification names is unknown") {
  const std::pair<unsigned, port_type> all[] = {
      {0, port_type::endpoint},           {1, port_type::legacy_endpoint}, {4, port_type::root_port},
      {5, port_type::upstream},           {6, port_type::downstream},      {7, port_type::pcie_to_pci_bridge},
      {8, port_type::pci_to_pcie_bridge}, {9, port_type::rc_endpoint},     {10, port_type::rc_event_collector}};
  for (const auto& [number, port] : all) {
    CHECK(read(test::config().express(number)).port == port);
  }
  for (const unsigned number : {2U, 3U, 11U, 15U}) {
    CHECK(read(test::config().express(number)).port == port_type::unknown);
  }
  CHECK(read(test::config()).port == port_type::conventional);
  CHECK(read(test::endpoint().first(64)).port == port_type::unknown);
  CHECK(read(test::endpoint().first(0x43)).port == port_type::unknown);
}

TEST_CASE("a function that reads all ones tells nothing") {
  const pci::function of = read(test::all_ones());
  CHECK_FALSE(of.responds);
  CHECK_FALSE(of.bridge);
  CHECK_FALSE(of.is_endpoint());
  CHECK(of.port == port_type::unknown);
  CHECK_FALSE(of.acs.is_known());
  CHECK(of.vendor == 0xffff);
}

TEST_CASE("a virtual function answers without vendor and device") {
  const pci::function of = read(test::virtual_function());
  CHECK(of.responds);
  CHECK(of.vendor == 0xffff);
  CHECK(of.port == port_type::endpoint);
}

TEST_CASE("virtual functions count only while they are enabled") {
  const pci::function of = read(test::endpoint().sriov(4, 0x80, 2));
  CHECK(of.vf_count == 4);
  CHECK(of.vf_offset == 0x80);
  CHECK(of.vf_stride == 2);
  CHECK(read(test::endpoint().sriov(4, 0x80, 2).put16(0x108, 0)).vf_count == 0);
}

TEST_CASE("any beginning of a config space is read") {
  for (std::size_t bytes = 0; bytes <= 320; ++bytes) {
    const pci::function of = read(test::endpoint().acs(4).sriov(4, 1, 1).first(bytes));
    CHECK(of.config_bytes == bytes);
    CHECK(of.responds == (bytes > 0));
  }
}

TEST_CASE("ports and IOMMU domains have names") {
  for (int i = 0; i <= static_cast<int>(port_type::rc_event_collector); ++i) {
    CHECK((std::string(name(static_cast<port_type>(i))) == "unknown") == (i == 0));
  }
  for (int i = 0; i <= static_cast<int>(pci::iommu_domain::blocked); ++i) {
    CHECK((std::string(name(static_cast<pci::iommu_domain>(i))) == "unknown") == (i == 0));
  }
}
