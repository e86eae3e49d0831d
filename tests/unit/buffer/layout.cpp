// SPDX-License-Identifier: BSL-1.0
#include <paddock/buffer/layout.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "catch.hpp"

#if __has_include(<libdrm/drm_fourcc.h>)
#include <libdrm/drm_fourcc.h>
#elif __has_include(<drm/drm_fourcc.h>)
#include <drm/drm_fourcc.h>
#endif

namespace paddock {
namespace {

constexpr fourcc nv12 = make_fourcc('N', 'V', '1', '2');
constexpr fourcc yuv420 = make_fourcc('Y', 'U', '1', '2');
constexpr fourcc xrgb8888 = make_fourcc('X', 'R', '2', '4');
constexpr fourcc yuyv = make_fourcc('Y', 'U', 'Y', 'V');
constexpr fourcc foreign = make_fourcc('p', 'B', 'A', 'A');
constexpr format_modifier tiled{0x0100000000000001};
constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();

#ifdef DRM_FORMAT_NV12
struct fact {
  std::uint32_t code;
  std::size_t planes;
  std::size_t bits;  // A pixel, over all planes.
};
// In the order of known_formats(), so that none is left out.
constexpr fact facts[] = {
    {DRM_FORMAT_R8, 1, 8},
    {DRM_FORMAT_R16, 1, 16},
    {DRM_FORMAT_GR88, 1, 16},
    {DRM_FORMAT_RGB565, 1, 16},
    {DRM_FORMAT_RGB888, 1, 24},
    {DRM_FORMAT_BGR888, 1, 24},
    {DRM_FORMAT_XRGB8888, 1, 32},
    {DRM_FORMAT_XBGR8888, 1, 32},
    {DRM_FORMAT_RGBX8888, 1, 32},
    {DRM_FORMAT_BGRX8888, 1, 32},
    {DRM_FORMAT_ARGB8888, 1, 32},
    {DRM_FORMAT_ABGR8888, 1, 32},
    {DRM_FORMAT_RGBA8888, 1, 32},
    {DRM_FORMAT_BGRA8888, 1, 32},
    {DRM_FORMAT_XRGB2101010, 1, 32},
    {DRM_FORMAT_XBGR2101010, 1, 32},
    {DRM_FORMAT_ARGB2101010, 1, 32},
    {DRM_FORMAT_ABGR2101010, 1, 32},
    {DRM_FORMAT_ABGR16161616F, 1, 64},
    {DRM_FORMAT_YUYV, 1, 16},
    {DRM_FORMAT_YVYU, 1, 16},
    {DRM_FORMAT_UYVY, 1, 16},
    {DRM_FORMAT_VYUY, 1, 16},
    {DRM_FORMAT_NV12, 2, 12},
    {DRM_FORMAT_NV21, 2, 12},
    {DRM_FORMAT_NV16, 2, 16},
    {DRM_FORMAT_NV61, 2, 16},
    {DRM_FORMAT_NV24, 2, 24},
    {DRM_FORMAT_NV42, 2, 24},
    {DRM_FORMAT_P010, 2, 24},
    {DRM_FORMAT_P012, 2, 24},
    {DRM_FORMAT_P016, 2, 24},
    {DRM_FORMAT_YUV420, 3, 12},
    {DRM_FORMAT_YVU420, 3, 12},
    {DRM_FORMAT_YUV422, 3, 16},
    {DRM_FORMAT_YUV444, 3, 24},
};
constexpr bool agrees(const pixel_format& ours, const fact& theirs) {
  const auto picture = linear_layout(fourcc(theirs.code), 16, 16, 1);
  return ours.code.value() == theirs.code && ours.plane_count == theirs.planes && picture &&
         *bytes_of_buffer(*picture, 0) * 8 == 256 * theirs.bits;
}
static_assert(std::ranges::equal(known_formats(), facts, agrees));
static_assert(modifier_linear.value() == DRM_FORMAT_MOD_LINEAR);
static_assert(modifier_invalid.value() == DRM_FORMAT_MOD_INVALID);
static_assert(fourcc_big_endian == DRM_FORMAT_BIG_ENDIAN);
#endif

/// A picture that lies well in a buffer of 4096 and one of 2048 bytes.
constexpr layout good() {
  layout picture;
  picture.format = nv12;
  picture.width = 64;
  picture.height = 32;
  picture.plane_count = 2;
  picture.buffer_count = 2;
  picture.planes[0] = {0, 64, 64};
  picture.planes[1] = {1, 0, 128};
  picture.buffers[0] = {1, 7};
  picture.buffers[1] = {1, 8};
  return picture;
}
constexpr std::array<std::uint64_t, 2> sizes{4096, 2048};
static_assert(check(good(), sizes).has_value());

/// error() of a success is nothing that can be compared.
template <class T>
errc code_of(const result<T>& answer) {
  return answer ? errc{} : answer.error().code;
}

}  // namespace

TEST_CASE("formats and modifiers have the numbers of drm_fourcc.h") {
#ifndef DRM_FORMAT_NV12
  test::skip("there is no drm_fourcc.h");
#endif
  CHECK(nv12.value() == 0x3231564e);
  CHECK(modifier_invalid.value() == 0x00ffffffffffffff);
}

TEST_CASE("formats print as their characters, modifiers by name or number") {
  CHECK(fmt::format("{}", nv12) == "NV12");
  CHECK(fmt::format("{}", make_fourcc('R', '8', ' ', ' ')) == "R8");
  CHECK(fmt::format("{}", fourcc(nv12.value() | fourcc_big_endian)) == "NV12_BE");
  CHECK(fmt::format("{}", fourcc{}) == "0x00000000");
  CHECK(fmt::format("{}", make_fourcc('N', 'V', '\n', '2')) == "0x320a564e");
  CHECK(fmt::format("{}", make_fourcc('N', '\xff', '1', '2')) == "0x3231ff4e");
  CHECK(fmt::format("{}", modifier_linear) == "linear");
  CHECK(fmt::format("{}", modifier_invalid) == "invalid");
  CHECK(fmt::format("{}", tiled) == "0x0100000000000001");
}

TEST_CASE("layouts are equal when the planes and buffers that count are") {
  layout other = good();
  CHECK(other == good());
  other.planes[2].offset = 1;
  other.buffers[2].inode = 1;
  CHECK(other == good());
  const std::vector<std::function<void(layout&)>> changes{[](layout& l) { l.format = yuyv; },
                                                          [](layout& l) { l.modifier = tiled; },
                                                          [](layout& l) { ++l.width; },
                                                          [](layout& l) { ++l.height; },
                                                          [](layout& l) { --l.plane_count; },
                                                          [](layout& l) { --l.buffer_count; },
                                                          [](layout& l) { l.planes[1].buffer = 0; },
                                                          [](layout& l) { ++l.planes[1].offset; },
                                                          [](layout& l) { ++l.planes[1].stride; },
                                                          [](layout& l) { ++l.buffers[1].device; },
                                                          [](layout& l) { ++l.buffers[1].inode; },
                                                          [](layout& l) { l.plane_count = UINT32_MAX; },
                                                          [](layout& l) { l.buffer_count = UINT32_MAX; }};
  for (const auto& change : changes) {
    other = good();
    change(other);
    CHECK(other != good());
  }
}

TEST_CASE("every nonsense in a layout is refused, and the error says which") {
  struct nonsense {
    std::string_view why;
    errc code;
    std::function<void(layout&)> change;
  };
  constexpr auto invalid = errc::invalid_argument;
  constexpr auto beyond = errc::out_of_range;
  const std::vector<nonsense> cases{
      {"1 to 8 planes", invalid, [](layout& l) { l.plane_count = 0; }},
      {"1 to 8 planes", invalid, [](layout& l) { l.plane_count = 9; }},
      {"1 to 8 buffers", invalid, [](layout& l) { l.buffer_count = 0; }},
      {"1 to 8 buffers", invalid, [](layout& l) { l.buffer_count = 9; }},
      {"as many sizes as buffers", invalid, [](layout& l) { l.buffer_count = 1; }},
      {"as many sizes as buffers", invalid, [](layout& l) { l.buffer_count = 3; }},
      {"no pixels", invalid, [](layout& l) { l.width = 0; }},
      {"no pixels", invalid, [](layout& l) { l.height = 0; }},
      {"no format", invalid, [](layout& l) { l.format = fourcc{}; }},
      {"modifier_invalid is no arrangement", invalid, [](layout& l) { l.modifier = modifier_invalid; }},
      {"one buffer twice", invalid, [](layout& l) { l.buffers[1] = l.buffers[0]; }},
      {"a buffer without a plane", invalid,
       [](layout& l) {
         l.planes[1] = {0, 2112, 64};
       }},
      {"not as many planes as the format has", invalid, [](layout& l) { l.format = yuv420; }},
      {"not as many planes as the format has", invalid, [](layout& l) { l.format = xrgb8888; }},
      {"a plane in no buffer", beyond,
       [](layout& l) {
         l.plane_count = 3;
         l.format = yuv420;
         l.planes[2] = {2, 0, 64};
       }},
      {"a stride of 0", invalid, [](layout& l) { l.planes[1].stride = 0; }},
      {"a stride shorter than a row", invalid, [](layout& l) { l.planes[0].stride = 63; }},
      {"a stride shorter than a row", invalid, [](layout& l) { l.planes[1].stride = 63; }},
      {"two planes with the same first byte", invalid,
       [](layout& l) {
         l.plane_count = 3;
         l.format = yuv420;
         l.planes[2] = l.planes[0];
       }},
      {"a plane beyond the end of its buffer", beyond, [](layout& l) { l.planes[0].offset = 2049; }},
      {"a plane beyond the end of its buffer", beyond, [](layout& l) { l.planes[1].offset = 65; }},
      {"a plane beyond the end of its buffer", beyond, [](layout& l) { l.planes[1].offset = most; }},
      {"a plane beyond the end of its buffer", beyond, [](layout& l) { l.planes[1].stride = 133; }},
      {"stride times rows is beyond 64 bits", beyond, [](layout& l) { l.planes[1].stride = most; }},
      {"stride times rows is beyond 64 bits", beyond, [](layout& l) { l.planes[0].stride = most / 31; }},
  };
  for (const auto& each : cases) {
    layout picture = good();
    each.change(picture);
    const auto checked = check(picture, sizes);
    INFO(each.why);
    REQUIRE_FALSE(checked);
    CHECK(checked.error() == each.code);
    CHECK(std::string(checked.error().where) == "layout: " + std::string(each.why));
  }
}

TEST_CASE("the last row needs no padding, and not a byte beyond it is asked for") {
  layout picture = good();
  picture.planes[0].offset = 2048;  // 32 rows of 64 bytes: to the last byte of the buffer.
  CHECK(check(picture, sizes));
  picture.planes[1].offset = 64;  // 15 strides of 128 bytes and a row of 64.
  CHECK(check(picture, sizes));
  CHECK(*bytes_of_plane(picture, 1) == 15 * 128 + 64);
  CHECK(*bytes_of_buffer(picture, 1) == 64 + 16 * 128);
  picture.planes[0].offset = picture.planes[1].offset;  // In another buffer.
  CHECK(check(picture, sizes));
}

TEST_CASE("chroma planes may lie side by side in the rows of one buffer") {
  layout picture;
  picture.format = yuv420;
  picture.width = picture.height = 64;
  picture.plane_count = 3;
  picture.buffer_count = 1;
  picture.planes[0] = {0, 0, 64};
  picture.planes[1] = {0, 4096, 64};
  picture.planes[2] = {0, 4096 + 32, 64};
  constexpr std::array<std::uint64_t, 1> exactly{4096 + 32 * 64};
  CHECK(check(picture, exactly));
}

TEST_CASE("planes may lie in any order") {
  layout picture = good();
  picture.buffer_count = 1;
  picture.planes[0] = {0, 1024, 64};
  picture.planes[1] = {0, 0, 64};
  constexpr std::array<std::uint64_t, 1> exactly{1024 + 32 * 64};
  CHECK(check(picture, exactly));
  CHECK(*bytes_of_buffer(picture, 0) == exactly[0]);
}

TEST_CASE("buffers without identity may be several") {
  layout picture = good();
  picture.buffers = {};
  CHECK(check(picture, sizes));
}

TEST_CASE("of what is not linear or not known, only what holds for any is checked") {
  layout picture = good();
  picture.format = foreign;
  CHECK(check(picture, sizes));
  CHECK(code_of(bytes_of_plane(picture, 0)) == errc::not_found);
  CHECK(code_of(bytes_of_buffer(picture, 0)) == errc::not_found);
  picture.planes[0].stride = most;
  CHECK(check(picture, sizes));
  picture.planes[0].stride = 0;
  CHECK(code_of(check(picture, sizes)) == errc::invalid_argument);
  picture = good();
  picture.modifier = tiled;
  picture.plane_count = 4;  // A vendor's compression keeps planes of its own.
  picture.planes[2] = {0, 4000, 8};
  picture.planes[3] = {1, 2047, 8};
  CHECK(check(picture, sizes));
  CHECK(code_of(bytes_of_plane(picture, 0)) == errc::not_found);
  picture.planes[3].offset = 2048;
  CHECK(code_of(check(picture, sizes)) == errc::out_of_range);
}

TEST_CASE("the bytes of a plane end with its last pixel") {
  for (const pixel_format& format : known_formats()) {
    for (std::uint32_t width = 1; width <= 5; ++width) {
      for (std::uint32_t height = 1; height <= 5; ++height) {
        layout picture = *linear_layout(format.code, width, height, 16);
        for (std::size_t i = 0; i < format.plane_count; ++i) {
          std::uint64_t end = 0;
          const plane_format& plane = format.planes[i];
          for (std::uint64_t y = 0; y < height; ++y) {
            for (std::uint64_t x = 0; x < width; ++x) {
              end = std::max(end, y / plane.block_height * picture.planes[i].stride +
                                      (x / plane.block_width + 1) * plane.block_bytes);
            }
          }
          REQUIRE(*bytes_of_plane(picture, i) == end);
        }
      }
    }
  }
}

TEST_CASE("planes and buffers that are not there have no size") {
  const layout picture = good();
  CHECK(code_of(bytes_of_plane(picture, 2)) == errc::out_of_range);
  CHECK(code_of(bytes_of_plane(picture, most)) == errc::out_of_range);
  CHECK(code_of(bytes_of_buffer(picture, 2)) == errc::not_found);
  layout more = picture;
  more.plane_count = 3;
  CHECK(code_of(bytes_of_plane(more, 2)) == errc::invalid_argument);
  layout none = picture;
  none.height = 0;
  CHECK(*bytes_of_plane(none, 0) == 0);
  layout far = picture;
  far.planes[0].offset = most - 2047;
  CHECK(code_of(bytes_of_buffer(far, 0)) == errc::out_of_range);
  --far.planes[0].offset;
  CHECK(*bytes_of_buffer(far, 0) == most);
}

TEST_CASE("a linear layout is as the common allocators make it, and passes its own check") {
  const layout full_hd = *linear_layout(nv12, 1920, 1080, 256);
  CHECK(full_hd.plane_count == 2);
  CHECK(full_hd.buffer_count == 1);
  CHECK(full_hd.planes[0] == plane_place{0, 0, 2048});
  CHECK(full_hd.planes[1] == plane_place{0, std::uint64_t{2048} * 1080, 2048});
  CHECK(*bytes_of_buffer(full_hd, 0) == std::uint64_t{2048} * 1620);

  const layout odd = *linear_layout(yuv420, 5, 3, 1);
  CHECK(odd.planes[0] == plane_place{0, 0, 5});
  CHECK(odd.planes[1] == plane_place{0, 15, 3});
  CHECK(odd.planes[2] == plane_place{0, 21, 3});
  CHECK(*bytes_of_buffer(odd, 0) == 27);

  for (const pixel_format& format : known_formats()) {
    for (const std::uint64_t alignment : {1U, 2U, 64U, 4096U}) {
      const auto made = linear_layout(format.code, 33, 7, alignment);
      REQUIRE(made);
      const std::array<std::uint64_t, 1> exactly{*bytes_of_buffer(*made, 0)};
      CHECK(check(*made, exactly));
      const auto last = static_cast<std::size_t>(format.plane_count - 1);
      const std::array<std::uint64_t, 1> less{made->planes[last].offset + *bytes_of_plane(*made, last) - 1};
      CHECK(code_of(check(*made, less)) == errc::out_of_range);
      for (const plane_place& plane : made->used_planes()) {
        CHECK(plane.offset % alignment == 0);
        CHECK(plane.stride % alignment == 0);
      }
    }
  }
}

TEST_CASE("a linear layout is refused where there is none, and counts beyond 32 bits") {
  CHECK(code_of(linear_layout(nv12, 0, 4, 1)) == errc::invalid_argument);
  CHECK(code_of(linear_layout(nv12, 4, 0, 1)) == errc::invalid_argument);
  CHECK(code_of(linear_layout(nv12, 4, 4, 0)) == errc::invalid_argument);
  CHECK(code_of(linear_layout(nv12, 4, 4, 48)) == errc::invalid_argument);
  CHECK(code_of(linear_layout(foreign, 4, 4, 1)) == errc::not_found);
  CHECK(code_of(linear_layout(nv12, 4, 1, std::uint64_t{1} << 63U)) == errc::out_of_range);
  CHECK(code_of(linear_layout(make_fourcc('A', 'B', '4', 'H'), UINT32_MAX, UINT32_MAX, 1)) == errc::out_of_range);
  const layout wide = *linear_layout(xrgb8888, 1U << 30U, 5, 1);
  CHECK(wide.planes[0].stride == std::uint64_t{1} << 32U);
  CHECK(*bytes_of_buffer(wide, 0) == std::uint64_t{5} << 32U);
}

}  // namespace paddock
