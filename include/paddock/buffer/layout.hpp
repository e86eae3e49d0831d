// SPDX-License-Identifier: BSL-1.0
/// \file
/// How a picture lies in buffers: what cameras and compositors tell each other, as a plain value.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/fourcc.hpp>

namespace PADDOCK_NAMESPACE {

/// Where one plane lies.
struct plane_place {
  std::uint32_t buffer{0};  ///< Index into layout::buffers.
  std::uint64_t offset{0};  ///< Of its first byte in that buffer.
  std::uint64_t stride{0};  ///< From the first byte of a row to that of the next; what it means if not linear, the
                            ///< modifier says.

  friend constexpr bool operator==(const plane_place&, const plane_place&) noexcept = default;
};

/// A picture: its format, its size in pixels, and where its planes lie. A value without promises: check() judges it.
/// Two are equal when the planes and buffers that count are.
struct layout {
  /// V4L2's most (VIDEO_MAX_PLANES); DRM has 4.
  static constexpr std::size_t max_planes = 8;

  fourcc format{};
  format_modifier modifier{modifier_linear};
  std::uint32_t width{0};
  std::uint32_t height{0};
  std::uint32_t plane_count{0};
  std::uint32_t buffer_count{0};
  std::array<plane_place, max_planes> planes{};
  /// Each buffer once, however many FDs of it there are. {} where the identity is not known.
  std::array<buffer_id, max_planes> buffers{};

  /// The planes that count; never more than there is room for.
  [[nodiscard]] constexpr std::span<const plane_place> used_planes() const noexcept {
    return std::span(planes).first(std::min<std::size_t>(plane_count, max_planes));
  }
  [[nodiscard]] constexpr std::span<const buffer_id> used_buffers() const noexcept {
    return std::span(buffers).first(std::min<std::size_t>(buffer_count, max_planes));
  }

