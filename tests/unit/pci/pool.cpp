// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/pool.hpp>

#include <atomic>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include <paddock/pci/provider.hpp>

#include "catch.hpp"

namespace paddock::pci {
namespace {

constexpr std::uint64_t page = 4096;

bar_memory pages(std::uint64_t count, std::uint64_t offset = 0) {
  return {address{0, 3, 0, 0}, bar_index(2), offset, count * page};
}

pool make_pool(std::uint64_t count, std::uint64_t offset = 0) { return *pool::create(pages(count, offset), page); }

/// Whether no two of them overlap, and all are inside.
bool are_apart(const std::vector<bar_memory>& parts, const bar_memory& whole) {
  std::map<std::uint64_t, std::uint64_t> ends;
  for (const bar_memory& each : parts) {
    if (each.offset < whole.offset || each.offset + each.size > whole.offset + whole.size) {
      return false;
    }
    ends[each.offset] = each.offset + each.size;
  }
  std::uint64_t last = 0;
  for (const auto& [start, end] : ends) {
    if (start < last) {
      return false;
    }
    last = end;
  }
  return ends.size() == parts.size();
}

}  // namespace

TEST_CASE("a pool hands out all of its pages, of any number of them") {
  for (const std::uint64_t count : {1U, 2U, 3U, 7U, 64U, 1000U, 4096U}) {
    pool p = make_pool(count);
    {
      const auto whole = p.allocate(count * page);
      REQUIRE(whole);
      CHECK(whole->where().offset == 0);
      CHECK(whole->where().size == count * page);
      CHECK(p.available() == 0);
      CHECK(p.allocate(1).error() == errc::limit_reached);
    }
    std::vector<pool_memory> single;
    std::vector<bar_memory> parts;
    for (std::uint64_t i = 0; i < count; ++i) {
      single.push_back(*p.allocate(page));
      parts.push_back(single.back().where());
    }
    CHECK(are_apart(parts, p.where()));
    CHECK(p.allocate(1).error() == errc::limit_reached);
    single.clear();
    CHECK(p.available() == count * page);
    CHECK(p.allocate(count * page));
  }
}

TEST_CASE("what a pool hands out is whole pages inside its part of the BAR, and belongs to one holder") {
  pool p = make_pool(300, 0x10000);
  std::mt19937 random(7);
  std::vector<pool_memory> held;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0 && held.size() < 40) {
      if (auto taken = p.allocate(1 + random() % (20 * page))) {
        held.push_back(std::move(*taken));
      }
    } else if (!held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      held.pop_back();
    }
    if (step % 100 == 0) {
      std::vector<bar_memory> parts;
      std::uint64_t used = 0;
      for (const pool_memory& each : held) {
        parts.push_back(each.where());
        used += parts.back().size;
        REQUIRE(parts.back().offset % page == 0);
        REQUIRE(parts.back().size % page == 0);
      }
      REQUIRE(are_apart(parts, p.where()));
      REQUIRE(p.available() == 300 * page - used);
    }
  }
}

TEST_CASE("bytes are rounded up to pages, and more than there are is refused without harm") {
  pool p = make_pool(4);
  CHECK(p.allocate(1)->where().size == page);
  CHECK(p.allocate(page + 1)->where().size == 2 * page);
  CHECK(p.allocate(0).error() == errc::invalid_argument);
  CHECK(p.allocate(5 * page).error() == errc::limit_reached);
  CHECK(p.allocate(std::numeric_limits<std::uint64_t>::max()).error() == errc::limit_reached);
  CHECK(p.available() == 4 * page);
}

TEST_CASE("a gap that is long enough only in sum is none") {
  pool p = make_pool(3);
  auto first = p.allocate(page);
  auto second = p.allocate(page);
  auto third = p.allocate(page);
  std::optional<pool_memory> middle;
  std::vector<pool_memory> ends;
  for (auto* each : {&*first, &*second, &*third}) {
    if (each->where().offset == page) {
      middle = std::move(*each);
    } else {
      ends.push_back(std::move(*each));
    }
  }
  REQUIRE(middle);
  ends.clear();
  CHECK(p.available() == 2 * page);
  CHECK(p.allocate(2 * page).error() == errc::limit_reached);
  middle.reset();
  CHECK(p.allocate(3 * page));
}

TEST_CASE("a pool over a range that is no whole pages, is empty or wraps is refused") {
  CHECK(pool::create({{}, bar_index(0), 0, page + 1}, page).error() == errc::misaligned);
  CHECK(pool::create({{}, bar_index(0), 100, page}, page).error() == errc::misaligned);
  CHECK(pool::create({{}, bar_index(0), 0, page}, 3000).error() == errc::misaligned);
  CHECK(pool::create({{}, bar_index(0), 0, page}, 0).error() == errc::misaligned);
  CHECK(pool::create({{}, bar_index(0), 0, 0}, page).error() == errc::invalid_argument);
  CHECK(pool::create({{}, bar_index(0), ~std::uint64_t{0} << 12, 2 * page}, page).error() == errc::out_of_range);
}

