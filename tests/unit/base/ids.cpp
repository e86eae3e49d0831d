// SPDX-License-Identifier: BSL-1.0
#include <paddock/base/ids.hpp>

#include <limits>
#include <type_traits>
#include <unordered_set>

#include "catch.hpp"

using namespace paddock;

static_assert(!std::is_convertible_v<iova, bus_address> && !std::is_constructible_v<iova, bus_address>);
static_assert(!std::is_convertible_v<std::uint32_t, gem_handle>);
static_assert(!std::is_convertible_v<gem_handle, std::uint32_t>);
static_assert(!std::is_convertible_v<direction, transaction>);
static_assert(sizeof(iova) == 8 && sizeof(gem_handle) == 4 && sizeof(bar_index) == 1);
static_assert(iova(0x1000) + 0x10 == iova(0x1010));
static_assert(iova(0x1010) - iova(0x1000) == 0x10);
static_assert(reads(access::read_write) && writes(access::read_write) && !writes(access::read));

TEST_CASE("a range fits only without overflow") {
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  CHECK(range_fits(0, 0, 0));
  CHECK(range_fits(4096, 4096, 8192));
  CHECK_FALSE(range_fits(4096, 4097, 8192));
  CHECK_FALSE(range_fits(8193, 0, 8192));
  CHECK_FALSE(range_fits(4096, most, 8192));
  CHECK_FALSE(range_fits(most, 2, most));
}

TEST_CASE("a buffer is known by device and inode together") {
  std::unordered_set<buffer_id> seen{{1, 7}, {2, 7}, {1, 7}};
  CHECK(seen.size() == 2);
  CHECK(buffer_id{1, 7} == buffer_id{1, 7});
  CHECK(buffer_id{1, 7} != buffer_id{1, 8});
}

TEST_CASE("addresses print in hexadecimal") { CHECK(fmt::format("{}", iova(0xfee00000)) == "0xfee00000"); }
