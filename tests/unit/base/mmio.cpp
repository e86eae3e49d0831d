// SPDX-License-Identifier: BSL-1.0
#include <paddock/base/mmio.hpp>

#include <array>
#include <cstdint>

#include "catch.hpp"

using namespace paddock;

TEST_CASE("device memory is read and written little-endian, by width") {
  alignas(8) std::array<unsigned char, 16> memory{};
  const mmio_span span(memory.data(), memory.size());
  span.write32(0, 0x11223344);
  CHECK(memory[0] == 0x44);
  CHECK(memory[3] == 0x11);
  span.write8(1, 0xaa);
  CHECK(span.read32(0) == 0x1122aa44);
  span.write64(8, 0x0102030405060708);
  CHECK(memory[8] == 8);
  CHECK(span.read16(14) == 0x0102);
  CHECK(span.read64_relaxed(8) == span.read64(8));
  span.write8_relaxed(7, 0xbb);
  span.write16_relaxed(4, 0x5566);
  CHECK(memory[4] == 0x66);
  CHECK(span.read8_relaxed(7) == 0xbb);
  CHECK(span.read16_relaxed(4) == 0x5566);
  CHECK(span.address() == reinterpret_cast<std::uintptr_t>(memory.data()));
}

TEST_CASE("a part of device memory stays inside") {
  alignas(8) std::array<unsigned char, 16> memory{};
  const mmio_span span(memory.data(), memory.size());
  const auto part = span.subspan(8, 8);
  REQUIRE(part);
  part->write32(0, 7);
  CHECK(memory[8] == 7);
  CHECK(part->address() == span.address() + 8);
  CHECK(span.subspan(8, 9).error() == errc::out_of_range);
  CHECK(span.subspan(17, 0).error() == errc::out_of_range);
  CHECK(span.subspan(8, UINT64_MAX).error() == errc::out_of_range);
}
