// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/address.hpp>

#include "catch.hpp"

using namespace paddock;

TEST_CASE("a PCI address is read with and without its domain") {
  CHECK(pci::address::parse("0000:3b:1f.7").value_or(pci::address{}) == pci::address{0, 0x3b, 0x1f, 7});
  CHECK(pci::address::parse("3b:00.0").value_or(pci::address{}) == pci::address{0, 0x3b, 0, 0});
  CHECK(pci::address::parse("10000:e1:00.0").value_or(pci::address{}) == pci::address{0x10000, 0xe1, 0, 0});
}

TEST_CASE("what is no PCI address is refused") {
  for (const char* text : {"", ":", "00:00", "00:00.8", "00:20.0", "100:00.0", "0000:00:00.0x", "x000:00:00.0",
                           "0:0:0:0.0", "00:00.", "-1:00.0", "00:0+0.0", "123456789:00:00.0"}) {
    INFO(text);
    CHECK_FALSE(pci::address::parse(text));
  }
}

TEST_CASE("a PCI address prints as sysfs spells it") {
  CHECK(to_string(pci::address{0, 0x3b, 0x1f, 7}) == "0000:3b:1f.7");
  CHECK(fmt::format("{}", pci::address{0x10000, 1, 2, 3}) == "10000:01:02.3");
}
