// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/config_space.hpp>

#include "catch.hpp"
#include "machines.hpp"

using namespace paddock;
using pci::capability;
using pci::config_space;
using test::config;

namespace {

constexpr capability absent{capability::state::absent, 0};
constexpr capability unreadable{capability::state::unreadable, 0};

constexpr capability present(std::uint16_t offset) { return {capability::state::present, offset}; }

/// A chain of ids at 0x40, 0x50, …, and where it goes on.
config chain(std::initializer_list<std::uint8_t> ids, std::uint8_t last_next = 0) {
  config made;
  made.put16(0x06, 0x10).put8(0x34, 0x40);
  std::uint8_t at = 0x40;
  for (const std::uint8_t id : ids) {
    const auto next = static_cast<std::uint8_t>(at + 0x10);
    made.put8(at, id).put8(at + 1U, next);
    at = next;
  }
  return made.put8(at - 0xfU, last_next).first(256);
}

}  // namespace

TEST_CASE("config space is little-endian, and ends where the copy ends") {
  const config space = config(0x8086, 0x1533).first(66).put16(64, 0xbeef);
  CHECK(space.view().read16(0) == 0x8086);
  CHECK(space.view().read32(0) == 0x15338086);
  CHECK(space.view().read8(1) == 0x80);
  CHECK(space.view().read16(64) == 0xbeef);
  CHECK_FALSE(space.view().read16(65));
  CHECK_FALSE(space.view().read32(64));
  CHECK_FALSE(space.view().read8(66));
  CHECK_FALSE(space.view().read32(static_cast<std::size_t>(-2)));
}

TEST_CASE("config space is at most 4096 bytes") {
  const std::vector<std::byte> more(5000);
  CHECK(config_space(more).size() == 4096);
  CHECK_FALSE(config_space(more).read8(4096));
}

TEST_CASE("a function that reads all ones does not answer, and tells of no capability") {
  const config ones = test::all_ones();
  CHECK_FALSE(ones.view().responds());
  CHECK(ones.view().find(0x10) == unreadable);
  CHECK(ones.view().find_extended(0x0d) == unreadable);
  CHECK_FALSE(config_space({}).responds());
  CHECK(config_space({}).find(0x10) == unreadable);
  CHECK(test::virtual_function().view().responds());
}

TEST_CASE("capabilities are found along their chain") {
  const config space = chain({0x01, 0x05, 0x10});
  CHECK(space.view().find(0x01) == present(0x40));
  CHECK(space.view().find(0x10) == present(0x60));
  CHECK(space.view().find(0x11) == absent);
  CHECK(config(space).put8(0x34, 0x42).view().find(0x01) == present(0x40));  // The two lowest bits are reserved.
}

TEST_CASE("without the status bit there is no capability") {
  CHECK(chain({0x10}).put16(0x06, 0).view().find(0x10) == absent);
}

TEST_CASE("a card bus bridge has its chain elsewhere") {
  config space = chain({0x10}).put8(0x0e, 0x82).put8(0x34, 0);
  CHECK(space.view().find(0x10) == absent);
  CHECK(space.put8(0x14, 0x40).view().find(0x10) == present(0x40));
}

TEST_CASE("a chain of capabilities that bites its tail ends") {
  CHECK(chain({0x01, 0x05}, 0x40).view().find(0x10) == absent);
  CHECK(chain({0x01}, 0x40).view().find(0x10) == absent);
}

TEST_CASE("a chain of capabilities ends at an id of ones, and at a pointer into the header") {
  CHECK(chain({0x01, 0xff, 0x10}).view().find(0x10) == absent);
  CHECK(chain({0x01}, 0x3c).view().find(0x10) == absent);
}

TEST_CASE("a chain that leaves what was read is unreadable, not absent") {
  CHECK(chain({0x01, 0x10}).first(64).view().find(0x10) == unreadable);
  CHECK(chain({0x01, 0x10}).first(0x41).view().find(0x10) == unreadable);
  CHECK(chain({0x01, 0x10}).first(0x41).view().find(0x01) == present(0x40));
  CHECK(chain({0x01, 0x10}).first(0x50).view().find(0x10) == unreadable);
  CHECK(config().first(5).view().find(0x10) == unreadable);
}

TEST_CASE("extended capabilities are found along their chain") {
  std::size_t at = 0;
  const config space = test::endpoint().extended(0x0001, at).extended(0x0003, at).acs(0);
  CHECK(space.view().find_extended(0x0001) == present(0x100));
  CHECK(space.view().find_extended(0x000d) == present(0x120));
  CHECK(space.view().find_extended(0x0010) == absent);
}

TEST_CASE("a conventional function has no extended capability, however much was read of it") {
  CHECK(config().view().find_extended(0x000d) == absent);
  CHECK(chain({0x01}).put32(0x100, 0x1000d).view().find_extended(0x000d) == absent);
}

TEST_CASE("256 bytes of a PCI Express function do not tell its extended capabilities") {
  CHECK(test::endpoint().acs(0).first(256).view().find_extended(0x000d) == unreadable);
  CHECK(test::endpoint().acs(0).first(64).view().find_extended(0x000d) == unreadable);
  CHECK(test::endpoint().acs(0).first(0x103).view().find_extended(0x000d) == unreadable);
}

TEST_CASE("a chain of extended capabilities ends at zeroes, at ones, below 256, and when it bites its tail") {
  CHECK(test::endpoint().put32(0x100, 0).view().find_extended(0x000d) == absent);
  CHECK(test::endpoint().put32(0x100, 0xffffffff).view().find_extended(0x000d) == absent);
  CHECK(test::endpoint().put32(0x100, 0x0c010001).view().find_extended(0x000d) == absent);
  CHECK(test::endpoint().put32(0x100, 0x10010001).view().find_extended(0x000d) == absent);
}
