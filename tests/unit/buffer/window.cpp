// SPDX-License-Identifier: BSL-1.0
#include <paddock/buffer/window.hpp>

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "catch.hpp"

namespace paddock {
namespace {

constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t four_gib = std::uint64_t{1} << 32U;
constexpr std::uint64_t kib = 1024;

static_assert((*registration_window::around(0x1234, 1, 0x1000)).base() == 0x1000);

/// What a window is, said otherwise: the pages that have one of the bytes.
struct plainly {
  plainly(std::uint64_t first, std::uint64_t size, std::uint64_t page) {
    for (std::uint64_t at = first; at < first + size; ++at) {
      pages.push_back(at / page);
    }
    base = pages.front() * page;
    length = (pages.back() - pages.front() + 1) * page;
  }
  bool has_all_of(const plainly& other) const {
    return std::all_of(other.pages.begin(), other.pages.end(),
                       [&](std::uint64_t page) { return std::find(pages.begin(), pages.end(), page) != pages.end(); });
  }
  std::vector<std::uint64_t> pages;
  std::uint64_t base;
  std::uint64_t length;
};

/// error() of a success is nothing that can be compared.
template <class T>
errc code_of(const result<T>& answer) {
  return answer ? errc{} : answer.error().code;
}

}  // namespace

TEST_CASE("a window is the pages that have one of the bytes") {
  for (std::uint64_t page = 1; page <= 16; page *= 2) {
    for (std::uint64_t first = 0; first < 40; ++first) {
      for (std::uint64_t size = 1; size < 40; ++size) {
        const auto window = registration_window::around(first, size, page);
        const plainly expected(first, size, page);
        REQUIRE(window);
        REQUIRE(window->base() == expected.base);
        REQUIRE(window->length() == expected.length);
        REQUIRE(window->end() == expected.base + expected.length);
        REQUIRE(window->interior() == first - expected.base);
        REQUIRE(window->first() == first);
        REQUIRE(window->size() == size);
      }
    }
  }
}

TEST_CASE("windows contain and join each other as their pages do") {
  constexpr std::uint64_t reach = 14;
  for (std::uint64_t page = 1; page <= 4; page *= 2) {
    for (std::uint64_t a = 0; a < reach; ++a) {
      for (std::uint64_t a_size = 1; a_size < reach - a; ++a_size) {
        for (std::uint64_t b = 0; b < reach; ++b) {
          for (std::uint64_t b_size = 1; b_size < reach - b; ++b_size) {
            const auto one = *registration_window::around(a, a_size, page);
            const auto two = *registration_window::around(b, b_size, page);
            const plainly one_expected(a, a_size, page);
            const plainly two_expected(b, b_size, page);
            REQUIRE(one.contains(two) == one_expected.has_all_of(two_expected));
            const auto both = merge(one, two);
            const auto first = std::min(a, b);
            const auto end = std::max(a + a_size, b + b_size);
            const plainly hull(first, end - first, page);
            const bool has_gap = std::any_of(hull.pages.begin(), hull.pages.end(), [&](std::uint64_t each) {
              const auto has = [&](const plainly& window) {
                return std::find(window.pages.begin(), window.pages.end(), each) != window.pages.end();
              };
              return !has(one_expected) && !has(two_expected);
            });
            REQUIRE(both.has_value() == !has_gap);
            if (both) {
              REQUIRE(*both == *registration_window::around(first, end - first, page));
              REQUIRE(both->contains(one));
              REQUIRE(both->contains(two));
            } else {
              REQUIRE(code_of(both) == errc::invalid_argument);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("a window has whole pages of 4, 16 and 64 KiB, at every boundary") {
  for (const std::uint64_t page : {4 * kib, 16 * kib, 64 * kib}) {
    for (const std::uint64_t from : {std::uint64_t{0}, page, four_gib - page, four_gib, 3 * four_gib}) {
      const auto of = [&](std::uint64_t first, std::uint64_t size) {
        return *registration_window::around(first, size, page);
      };
      CHECK(of(from, 1).length() == page);
      CHECK(of(from, page).length() == page);
      CHECK(of(from, page + 1).length() == 2 * page);
      CHECK(of(from + page - 1, 1).base() == from);
      CHECK(of(from + page - 1, 1).interior() == page - 1);
      CHECK(of(from + page - 1, 1).length() == page);
      CHECK(of(from + page - 1, 2).length() == 2 * page);
      CHECK(of(from + page, 1).base() == from + page);
      CHECK(of(from + page, 1).interior() == 0);
      // Sizes whose low 32 bits are 0 or nearly so.
      CHECK(of(from, four_gib).length() == four_gib);
      CHECK(of(from + 1, four_gib).length() == four_gib + page);
      CHECK(of(from, four_gib - 1).length() == four_gib);
      CHECK(of(from, four_gib + 1).length() == four_gib + page);
      CHECK(of(from + 5, 2 * four_gib).end() == from + 2 * four_gib + page);
      CHECK(of(from + 5, 2 * four_gib).interior() == 5);
    }
  }
}

TEST_CASE("at the top of 64 bits a window ends before its end wraps") {
  for (const std::uint64_t page : {std::uint64_t{1}, 4 * kib, 16 * kib, 64 * kib}) {
    const std::uint64_t last_page = most - page + 1;
    const auto code = [&](std::uint64_t first, std::uint64_t size) {
      return code_of(registration_window::around(first, size, page));
    };
    const auto lowest = *registration_window::around(last_page - page, page, page);
    CHECK(lowest.end() == last_page);
    CHECK(lowest.base() == last_page - page);
    CHECK(registration_window::around(0, last_page, page)->length() == last_page);
    CHECK(code(last_page - page, page + 1) == errc::out_of_range);
    CHECK(code(last_page, 1) == errc::out_of_range);
    CHECK(code(last_page, page) == errc::out_of_range);
    CHECK(code(1, last_page) == errc::out_of_range);
    CHECK(code(0, most) == (page == 1 ? errc{} : errc::out_of_range));
    CHECK(code(1, most) == errc::out_of_range);
    CHECK(code(most, 1) == errc::out_of_range);
    CHECK(code(most, most) == errc::out_of_range);
    CHECK(code(last_page - 1, most) == errc::out_of_range);
  }
  CHECK(registration_window::around(5, 7, std::uint64_t{1} << 63U)->length() == std::uint64_t{1} << 63U);
  CHECK(code_of(registration_window::around(std::uint64_t{1} << 63U, 1, std::uint64_t{1} << 63U)) ==
        errc::out_of_range);
}

TEST_CASE("a window without bytes, or of pages that are no power of two, is none") {
  CHECK(code_of(registration_window::around(0x1000, 0, 0x1000)) == errc::invalid_argument);
  CHECK(code_of(registration_window::around(0x1000, 1, 0)) == errc::invalid_argument);
  CHECK(code_of(registration_window::around(0x1000, 1, 3)) == errc::invalid_argument);
  CHECK(code_of(registration_window::around(0x1000, 1, 0x1001)) == errc::invalid_argument);
  CHECK(code_of(registration_window::around(0x1000, 1, most)) == errc::invalid_argument);
}

TEST_CASE("unless it is said, a page is one of this host") {
  CHECK(registration_window::around(1, 1)->page_size() == static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
}

TEST_CASE("an inner offset is found in the window, and only among the bytes asked for") {
  const auto window = *registration_window::around(four_gib + 0x234, four_gib, 4 * kib);
  CHECK(*window.window_offset(0, 1) == 0x234);
  CHECK(*window.window_offset(four_gib - 1, 1) == four_gib + 0x233);
  CHECK(*window.window_offset(0, four_gib) == 0x234);
  CHECK(*window.window_offset(four_gib, 0) == four_gib + 0x234);
  CHECK(code_of(window.window_offset(four_gib, 1)) == errc::out_of_range);
  CHECK(code_of(window.window_offset(1, four_gib)) == errc::out_of_range);
  CHECK(code_of(window.window_offset(most, 2)) == errc::out_of_range);
  CHECK(code_of(window.window_offset(1, most)) == errc::out_of_range);
}

TEST_CASE("windows of different pages do not become one, but may contain each other") {
  const auto small = *registration_window::around(0x1234, 0x10, 4 * kib);
  const auto large = *registration_window::around(0x1234, 0x10, 64 * kib);
  CHECK(code_of(merge(small, large)) == errc::invalid_argument);
  CHECK(large.contains(small));
  CHECK_FALSE(small.contains(large));
  CHECK(small != large);
}

TEST_CASE("an export window stays inside its buffer") {
  const buffer_id buffer{1, 7};
  const auto of = [&](std::uint64_t size, std::uint64_t first, std::uint64_t length, std::uint64_t page) {
    return export_window::around(buffer, borrowed_fd(3), size, first, length, page);
  };
  const auto window = *of(2 * four_gib, four_gib - 0x10, 0x20, 64 * kib);
  CHECK(window.offset() == four_gib - 64 * kib);
  CHECK(window.length() == 128 * kib);
  CHECK(window.interior() == 64 * kib - 0x10);
  CHECK(of(0x10000, 0xffff, 1, 64 * kib));
  CHECK(code_of(of(0x10000, 0xffff, 2, 4 * kib)) == errc::out_of_range);
  CHECK(code_of(of(0xf000, 0, 1, 64 * kib)) == errc::out_of_range);
  CHECK(code_of(of(most, most, 1, 4 * kib)) == errc::out_of_range);
  CHECK(code_of(of(0x10000, 0, 0, 4 * kib)) == errc::invalid_argument);
  CHECK(code_of(export_window::around({}, borrowed_fd(3), 0x10000, 0, 1, 4 * kib)) == errc::invalid_argument);
}

TEST_CASE("export windows are of a buffer, whatever the number of the descriptor") {
  const auto of = [](std::uint64_t inode, int fd, std::uint64_t first) {
    return *export_window::around({1, inode}, borrowed_fd(fd), 0x10000, first, 0x10, 4 * kib);
  };
  CHECK(of(7, 3, 0x10) == of(7, 4, 0x10));
  CHECK(of(7, 3, 0x10) != of(8, 3, 0x10));
  CHECK(of(7, 3, 0x10) != of(7, 3, 0x20));
  CHECK(of(7, 3, 0x10).contains(of(7, 4, 0x20)));
  CHECK_FALSE(of(7, 3, 0x10).contains(of(8, 3, 0x10)));
  CHECK_FALSE(of(7, 3, 0x10).contains(of(7, 3, 0x1010)));
  CHECK(code_of(merge(of(7, 3, 0x10), of(8, 3, 0x10))) == errc::invalid_argument);
  CHECK(code_of(merge(of(7, 3, 0x10), of(7, 3, 0x2010))) == errc::invalid_argument);
  const auto both = *merge(of(7, 3, 0x1010), of(7, 4, 0x10));
  CHECK(both.buffer == buffer_id{1, 7});
  CHECK(both.fd == borrowed_fd(3));
  CHECK(both.offset() == 0);
  CHECK(both.length() == 8 * kib);
  CHECK(both.interior() == 0x10);
}

}  // namespace paddock
