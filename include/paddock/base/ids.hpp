// SPDX-License-Identifier: BSL-1.0
/// \file
/// Numbers that must not be mixed up: handles, points, BAR indices, addresses, and the identity of a buffer.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <type_traits>

#include <fmt/format.h>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE {

/// An integer with a meaning of its own. It compares with its own kind, and converts to nothing by itself.
template <class Tag, class Integer>
class strong_id {
 public:
  using value_type = Integer;

  constexpr strong_id() noexcept = default;
  explicit constexpr strong_id(Integer value) noexcept : value_(value) {}

  [[nodiscard]] constexpr Integer value() const noexcept { return value_; }

  friend constexpr auto operator<=>(strong_id, strong_id) noexcept = default;

 private:
  Integer value_{};
};

/// A strong_id that counts bytes from somewhere: an offset may be added, a distance taken.
template <class Tag>
class strong_address : public strong_id<Tag, std::uint64_t> {
 public:
  using strong_id<Tag, std::uint64_t>::strong_id;

  /// Requires: the sum does not overflow; the ranges that paddock hands out never do.
  friend constexpr strong_address operator+(strong_address a, std::uint64_t bytes) noexcept {
    return strong_address(a.value() + bytes);
  }
  friend constexpr std::uint64_t operator-(strong_address a, strong_address b) noexcept {
    return a.value() - b.value();
  }
  friend constexpr auto operator<=>(strong_address, strong_address) noexcept = default;
};

/// A GEM handle, valid in one open file description of one DRM device.
using gem_handle = strong_id<struct gem_handle_tag, std::uint32_t>;
/// A point on a timeline, 64 bits, never wrapping.
using timeline_point = strong_id<struct timeline_point_tag, std::uint64_t>;
/// An address as a device behind an IOMMU issues it.
using iova = strong_address<struct iova_tag>;
/// An address as it stands on the PCI bus.
using bus_address = strong_address<struct bus_address_tag>;

/// BAR0 to BAR5. Requires: index < 6.
class bar_index : public strong_id<struct bar_index_tag, std::uint8_t> {
 public:
  static constexpr std::uint8_t count = 6;
  using strong_id::strong_id;
};

/// The direction of DMA, seen from the device. Kernel: enum dma_data_direction.
enum class direction : std::uint8_t {
  bidirectional = 0,
  to_device = 1,    ///< The device reads memory.
  from_device = 2,  ///< The device writes memory.
};

/// What the client does on the bus: a read and a write may have different routes.
enum class transaction : std::uint8_t { read, write };

/// What a CPU access or a device job does to a buffer's bytes.
enum class access : std::uint8_t {
  read = 1,
  write = 2,
  read_write = 3,
};

[[nodiscard]] constexpr bool reads(access a) noexcept { return (static_cast<unsigned>(a) & 1U) != 0; }
[[nodiscard]] constexpr bool writes(access a) noexcept { return (static_cast<unsigned>(a) & 2U) != 0; }

/// Which buffer: the inode of its file. FD numbers are reused, inodes of living buffers are not.
/// Kernel: st_dev and st_ino, unique a dma-buf (drivers/dma-buf/dma-buf.c).
struct buffer_id {
  std::uint64_t device{0};
  std::uint64_t inode{0};

  friend constexpr auto operator<=>(const buffer_id&, const buffer_id&) noexcept = default;
};

/// True when [offset, offset + length) lies in an object of `size` bytes, without overflow.
[[nodiscard]] constexpr bool range_fits(std::uint64_t offset, std::uint64_t length, std::uint64_t size) noexcept {
  return offset <= size && length <= size - offset;
}

}  // namespace PADDOCK_NAMESPACE

template <class Tag, class Integer>
struct std::hash<paddock::strong_id<Tag, Integer>> {
  std::size_t operator()(paddock::strong_id<Tag, Integer> id) const noexcept {
    return std::hash<Integer>{}(id.value());
  }
};

template <>
struct std::hash<paddock::buffer_id> {
  std::size_t operator()(const paddock::buffer_id& id) const noexcept {
    return std::hash<std::uint64_t>{}(id.inode ^ (id.device << 32U));
  }
};

template <class Tag>
struct fmt::formatter<paddock::strong_address<Tag>> {
  constexpr auto parse(format_parse_context& context) { return context.begin(); }
  template <class Context>
  auto format(paddock::strong_address<Tag> address, Context& context) const {
    return fmt::format_to(context.out(), "{:#x}", address.value());
  }
};
