// SPDX-License-Identifier: BSL-1.0
// Storage of buffers in an address space: one range of all segments, one mapping for all who ask alike.
#include <paddock/vfio/ioas.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "address_spaces.hpp"
#include "catch.hpp"

using namespace paddock;
using namespace paddock::test;

namespace {

constexpr std::uint64_t page = 4096;
alignas(4096) std::array<std::byte, 8 * page> memory;

segment piece(storage_kind kind, std::size_t first, std::size_t pages) {
  return {.kind = kind, .length = pages * page, .address = memory.data() + first * page};
}
/// Tells when it goes.
struct told {
  explicit told(int* count) noexcept : gone(count) {}
  told(told&& other) noexcept : gone(std::exchange(other.gone, nullptr)) {}
  told& operator=(told&&) = delete;
  ~told() {
    if (gone != nullptr) {
      ++*gone;
    }
  }
  int* gone;
};
storage_ptr store(std::span<const segment> pieces, int* gone = nullptr) { return *make_storage(told(gone), pieces); }
storage_ptr store(const segment& one, int* gone = nullptr) { return store({&one, 1}, gone); }

std::array<segment, 3> mixed() {
  // In the order of neither their addresses nor their kinds.
  return {piece(storage_kind::device_memory, 4, 2), piece(storage_kind::memory, 0, 1),
          piece(storage_kind::registers, 7, 1)};
}

}  // namespace

TEST_CASE("segments of all kinds lie in one range of addresses, in their order") {
  test_space space;
  const auto pieces = mixed();
  const auto mapping = space.map(store(pieces));
  REQUIRE(mapping);
  CHECK(mapping->size() == 4 * page);
  CHECK(mapping->storage() == storage_kind::registers);
  CHECK(space.kernel.maps == 3);
  iova at = mapping->iova();
  for (const segment& each : pieces) {
    CHECK(space.kernel.at(at).memory == each.address);
    CHECK(space.kernel.at(at).size == each.length);
    const auto seen = space.find(at + (each.length - 1));
    REQUIRE(seen);
    CHECK(seen->storage == each.kind);
    CHECK(seen->start == at);
    CHECK(seen->size == each.length);
    at = at + each.length;
  }
  CHECK_FALSE(space.find(at));
}

TEST_CASE("storage is mapped once for all who ask alike, and lives as long as they do") {
  test_space space;
  int gone = 0;
  storage_ptr what = store(mixed(), &gone);
  auto first = space.map(what);
  auto second = space.map(what);
  auto one_way = space.map(what, {.dir = direction::to_device});
  REQUIRE(one_way);
  CHECK(first->iova() == second->iova());
  CHECK(one_way->iova() != first->iova());
  CHECK(space.kernel.maps == 6);
  CHECK(space.kernel.at(one_way->iova()).dir == direction::to_device);
  what.reset();
  CHECK(one_way->unmap());
  CHECK(first->unmap());
  CHECK(space.kernel.mapped == 3);
  CHECK(gone == 0);
  CHECK(second->unmap());
  CHECK(space.kernel.mapped == 0);
  CHECK(gone == 1);
  CHECK(space.mapping_count() == 0);
  CHECK(space.kernel.storages.empty());
}

TEST_CASE("storage that is mapped where another device cannot reach it is mapped for that one elsewhere") {
  test_space space;
  const storage_ptr what = store(piece(storage_kind::memory, 0, 1));
  const auto high = space.map(what, {.at = iova(0x80000000)});
  const auto low = space.map(what, {.highest = iova(0xfffffff)});
  REQUIRE(low);
  CHECK(low->iova() + 4095 <= iova(0xfffffff));
  CHECK(space.kernel.mapped == 2);
  CHECK(space.map(what, {.at = iova(0x80000000)}).error() == errc::already_exists);
  CHECK(space.map(what)->iova() == low->iova());
}

TEST_CASE("when a segment is refused those before it are unmapped, and their addresses are free again") {
  test_space space;
  const storage_ptr what = store(mixed());
  const iova at(0x100000);
  for (int good = 0; good < 3; ++good) {
    space.kernel.refuse_map = errc::limit_reached;
    space.kernel.maps_before_refusal = good;
    CHECK(space.map(what, {.at = at}).error() == errc::limit_reached);
    CHECK(space.kernel.mapped == 0);
    CHECK(space.mapping_count() == 0);
    CHECK(space.kernel.storages.empty());
    space.kernel.refuse_map = {};
    CHECK(space.map(what, {.at = at}));
  }
}

