// SPDX-License-Identifier: BSL-1.0
#include <paddock/vfio/iova_allocator.hpp>

#include <limits>

#include <paddock/vfio/container.hpp>

#include "catch.hpp"

using namespace paddock;
using vfio::iova_allocator;

namespace {

constexpr std::uint64_t page = 4096;
constexpr iova last(std::numeric_limits<std::uint64_t>::max());

iova_allocator x86() {
  iova_allocator made;
  made.set_usable({{iova(0), iova(0xfedfffff)}, {iova(0xfef00000), iova(0x7fffffffff)}});
  return made;
}

}  // namespace

TEST_CASE("addresses are free, aligned, never 0, and come back") {
  iova_allocator space = x86();
  const auto first = space.allocate(page, page);
  REQUIRE(first);
  CHECK(first->value() == page);
  const auto large = space.allocate(2 * page, 1U << 20U);
  REQUIRE(large);
  CHECK(large->value() % (1U << 20U) == 0);
  CHECK(space.in_use(*first));
  space.release(*first, page);
  CHECK_FALSE(space.in_use(*first));
  CHECK(*space.allocate(page, page) == *first);
}

TEST_CASE("what the kernel reserves, and what is excluded, is never handed out") {
  iova_allocator space;
  space.set_usable({{iova(0x1000), iova(0x2fff)}, {iova(0x5000), iova(0x8fff)}});
  space.exclude({iova(0x6800), iova(0x6fff)});
  CHECK(space.allocate(0x3000, page).error() == errc::limit_reached);
  CHECK(*space.allocate(0x2000, page) == iova(0x1000));
  CHECK(*space.allocate(0x2000, page) == iova(0x7000));
  CHECK(*space.allocate(0x1000, page) == iova(0x5000));
  CHECK(space.allocate(0x1000, page).error() == errc::limit_reached);
  CHECK(space.reserve(iova(0x6000), 0x1000).error() == errc::out_of_range);
}

TEST_CASE("the last address that the device can issue is respected") {
  iova_allocator space = x86();
  CHECK(space.allocate(2 * page, page, iova(2 * page - 1)).error() == errc::limit_reached);
  CHECK(*space.allocate(page, page, iova(2 * page - 1)) == iova(page));
}

TEST_CASE("fixed addresses are taken once") {
  iova_allocator space = x86();
  CHECK(space.reserve(iova(0x10000), page));
  CHECK(space.reserve(iova(0x10000), page).error() == errc::already_exists);
  CHECK(space.reserve(iova(0xf000), 2 * page).error() == errc::already_exists);
  CHECK(space.reserve(iova(0xfee00000), page).error() == errc::out_of_range);
  CHECK(space.reserve(iova(0xfedff000), 2 * page).error() == errc::out_of_range);
  CHECK(space.reserve(iova(0), 0).error() == errc::invalid_argument);
  CHECK(space.reserve(last, 2).error() == errc::invalid_argument);
  CHECK(space.allocate(0, page).error() == errc::invalid_argument);
  CHECK(space.allocate(std::numeric_limits<std::uint64_t>::max(), page).error() == errc::limit_reached);
}

TEST_CASE("a whole 64-bit space works up to its last page") {
  iova_allocator space;
  space.set_usable({{iova(0), last}});
  const iova top(std::numeric_limits<std::uint64_t>::max() - (page - 1));
  CHECK(space.reserve(top, page));
  CHECK(space.in_use(last));
  CHECK(space.reserve(top, page).error() == errc::already_exists);
}

TEST_CASE("a device that joins may shrink the space; what is in use stays") {
  iova_allocator space = x86();
  const auto held = space.allocate(page, page);
  space.set_usable({{iova(0x100000), iova(0x1fffff)}});
  CHECK(space.in_use(*held));
  CHECK(*space.allocate(page, page) == iova(0x100000));
}

