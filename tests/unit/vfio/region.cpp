// SPDX-License-Identifier: BSL-1.0
#include <paddock/vfio/region.hpp>

#include <cstring>
#include <vector>

#include "catch.hpp"

using namespace paddock;
using vfio::mappable_area;
using vfio::parse_region;

namespace {

/// Builds the kernel's answer, piece by piece.
struct answer {
  std::vector<std::byte> bytes;

  template <class Structure>
  std::uint32_t add(const Structure& piece) {
    const auto offset = static_cast<std::uint32_t>(bytes.size());
    bytes.resize(bytes.size() + sizeof piece);
    std::memcpy(bytes.data() + offset, &piece, sizeof piece);
    return offset;
  }
};

uapi::vfio_region_info bar(std::uint64_t size, std::uint32_t first_capability = 0) {
  uapi::vfio_region_info info;
  info.index = 2;
  info.size = size;
  info.offset = std::uint64_t{2} << 40U;
  info.flags = uapi::vfio_region_info_flag_read | uapi::vfio_region_info_flag_write | uapi::vfio_region_info_flag_mmap;
  if (first_capability != 0) {
    info.flags |= uapi::vfio_region_info_flag_caps;
    info.cap_offset = first_capability;
  }
  return info;
}

uapi::vfio_region_info_cap_sparse sparse(std::uint32_t areas, std::uint32_t next = 0) {
  uapi::vfio_region_info_cap_sparse cap;
  cap.header = {uapi::vfio_region_info_cap_sparse_mmap, 1, next};
  cap.nr_areas = areas;
  return cap;
}

}  // namespace

TEST_CASE("a plain mappable BAR is one area") {
  answer a;
  a.add(bar(0x10000));
  const auto region = parse_region(a.bytes);
  REQUIRE(region);
  CHECK(region->index == 2);
  CHECK(region->readable);
  CHECK(region->file_offset == std::uint64_t{2} << 40U);
  CHECK(region->areas == std::vector<mappable_area>{{0, 0x10000}});
}

TEST_CASE("a region without the mmap flag has no area") {
  answer a;
  auto info = bar(0x100);
  info.flags = uapi::vfio_region_info_flag_read;
  a.add(info);
  CHECK(parse_region(a.bytes)->areas.empty());
}

TEST_CASE("the whole capability chain is read, in whatever order") {
  answer a;
  const std::uint32_t first = sizeof(uapi::vfio_region_info);
  a.add(bar(0x10000, first));
  const std::uint32_t second = first + sizeof(uapi::vfio_info_cap_header);
  a.add(uapi::vfio_info_cap_header{uapi::vfio_region_info_cap_msix_mappable, 1, second});
  a.add(sparse(2));
  a.add(uapi::vfio_region_sparse_mmap_area{0x8000, 0x8000});
  a.add(uapi::vfio_region_sparse_mmap_area{0, 0x4000});
  const auto region = parse_region(a.bytes);
  REQUIRE(region);
  CHECK(region->msix_mappable);
  CHECK(region->areas == std::vector<mappable_area>{{0, 0x4000}, {0x8000, 0x8000}});
}

TEST_CASE("areas that touch are one, and a device-specific region has its type") {
  answer a;
  const std::uint32_t first = sizeof(uapi::vfio_region_info);
  a.add(bar(0x10000, first));
  uapi::vfio_region_info_cap_type_body type;
  type.header = {uapi::vfio_region_info_cap_type, 1, first + sizeof type};
  type.type = 0x80001b36;
  type.subtype = 7;
  a.add(type);
  a.add(sparse(2));
  a.add(uapi::vfio_region_sparse_mmap_area{0x1000, 0x1000});
  a.add(uapi::vfio_region_sparse_mmap_area{0x2000, 0x3000});
  const auto region = parse_region(a.bytes);
  REQUIRE(region);
  CHECK(region->areas == std::vector<mappable_area>{{0x1000, 0x4000}});
  CHECK(region->type == 0x80001b36);
  CHECK(region->subtype == 7);
}

TEST_CASE("a sparse capability without areas means that nothing is mappable") {
  answer a;
  a.add(bar(0x10000, sizeof(uapi::vfio_region_info)));
  a.add(sparse(0));
  CHECK(parse_region(a.bytes)->areas.empty());
}

TEST_CASE("a damaged answer is refused, and never loops") {
  const std::uint32_t first = sizeof(uapi::vfio_region_info);
  SECTION("too short") {
    const std::vector<std::byte> bytes(8);
    CHECK(parse_region(bytes).error() == errc::out_of_range);
  }
  SECTION("the chain leaves the answer") {
    answer a;
    a.add(bar(0x10000, 0x1000));
    CHECK(parse_region(a.bytes).error() == errc::out_of_range);
  }
  SECTION("the chain bites its own tail") {
    answer a;
    a.add(bar(0x10000, first));
    a.add(uapi::vfio_info_cap_header{9, 1, first});
    CHECK(parse_region(a.bytes).error() == errc::out_of_range);
  }
  SECTION("more areas than the answer holds") {
    answer a;
    a.add(bar(0x10000, first));
    a.add(sparse(0xffffffff));
    a.add(uapi::vfio_region_sparse_mmap_area{0, 0x1000});
    CHECK(parse_region(a.bytes).error() == errc::out_of_range);
  }
  SECTION("an area outside the region") {
    answer a;
    a.add(bar(0x10000, first));
    a.add(sparse(1));
    a.add(uapi::vfio_region_sparse_mmap_area{0xf000, UINT64_MAX - 0xfff});
    CHECK(parse_region(a.bytes).error() == errc::out_of_range);
  }
}

TEST_CASE("a hole is widened to pages and splits what it hits") {
  vfio::region region;
  region.size = 0x8000;
  region.areas = {{0, 0x8000}};
  region.carve_out(0x2100, 0x10, 0x1000);
  CHECK(region.areas == std::vector<mappable_area>{{0, 0x2000}, {0x3000, 0x5000}});
  region.carve_out(0, 0x800, 0x1000);
  CHECK(region.areas == std::vector<mappable_area>{{0x1000, 0x1000}, {0x3000, 0x5000}});
  region.carve_out(0x1000, 0x7000, 0x1000);
  CHECK(region.areas.empty());
}