  friend constexpr bool operator==(const layout& a, const layout& b) noexcept {
    const auto p = a.used_planes();
    const auto q = b.used_planes();
    const auto s = a.used_buffers();
    const auto t = b.used_buffers();
    return a.format == b.format && a.modifier == b.modifier && a.width == b.width && a.height == b.height &&
           a.plane_count == b.plane_count && a.buffer_count == b.buffer_count &&
           std::equal(p.begin(), p.end(), q.begin()) && std::equal(s.begin(), s.end(), t.begin());
  }
};

static_assert(std::is_trivially_copyable_v<layout>);

namespace detail {

/// What is known of a picture's format if its planes are rows of it; of other arrangements nothing is.
[[nodiscard]] constexpr std::optional<pixel_format> find_linear_format(const layout& picture) noexcept {
  return picture.modifier == modifier_linear ? find_format(picture.format) : std::nullopt;
}

/// stride * (rows - 1) + last_row. Errors: out_of_range (more than 64 bits).
[[nodiscard]] constexpr result<std::uint64_t> bytes_of_rows(std::uint64_t stride, std::uint64_t rows,
                                                            std::uint64_t last_row) noexcept {
  std::uint64_t bytes = 0;
  if (rows == 0) {
    return bytes;
  }
  if (__builtin_mul_overflow(stride, rows - 1, &bytes) || __builtin_add_overflow(bytes, last_row, &bytes)) {
    return fail(errc::out_of_range, "layout: stride times rows is beyond 64 bits");
  }
  return bytes;
}

}  // namespace detail

/// How many bytes a plane has, from its first to its last pixel: the padding of its last row does not count.
/// Errors: out_of_range (no such plane; more than 64 bits), invalid_argument (the format has fewer planes), not_found
/// (not linear, or a format that is not in known_formats(): nobody but its device can tell).
[[nodiscard]] constexpr result<std::uint64_t> bytes_of_plane(const layout& picture, std::size_t plane) noexcept {
  if (plane >= picture.used_planes().size()) {
    return fail(errc::out_of_range, "layout: no such plane");
  }
  const auto known = detail::find_linear_format(picture);
  if (!known) {
    return fail(errc::not_found, "layout: not linear, or of an unknown format");
  }
  if (plane >= known->plane_count) {
    return fail(errc::invalid_argument, "layout: more planes than the format has");
  }
  const plane_format& each = known->planes[plane];
  return detail::bytes_of_rows(picture.planes[plane].stride, each.rows(picture.height), each.row_bytes(picture.width));
}

/// How large a buffer must be for what lies in it, if devices write whole rows: with the padding of each plane's last.
/// Errors: as bytes_of_plane; not_found also where no plane lies in that buffer.
[[nodiscard]] constexpr result<std::uint64_t> bytes_of_buffer(const layout& picture, std::size_t buffer) noexcept {
  bool is_used = false;
  std::uint64_t most = 0;
  for (std::size_t plane = 0; plane < picture.used_planes().size(); ++plane) {
    const plane_place& place = picture.planes[plane];
    if (place.buffer != buffer) {
      continue;
    }
    PADDOCK_TRY_VOID(bytes_of_plane(picture, plane));
    const std::uint64_t rows = detail::find_linear_format(picture)->planes[plane].rows(picture.height);
    PADDOCK_TRY(const std::uint64_t bytes, detail::bytes_of_rows(place.stride, rows, place.stride));
    std::uint64_t end = 0;
    if (__builtin_add_overflow(place.offset, bytes, &end)) {
      return fail(errc::out_of_range, "layout: a plane ends beyond 64 bits");
    }
    is_used = true;
    most = std::max(most, end);
  }
  if (!is_used) {
    return fail(errc::not_found, "layout: no plane lies in that buffer");
  }
  return most;
}

/// Is this a picture that can lie in buffers of these sizes, given in the order of layout::buffers?
/// Of a linear picture in a known format every byte is checked. Of all others only what holds for any: strides are not
/// 0, and planes begin inside their buffers; how far they reach only their device knows.
/// Errors: invalid_argument (no pixels, planes, buffers or format; too many planes or buffers; the wrong number of
/// sizes; modifier_invalid; a stride that is 0 or shorter than a row; not the format's number of planes; two planes
/// with the same first byte; one buffer twice; a buffer without a plane), out_of_range (a plane in no buffer, or
/// beyond the end of its buffer or of 64 bits). error::where says which.
[[nodiscard]] constexpr result<void> check(const layout& picture, std::span<const std::uint64_t> sizes) noexcept {
  const auto refuse = [](const char* why) { return fail(errc::invalid_argument, why); };
  if (picture.plane_count == 0 || picture.plane_count > layout::max_planes) {
    return refuse("layout: 1 to 8 planes");
  }
  if (picture.buffer_count == 0 || picture.buffer_count > layout::max_planes) {
    return refuse("layout: 1 to 8 buffers");
  }
  if (sizes.size() != picture.buffer_count) {
    return refuse("layout: as many sizes as buffers");
  }
  if (picture.width == 0 || picture.height == 0) {
    return refuse("layout: no pixels");
  }
  if (picture.format == fourcc{}) {
    return refuse("layout: no format");
  }
  if (picture.modifier == modifier_invalid) {
    return refuse("layout: modifier_invalid is no arrangement");
  }
  const auto planes = picture.used_planes();
  const auto buffers = picture.used_buffers();
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const auto is_same = [&](const buffer_id& other) { return other == buffers[i] && other != buffer_id{}; };
    if (std::any_of(buffers.begin(), buffers.begin() + static_cast<std::ptrdiff_t>(i), is_same)) {
      return refuse("layout: one buffer twice");
    }
    if (std::none_of(planes.begin(), planes.end(), [&](const plane_place& each) { return each.buffer == i; })) {
      return refuse("layout: a buffer without a plane");
    }
  }
  const auto known = detail::find_linear_format(picture);
  if (known && known->plane_count != picture.plane_count) {
    return refuse("layout: not as many planes as the format has");
  }
  for (std::size_t i = 0; i < planes.size(); ++i) {
    const plane_place& plane = planes[i];
    if (plane.buffer >= buffers.size()) {
      return fail(errc::out_of_range, "layout: a plane in no buffer");
    }
    if (plane.stride == 0) {
      return refuse("layout: a stride of 0");
    }
    if (known && plane.stride < known->planes[i].row_bytes(picture.width)) {
      return refuse("layout: a stride shorter than a row");
    }
    for (const plane_place& before : planes.first(i)) {
      if (before.buffer == plane.buffer && before.offset == plane.offset) {
        return refuse("layout: two planes with the same first byte");
      }
    }
    std::uint64_t bytes = 1;
    if (known) {
      PADDOCK_TRY(bytes, bytes_of_plane(picture, i));
    }
    if (!range_fits(plane.offset, bytes, sizes[plane.buffer])) {
      return fail(errc::out_of_range, "layout: a plane beyond the end of its buffer");
    }
  }
  return {};
}

/// A linear picture in one buffer, plane behind plane, each stride and offset a multiple of `stride_alignment`. The
/// identity of the buffer is for the caller to fill in; bytes_of_buffer(…, 0) says how large it must be.
/// Errors: invalid_argument (no pixels; an alignment that is no power of two), not_found (not in known_formats()),
/// out_of_range (more than 64 bits).
[[nodiscard]] constexpr result<layout> linear_layout(fourcc format, std::uint32_t width, std::uint32_t height,
                                                     std::uint64_t stride_alignment) noexcept {
  if (width == 0 || height == 0) {
    return fail(errc::invalid_argument, "linear_layout: no pixels");
  }
  if (!std::has_single_bit(stride_alignment)) {
    return fail(errc::invalid_argument, "linear_layout: the alignment is no power of two");
  }
  const auto known = find_format(format);
  if (!known) {
    return fail(errc::not_found, "linear_layout: an unknown format");
  }
  layout made;
  made.format = format;
  made.width = width;
  made.height = height;
  made.buffer_count = 1;
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < known->plane_count; ++i) {
    plane_place& plane = made.planes[made.plane_count++];
    plane.offset = end;
    // No overflow: a row has at most 2^40 bytes, and the alignment is at most 2^63.
    plane.stride = (known->planes[i].row_bytes(width) + stride_alignment - 1) & ~(stride_alignment - 1);
    PADDOCK_TRY(end, bytes_of_buffer(made, 0));
  }
  return made;
}

}  // namespace PADDOCK_NAMESPACE
