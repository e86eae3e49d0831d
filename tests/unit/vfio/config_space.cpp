// SPDX-License-Identifier: BSL-1.0
#include <paddock/vfio/config_space.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <array>

#include "catch.hpp"

using namespace paddock;
using vfio::revoke_reason;

namespace {

constexpr std::uint16_t on = 0x0406;  // Memory, bus master, and the interrupt disable bit in the upper byte.
const vfio::detail::config_layout layout{.power = 0x60, .express = 0x80, .advanced_features = 0xc0};

template <std::size_t Size>
std::optional<revoke_reason> effect(std::uint16_t offset, std::array<std::uint8_t, Size> bytes,
                                    std::uint16_t command = on, std::uint16_t power = 0) {
  return vfio::detail::effect_of_write(layout, command, power, offset, bytes.data(), bytes.size());
}

}  // namespace

TEST_CASE("clearing the memory bit revokes, by whatever width it is written") {
  CHECK(effect<1>(0x04, {0x04}) == revoke_reason::memory_disabled);
  CHECK(effect<2>(0x04, {0x04, 0x04}) == revoke_reason::memory_disabled);
  CHECK(effect<4>(0x04, {0x04, 0x04, 0, 0}) == revoke_reason::memory_disabled);
}

TEST_CASE("other changes of the command register do not") {
  CHECK_FALSE(effect<1>(0x04, {0x02}));
  CHECK_FALSE(effect<1>(0x05, {0x00}));
  CHECK_FALSE(effect<2>(0x04, {0x06, 0x00}));
  CHECK_FALSE(effect<4>(0x00, {0, 0, 0, 0}));
  CHECK_FALSE(effect<1>(0x04, {0x00}, 0x0004));  // It was off already.
  CHECK_FALSE(effect<1>(0x3c, {0x00}));
}

TEST_CASE("leaving D0 revokes, coming back does not") {
  CHECK(effect<2>(0x64, {0x03, 0x00}) == revoke_reason::powered_down);
  CHECK(effect<1>(0x64, {0x01}) == revoke_reason::powered_down);
  CHECK_FALSE(effect<2>(0x64, {0x00, 0x01}));
  CHECK_FALSE(effect<2>(0x64, {0x00, 0x00}, on, 3));
}

TEST_CASE("both kinds of function level reset revoke") {
  CHECK(effect<2>(0x88, {0x00, 0x80}) == revoke_reason::reset);
  CHECK(effect<1>(0x89, {0x80}) == revoke_reason::reset);
  CHECK_FALSE(effect<2>(0x88, {0xff, 0x7f}));
  CHECK(effect<1>(0xc4, {0x01}) == revoke_reason::reset);
  CHECK_FALSE(effect<1>(0xc4, {0xfe}));
}

TEST_CASE("a device without a capability has nothing there to reset") {
  const std::array<std::uint8_t, 2> bytes{0x03, 0x80};
  const vfio::detail::config_layout bare;
  CHECK_FALSE(vfio::detail::effect_of_write(bare, on, 0, 0x64, bytes.data(), bytes.size()));
  CHECK_FALSE(vfio::detail::effect_of_write(bare, on, 0, 0x88, bytes.data(), bytes.size()));
}

namespace {
// A config space in a file, which answers pread and pwrite like a device's.
struct file_config {
  unique_fd fd = unique_fd::adopt(::memfd_create("config", MFD_CLOEXEC));
  vfio::detail::config_space space{fd, vfio::region{.index = 7, .size = 256}};

  file_config() { REQUIRE(::ftruncate(fd.get(), 256) == 0); }
};
}  // namespace

TEST_CASE("config space is little-endian, and bounded") {
  file_config config;
  REQUIRE(config.space.write<std::uint32_t>(0x10, 0x11223344));
  CHECK(*config.space.read<std::uint8_t>(0x10) == 0x44);
  CHECK(*config.space.read<std::uint16_t>(0x12) == 0x1122);
  CHECK(config.space.read<std::uint32_t>(253).error() == errc::out_of_range);
  CHECK(config.space.write<std::uint16_t>(255, 0).error() == errc::out_of_range);
}

TEST_CASE("capabilities are found, and a list that loops ends") {
  file_config config;
  REQUIRE(config.space.write<std::uint16_t>(vfio::pci_regs::status, vfio::pci_regs::status_capabilities));
  REQUIRE(config.space.write<std::uint8_t>(vfio::pci_regs::capabilities, 0x41));  // The low bits are reserved.
  REQUIRE(config.space.write<std::uint16_t>(0x40, 0x5001));
  REQUIRE(config.space.write<std::uint16_t>(0x50, 0x4010));
  CHECK(*config.space.find_capability(0x10) == std::uint16_t{0x50});
  CHECK(*config.space.find_capability(0x01) == std::uint16_t{0x40});
  CHECK(*config.space.find_capability(0x11) == std::nullopt);
  REQUIRE(config.space.write<std::uint16_t>(vfio::pci_regs::status, 0));
  CHECK(*config.space.find_capability(0x10) == std::nullopt);
}