TEST_CASE("what is given back is free where it is still allowed, and nowhere else") {
  iova_allocator space;
  space.set_usable({{iova(0x1000), iova(0x8fff)}});
  CHECK(space.reserve(iova(0x1000), 0x8000));
  space.set_usable({{iova(0x2000), iova(0x8fff)}});
  space.exclude({iova(0x4000), iova(0x4fff)});
  CHECK(space.allocate(page, page).error() == errc::limit_reached);
  space.release(iova(0x1000), 0x8000);
  CHECK_FALSE(space.in_use(iova(0x1000)));
  CHECK(*space.allocate(0x4000, page) == iova(0x5000));
  CHECK(*space.allocate(0x2000, page) == iova(0x2000));
  CHECK(space.allocate(page, page).error() == errc::limit_reached);
  CHECK(space.reserve(iova(0x1000), page).error() == errc::out_of_range);
  CHECK(space.reserve(iova(0x4000), page).error() == errc::out_of_range);
}

TEST_CASE("a space that grows again has what was not in use") {
  iova_allocator space;
  space.set_usable({{iova(0x1000), iova(0x3fff)}});
  CHECK(space.reserve(iova(0x2000), page));
  space.set_usable({{iova(0x1000), iova(0x1fff)}});
  CHECK(space.reserve(iova(0x3000), page).error() == errc::out_of_range);
  space.set_usable({{iova(0x1000), iova(0x4fff)}});
  CHECK(space.allocate(0x3000, page).error() == errc::limit_reached);
  CHECK(*space.allocate(0x2000, page) == iova(0x3000));
  CHECK(*space.allocate(page, page) == iova(0x1000));
}

TEST_CASE("thousands of holes are found again, lowest first") {
  constexpr std::uint64_t many = 4096;
  iova_allocator space = x86();
  for (std::uint64_t i = 1; i <= many; ++i) {
    CHECK(*space.allocate(page, page) == iova(i * page));
  }
  for (std::uint64_t i = 2; i <= many; i += 2) {
    space.release(iova(i * page), page);
  }
  CHECK(*space.allocate(2 * page, page) == iova(many * page));
  for (std::uint64_t i = 2; i < many; i += 2) {
    CHECK(*space.allocate(page, page) == iova(i * page));
  }
}

TEST_CASE("the kernel's answer about the address space is read with its capabilities") {
  std::vector<std::byte> bytes;
  const auto add = [&](const auto& piece) {
    bytes.resize(bytes.size() + sizeof piece);
    std::memcpy(bytes.data() + bytes.size() - sizeof piece, &piece, sizeof piece);
  };
  uapi::vfio_iommu_type1_info head;
  head.flags = uapi::vfio_iommu_info_pgsizes | uapi::vfio_iommu_info_caps;
  head.iova_pgsizes = 0x40201000;
  head.cap_offset = sizeof head;
  add(head);
  uapi::vfio_iommu_type1_cap_iova_range ranges;
  ranges.header = {uapi::vfio_iommu_type1_info_cap_iova_range, 1, sizeof head + sizeof ranges + 32};
  ranges.nr_iovas = 2;
  add(ranges);
  add(uapi::vfio_iova_range{0, 0xfedfffff});
  add(uapi::vfio_iova_range{0xfef00000, 0x7fffffffff});
  uapi::vfio_iommu_type1_cap_dma_avail avail;
  avail.header = {uapi::vfio_iommu_type1_info_cap_dma_avail, 1, 0};
  avail.avail = 65535;
  add(avail);

  const auto info = vfio::detail::parse_type1_info(bytes);
  REQUIRE(info);
  CHECK(info->page_size == 0x1000);
  CHECK(info->usable.size() == 2);
  CHECK(info->usable[1] == vfio::iova_range{iova(0xfef00000), iova(0x7fffffffff)});
  CHECK(info->available == 65535U);

  bytes.resize(bytes.size() - 1);
  CHECK(vfio::detail::parse_type1_info(bytes).error() == errc::out_of_range);
}
