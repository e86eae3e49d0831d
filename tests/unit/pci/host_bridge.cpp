// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/host_bridge.hpp>

#include <algorithm>
#include <map>

#include "catch.hpp"
#include "machines.hpp"

using namespace paddock;

namespace {

pci::function first_function(std::uint16_t vendor, std::uint16_t device, const char* where = "00:00.0") {
  return pci::read_function(test::at(where), test::host_bridge(vendor, device).view());
}

}  // namespace

TEST_CASE("the list of host bridges is the kernel's") {
  // Vendor and device, and whether both have to be below one host bridge. Linux 7.2, drivers/pci/p2pdma.c.
  const std::map<std::pair<int, int>, bool> kernel{
      {{0x8086, 0x3c00}, true},  {{0x8086, 0x3c01}, true},  {{0x8086, 0x2f00}, true},  {{0x8086, 0x2f01}, true},
      {{0x8086, 0x2030}, false}, {{0x8086, 0x2031}, false}, {{0x8086, 0x2032}, false}, {{0x8086, 0x2033}, false},
      {{0x8086, 0x2020}, false}, {{0x8086, 0x09a2}, false}, {{0x8086, 0x0b25}, false}, {{0x8086, 0x0cfe}, false},
      {{0x8086, 0x11fb}, false}, {{0x8086, 0x1212}, false}, {{0x8086, 0x1216}, false}, {{0x8086, 0x4940}, false},
      {{0x8086, 0x4942}, false}, {{0x8086, 0x4944}, false}, {{0x8086, 0x4946}, false}, {{0x8086, 0x4948}, false},
      {{0x1ae0, 0xffff}, false}};
  CHECK(pci::host_bridge_list.size() == kernel.size());
  for (const auto& [id, same] : kernel) {
    const auto* entry = find_entry(first_function(
        static_cast<std::uint16_t>(id.first), static_cast<std::uint16_t>(id.second == 0xffff ? 0x1f00 : id.second)));
    INFO(fmt::format("{:04x}:{:04x}", id.first, id.second));
    REQUIRE(entry != nullptr);
    CHECK(entry->device == id.second);
    CHECK(entry->same_host_bridge == same);
  }
}

TEST_CASE("what is not on the list has no entry") {
  CHECK(find_entry(first_function(0x8086, 0x3c02)) == nullptr);
  CHECK(find_entry(first_function(0x1022, 0x09a2)) == nullptr);
}

TEST_CASE("a host bridge is known by its function 00.0, or by a root port in its place") {
  CHECK(find_entry(first_function(0x8086, 0x09a2, "37:00.0")) != nullptr);
  CHECK(find_entry(first_function(0x8086, 0x09a2, "37:00.1")) == nullptr);
  CHECK(find_entry(first_function(0x8086, 0x09a2, "37:01.0")) == nullptr);
  test::config port = test::root_port(1, 1).put16(0, 0x8086).put16(2, 0x2030);
  CHECK(find_entry(pci::read_function(test::at("00:01.0"), port.view())) != nullptr);
  CHECK(find_entry(pci::read_function(test::at("00:01.0"), port.express(0).view())) == nullptr);
}

TEST_CASE("the kinds of CPU have names") {
  CHECK(std::string(name(pci::cpu_rule::unknown)) == "unknown");
  CHECK(std::string(name(pci::cpu_rule::none)) == "none");
  CHECK(std::string(name(pci::cpu_rule::amd_zen)) == "amd_zen");
}
