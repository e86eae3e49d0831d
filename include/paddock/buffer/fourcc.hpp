// SPDX-License-Identifier: BSL-1.0
/// \file
/// Which pixels a picture has (`fourcc`), how a device arranges them (`format_modifier`), and what the common formats
/// need of each plane.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include <fmt/format.h>

#include <paddock/base/ids.hpp>

namespace PADDOCK_NAMESPACE {

/// A pixel format, by the number that DRM gives it; V4L2 numbers some formats otherwise. 0 is none.
/// fmt shows the characters without the spaces at their end (`NV12`, `R8`). Kernel: include/uapi/drm/drm_fourcc.h.
using fourcc = strong_id<struct fourcc_tag, std::uint32_t>;

/// `make_fourcc('N', 'V', '1', '2')`; short names end with spaces: `make_fourcc('R', '8', ' ', ' ')`.
[[nodiscard]] constexpr fourcc make_fourcc(char a, char b, char c, char d) noexcept {
  const auto at = [](char character, unsigned bit) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(character)) << bit;
  };
  return fourcc(at(a, 0) | at(b, 8) | at(c, 16) | at(d, 24));
}

/// Set in a fourcc whose components are big-endian. fmt shows it as `_BE`.
inline constexpr std::uint32_t fourcc_big_endian = 1U << 31U;

/// How a device arranges the pixels of each plane: in rows (linear), or as its vendor numbers it.
/// fmt shows `linear`, `invalid` or the number. Kernel: include/uapi/drm/drm_fourcc.h.
using format_modifier = strong_id<struct format_modifier_tag, std::uint64_t>;

inline constexpr format_modifier modifier_linear{0};
/// Nobody says how: what comes from an interface without modifiers. It is no arrangement, so nothing can be checked.
inline constexpr format_modifier modifier_invalid{0x00ffffffffffffff};

/// A plane consists of blocks of this many pixels, row by row; a block that the picture fills in part is there as a
/// whole. The chroma plane of NV12 has one block of two bytes for two by two pixels.
struct plane_format {
  std::uint8_t block_width{1};
  std::uint8_t block_height{1};
  std::uint8_t block_bytes{0};

  /// How many bytes a row of blocks has, without padding: at most 2^40.
  [[nodiscard]] constexpr std::uint64_t row_bytes(std::uint32_t width) const noexcept {
    return (std::uint64_t{width} + block_width - 1) / block_width * block_bytes;
  }
  /// How many rows of blocks there are.
  [[nodiscard]] constexpr std::uint64_t rows(std::uint32_t height) const noexcept {
    return (std::uint64_t{height} + block_height - 1) / block_height;
  }

  friend constexpr bool operator==(const plane_format&, const plane_format&) noexcept = default;
};

/// What is known of a format.
struct pixel_format {
  fourcc code;
  std::uint8_t plane_count{0};
  std::array<plane_format, 3> planes{};
};