TEST_CASE("addresses that the kernel did not unmap after a refusal are never used again") {
  static std::atomic<int> lost;
  lost = 0;
  test_space space;
  const iova at(0x100000);
  space.kernel.refuse_map = errc::limit_reached;
  space.kernel.maps_before_refusal = 1;
  space.kernel.refuse_unmap = errc::io;
  set_lost_error_handler([](const error&) noexcept { ++lost; });
  CHECK(space.map(store(mixed()), {.at = at}).error() == errc::limit_reached);
  set_lost_error_handler(nullptr);
  CHECK(lost == 1);
  space.kernel.refuse_map = {};
  space.kernel.refuse_unmap = {};
  const storage_ptr one = store(piece(storage_kind::memory, 0, 1));
  CHECK(space.map(one, {.at = at + page}).error() == errc::already_exists);  // The first segment has two pages.
  CHECK(space.map(one, {.at = at + 2 * page}));
}

TEST_CASE("storage that cannot be mapped is refused with its reason") {
  test_space space;
  CHECK(space.map(storage_ptr()).error() == errc::invalid_argument);
  CHECK(space.map(store(segment{.length = page})).error() == errc::not_mappable);
  auto pieces = mixed();
  pieces[1].length = 100;
  CHECK(space.map(store(pieces)).error() == errc::misaligned);
  pieces = mixed();
  pieces[2].address += 8;
  CHECK(space.map(store(pieces)).error() == errc::misaligned);
  CHECK(space.kernel.maps == 0);
}

TEST_CASE("a retired mapping is unmapped, and its addresses are nobody else's until it goes") {
  test_space space;
  const storage_ptr what = store(piece(storage_kind::memory, 0, 1));
  std::optional<vfio::dma_mapping> first = std::move(*space.map(what));
  std::optional<vfio::dma_mapping> second = std::move(*space.map(what));
  const iova at = first->iova();
  CHECK(first->retire());
  CHECK(space.kernel.mapped == 1);
  CHECK(second->retire());
  CHECK(space.kernel.mapped == 0);
  CHECK(first->retire());
  {
    const auto anew = space.map(what);
    REQUIRE(anew);
    CHECK(anew->iova() != at);
    first.reset();
    CHECK(space.map(store(piece(storage_kind::memory, 0, 1)), {.at = at}).error() == errc::already_exists);
    CHECK(space.map(what)->iova() == anew->iova());
  }
  second.reset();
  CHECK(space.map(what, {.at = at}));
}

TEST_CASE("attachments of two devices share one mapping, which goes with the last") {
  using buffer = dma_buf<memory_exporter>;
  test_space space;
  test_importer one(space);
  test_importer two(space);
  const auto shared = *buffer::create(memory_exporter(2 * page));
  attachment<buffer, test_importer> by_one;
  attachment<buffer, test_importer> by_two;
  REQUIRE(by_one.attach(shared, one));
  REQUIRE(by_two.attach(shared, two));
  auto for_one = by_one.map(direction::bidirectional);
  auto for_two = by_two.map(direction::bidirectional);
  REQUIRE(for_two);
  CHECK(for_one->iova() == for_two->iova());
  CHECK(space.kernel.maps == 1);
  CHECK(by_one.unmap(std::move(*for_one)));
  CHECK(space.kernel.mapped == 1);
  CHECK(for_two->status() == mapping_status::live);
  { const auto gone = std::move(*for_two); }
  CHECK(space.kernel.mapped == 0);
}

TEST_CASE("mapping and dropping one storage from many threads") {
  test_space space;
  const storage_ptr shared = store(mixed());
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  threads.reserve(3);
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      for (unsigned round = 0; !stop; ++round) {
        auto own = space.map(store(piece(storage_kind::memory, 0, 1)));
        auto mapping = space.map(shared);
        // Whoever has it finds it mapped, whoever else has just dropped it.
        if (!mapping || space.kernel.at(mapping->iova()).memory != memory.data() + 4 * page) {
          ++wrong;
        }
        if ((round + static_cast<unsigned>(i)) % 2 == 0) {
          static_cast<void>(mapping->retire());
        }
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  stop = true;
  for (std::thread& each : threads) {
    each.join();
  }
  CHECK(wrong == 0);
  CHECK(space.kernel.mapped == 0);
  CHECK(space.mapping_count() == 0);
  CHECK(space.kernel.storages.empty());
}