TEST_CASE("a large pool uses memory for what is in use only") {
  constexpr std::uint64_t huge = std::uint64_t{1} << 24;  // 64 GiB: what is needed grows with the gaps.
  pool p = make_pool(huge);
  const auto low = p.allocate(page);
  const auto rest = p.allocate((huge - 1) * page);
  REQUIRE(low);
  REQUIRE(rest);
  CHECK(are_apart({low->where(), rest->where()}, p.where()));
}

TEST_CASE("statistics tell what happened") {
  pool p = make_pool(8);
  auto first = p.allocate(3 * page);
  {
    const auto second = p.allocate(2 * page);
    CHECK(p.statistics().live == 2);
  }
  CHECK_FALSE(p.allocate(100 * page));
  const pool_statistics seen = p.statistics();
  CHECK(seen.size == 8 * page);
  CHECK(seen.available == 5 * page);
  CHECK(seen.peak == 5 * page);
  CHECK(seen.live == 1);
  CHECK(seen.served == 2);
  CHECK(seen.refused == 1);
  CHECK_FALSE(seen.revoked);
}

TEST_CASE("after a revocation nothing is handed out, and who holds memory can tell") {
  pool p = make_pool(8);
  p.publish();
  CHECK(p.is_published());
  auto held = p.allocate(page);
  CHECK_FALSE(held->is_revoked());
  p.revoke();
  CHECK(held->is_revoked());
  CHECK_FALSE(p.is_published());
  CHECK(p.allocate(page).error() == errc::revoked);
  p.publish();
  CHECK_FALSE(p.is_published());
  const pool_memory kept = std::move(*held);
  CHECK(kept.where().size == page);
  CHECK(p.statistics().live == 1);
}

TEST_CASE("memory outlives its pool, and knows that it is revoked") {
  std::optional<pool_memory> kept;
  {
    pool p = make_pool(2);
    kept = std::move(*p.allocate(page));
  }
  CHECK(kept->is_revoked());
  CHECK(kept->where().provider == address{0, 3, 0, 0});
}

TEST_CASE("threads allocate and give back at once", "[threads]") {
  pool p = make_pool(64);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  std::vector<std::atomic<int>> owners(64);
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937 random(static_cast<unsigned>(i));
      for (int round = 0; round < 5'000; ++round) {
        const auto taken = p.allocate((1 + random() % 8) * page);
        if (!taken) {
          continue;
        }
        const bar_memory mine = taken->where();
        for (std::uint64_t at = mine.offset / page; at < (mine.offset + mine.size) / page; ++at) {
          wrong += owners[at]++ == 0 ? 0 : 1;
        }
        for (std::uint64_t at = mine.offset / page; at < (mine.offset + mine.size) / page; ++at) {
          --owners[at];
        }
      }
    });
  }
  for (std::thread& each : threads) {
    each.join();
  }
  CHECK(wrong == 0);
  CHECK(p.available() == 64 * page);
}

namespace {

/// A provider's own allocator: one page after the other, never back.
struct bump {
  result<std::uint64_t> allocate(std::uint64_t count) noexcept {
    if (next + count > limit) {
      return fail(errc::limit_reached, "bump");
    }
    return std::exchange(next, next + count);
  }
  void release(std::uint64_t, std::uint64_t count) noexcept { released += count; }
  [[nodiscard]] std::uint64_t available() const noexcept { return limit - next; }
  std::uint64_t limit;
  std::uint64_t next{0};
  std::uint64_t released{0};
};

}  // namespace

TEST_CASE("a provider brings an allocator of its own") {
  auto p = *basic_pool<bump>::create(pages(3), bump{3}, page);
  { const auto gone = *p.allocate(page); }
  const auto next = *p.allocate(2 * page);
  CHECK(next.where().offset == page);
  CHECK(p.allocate(page).error() == errc::limit_reached);
  static_assert(provider<basic_pool<bump>>);
}

TEST_CASE("pages that an allocator makes up are not handed out") {
  auto p = *basic_pool<bump>::create(pages(2), bump{100, 1}, page);
  CHECK(p.allocate(page)->where().offset == page);
  CHECK(p.allocate(page).error() == errc::unexpected);
  CHECK(p.available() == 2 * page);
  CHECK(p.statistics().refused == 1);
}

}  // namespace paddock::pci