namespace detail {

constexpr pixel_format packed(fourcc code, plane_format only) noexcept { return {code, 1, {only}}; }
/// Luma, then both chroma components in one plane of blocks.
constexpr pixel_format two_planes(fourcc code, plane_format luma, plane_format chroma) noexcept {
  return {code, 2, {luma, chroma}};
}
/// Luma, then one plane a chroma component.
constexpr pixel_format three_planes(fourcc code, plane_format luma, plane_format chroma) noexcept {
  return {code, 3, {luma, chroma, chroma}};
}

inline constexpr std::array known_formats{
    packed(make_fourcc('R', '8', ' ', ' '), {1, 1, 1}),
    packed(make_fourcc('R', '1', '6', ' '), {1, 1, 2}),
    packed(make_fourcc('G', 'R', '8', '8'), {1, 1, 2}),
    packed(make_fourcc('R', 'G', '1', '6'), {1, 1, 2}),  // RGB565
    packed(make_fourcc('R', 'G', '2', '4'), {1, 1, 3}),  // RGB888
    packed(make_fourcc('B', 'G', '2', '4'), {1, 1, 3}),
    packed(make_fourcc('X', 'R', '2', '4'), {1, 1, 4}),  // XRGB8888, and the seven other orders
    packed(make_fourcc('X', 'B', '2', '4'), {1, 1, 4}),
    packed(make_fourcc('R', 'X', '2', '4'), {1, 1, 4}),
    packed(make_fourcc('B', 'X', '2', '4'), {1, 1, 4}),
    packed(make_fourcc('A', 'R', '2', '4'), {1, 1, 4}),
    packed(make_fourcc('A', 'B', '2', '4'), {1, 1, 4}),
    packed(make_fourcc('R', 'A', '2', '4'), {1, 1, 4}),
    packed(make_fourcc('B', 'A', '2', '4'), {1, 1, 4}),
    packed(make_fourcc('X', 'R', '3', '0'), {1, 1, 4}),  // XRGB2101010
    packed(make_fourcc('X', 'B', '3', '0'), {1, 1, 4}),
    packed(make_fourcc('A', 'R', '3', '0'), {1, 1, 4}),
    packed(make_fourcc('A', 'B', '3', '0'), {1, 1, 4}),
    packed(make_fourcc('A', 'B', '4', 'H'), {1, 1, 8}),  // ABGR16161616F
    packed(make_fourcc('Y', 'U', 'Y', 'V'), {2, 1, 4}),
    packed(make_fourcc('Y', 'V', 'Y', 'U'), {2, 1, 4}),
    packed(make_fourcc('U', 'Y', 'V', 'Y'), {2, 1, 4}),
    packed(make_fourcc('V', 'Y', 'U', 'Y'), {2, 1, 4}),
    two_planes(make_fourcc('N', 'V', '1', '2'), {1, 1, 1}, {2, 2, 2}),
    two_planes(make_fourcc('N', 'V', '2', '1'), {1, 1, 1}, {2, 2, 2}),
    two_planes(make_fourcc('N', 'V', '1', '6'), {1, 1, 1}, {2, 1, 2}),
    two_planes(make_fourcc('N', 'V', '6', '1'), {1, 1, 1}, {2, 1, 2}),
    two_planes(make_fourcc('N', 'V', '2', '4'), {1, 1, 1}, {1, 1, 2}),
    two_planes(make_fourcc('N', 'V', '4', '2'), {1, 1, 1}, {1, 1, 2}),
    two_planes(make_fourcc('P', '0', '1', '0'), {1, 1, 2}, {2, 2, 4}),
    two_planes(make_fourcc('P', '0', '1', '2'), {1, 1, 2}, {2, 2, 4}),
    two_planes(make_fourcc('P', '0', '1', '6'), {1, 1, 2}, {2, 2, 4}),
    three_planes(make_fourcc('Y', 'U', '1', '2'), {1, 1, 1}, {2, 2, 1}),  // YUV420
    three_planes(make_fourcc('Y', 'V', '1', '2'), {1, 1, 1}, {2, 2, 1}),
    three_planes(make_fourcc('Y', 'U', '1', '6'), {1, 1, 1}, {2, 1, 1}),  // YUV422
    three_planes(make_fourcc('Y', 'U', '2', '4'), {1, 1, 1}, {1, 1, 1}),  // YUV444
};

}  // namespace detail

/// The formats that paddock knows. Others are as good; paddock only cannot check their sizes.
[[nodiscard]] constexpr std::span<const pixel_format> known_formats() noexcept { return detail::known_formats; }

/// What is known of `code`, if anything.
[[nodiscard]] constexpr std::optional<pixel_format> find_format(fourcc code) noexcept {
  const auto formats = known_formats();
  const auto found = std::find_if(formats.begin(), formats.end(), [&](const auto& each) { return each.code == code; });
  return found != formats.end() ? std::optional(*found) : std::nullopt;
}

}  // namespace PADDOCK_NAMESPACE

template <>
struct fmt::formatter<paddock::fourcc> {
  constexpr auto parse(format_parse_context& context) { return context.begin(); }
  template <class Context>
  auto format(paddock::fourcc code, Context& context) const {
    std::array<char, 4> characters{};
    const std::uint32_t value = code.value() & ~paddock::fourcc_big_endian;
    for (std::size_t i = 0; i < characters.size(); ++i) {
      characters[i] = static_cast<char>((value >> (8U * i)) & 0xffU);
    }
    std::string_view text(characters.data(), characters.size());
    if (!std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; })) {
      return fmt::format_to(context.out(), "{:#010x}", code.value());
    }
    text = text.substr(0, text.find_last_not_of(' ') + 1);
    return fmt::format_to(context.out(), "{}{}", text, value != code.value() ? "_BE" : "");
  }
};

template <>
struct fmt::formatter<paddock::format_modifier> {
  constexpr auto parse(format_parse_context& context) { return context.begin(); }
  template <class Context>
  auto format(paddock::format_modifier modifier, Context& context) const {
    if (modifier == paddock::modifier_linear) {
      return fmt::format_to(context.out(), "linear");
    }
    if (modifier == paddock::modifier_invalid) {
      return fmt::format_to(context.out(), "invalid");
    }
    return fmt::format_to(context.out(), "{:#018x}", modifier.value());
  }
};
