// SPDX-License-Identifier: BSL-1.0
#include <paddock/buffer/placement.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/dma_buf.hpp>

#include "catch.hpp"
#include "fences.hpp"
#include "policies.hpp"

namespace paddock {
namespace {

PADDOCK_TEST_POLICIES
using count = buffer_statistics::what;
constexpr std::size_t page = 4096;
constexpr std::size_t size = 2 * page;

/// Heap memory that passes for a provider's, of which there is so much.
class bar_source {
 public:
  static constexpr p2p_segments p2p = p2p_segments::always;
  static constexpr bool revokes = false;

  explicit bar_source(std::uint8_t slot, std::size_t room = SIZE_MAX) : slot_(slot), room_(room) {}

  [[nodiscard]] segment prototype() const noexcept {
    return {.kind = storage_kind::device_memory, .provider = {0, 0, slot_, 0}};
  }
  [[nodiscard]] result<storage_ptr> allocate(std::uint64_t bytes) noexcept {
    if (bytes > room_) {
      return fail(errc::limit_reached, "bar_source");
    }
    PADDOCK_TRY(const storage_ptr pages, allocate_memory(bytes));
    segment all = prototype();
    all.length = bytes;
    all.address = pages->segments()[0].address;
    return make_storage(pages, all);
  }

 private:
  std::uint8_t slot_;
  std::size_t room_;
};
static_assert(storage_source<bar_source>);

/// What a device reaches: memory, and the memory of some providers.
class test_device {
 public:
  struct mapped {
    storage_ptr where;
  };
  explicit test_device(std::vector<std::uint8_t> slots) : slots_(std::move(slots)) {}

  [[nodiscard]] route_choice reach(const segment& where, direction) const noexcept {
    const bool is_near = std::ranges::find(slots_, where.provider.device) != slots_.end();
    return where.kind == storage_kind::memory || is_near ? route_choice{true, fallback::none, nullptr}
                                                         : route_choice{false, fallback::not_supported, nullptr};
  }
  [[nodiscard]] result<mapped> map(const storage_ptr& s, direction) noexcept { return mapped{s}; }
  [[nodiscard]] result<void> unmap(mapped&) noexcept { return {}; }

 private:
  std::vector<std::uint8_t> slots_;
};
static_assert(reaching_device<test_device>);

using exporter_type = placement_exporter<bar_source, memory_source>;
using buffer_type = dma_buf<exporter_type>;
constexpr std::size_t in_device = 0;
constexpr std::size_t in_memory = 1;

static_assert(exporter_type::p2p == p2p_segments::maybe && !exporter_type::revokes);
static_assert(placement_exporter<memory_source>::p2p == p2p_segments::never);
static_assert(placement_exporter<bar_source, bar_source>::p2p == p2p_segments::always);
static_assert(std::same_as<buffer_type::policies::residency, paddock::movable>);

/// What an attachment wishes for.
enum class wish {
  anywhere,        ///< It reaches both places.
  reaches_memory,  ///< It does not reach the device's memory.
  p2p,             ///< It reaches both, and is content with the device's memory alone.
  memory,          ///< It reaches both, and is content with system memory alone.
};
constexpr std::array all_wishes{wish::anywhere, wish::reaches_memory, wish::p2p, wish::memory};
bool needs_memory(wish w) { return w == wish::reaches_memory || w == wish::memory; }

/// An attachment with a wish, whose type does not matter.
class user {
 public:
  user() = default;
  user(const user&) = delete;
  user& operator=(const user&) = delete;
  virtual ~user() = default;

  /// Where it would find the bytes, if that worked; unmaps again.
  struct answer {
    errc error{};
    bool found{false};      ///< It is mapped.
    bool is_shadow{false};  ///< It has a copy.
    std::byte first{};      ///< What it saw there.
  };
  virtual answer use() = 0;
  int invalidations{0};

 protected:
  test_device device_{{}};
};

template <class... Policies>
class user_of final : public user {
 public:
  user_of(const buffer_ptr<buffer_type>& buffer, std::vector<std::uint8_t> slots) : buffer_(buffer) {
    device_ = test_device(std::move(slots));
    REQUIRE(attached_.attach(buffer, device_));
    auto held = buffer->lock();
    REQUIRE(held);
    auto armed = attached_.arm(*held, [this](auto&, const resv_lock&) noexcept { ++invalidations; });
    REQUIRE(armed);
    armed_ = *armed;
  }
  answer use() override {
    auto held = buffer_->lock();
    REQUIRE(held);
    auto mapped = armed_->map(*held, direction::bidirectional, test::long_enough());
    if (!mapped) {
      return {mapped.error().code, false, false, {}};
    }
    const storage_ptr where = mapped->mapped().where;
    const answer seen{{}, true, where != *buffer_->storage(*held), where->segments()[0].address[0]};
    REQUIRE(armed_->unmap(*held, std::move(*mapped)));
    return seen;
  }

 private:
  using attachment_type = attachment<buffer_type, test_device, movable, Policies...>;
  buffer_ptr<buffer_type> buffer_;
  attachment_type attached_;
  typename attachment_type::armed_type* armed_{nullptr};
};

std::unique_ptr<user> attach(const buffer_ptr<buffer_type>& buffer, wish w) {
  switch (w) {
    case wish::anywhere: return std::make_unique<user_of<>>(buffer, std::vector<std::uint8_t>{1});
    case wish::reaches_memory: return std::make_unique<user_of<>>(buffer, std::vector<std::uint8_t>{});
    case wish::p2p: return std::make_unique<user_of<p2p_only>>(buffer, std::vector<std::uint8_t>{1});
    case wish::memory: return std::make_unique<user_of<system_only>>(buffer, std::vector<std::uint8_t>{1});
  }
  return nullptr;
}

buffer_ptr<buffer_type> make_buffer(std::size_t room = SIZE_MAX) {
  auto made = buffer_type::create(exporter_type(size, bar_source(1, room), memory_source()));
  REQUIRE(made);
  auto held = (*made)->lock();
  REQUIRE(held);
  (*(*made)->storage(*held))->segments()[0].address[0] = std::byte{0x42};
  return *made;
}
std::size_t where(const buffer_ptr<buffer_type>& buffer) {
  auto held = buffer->lock();
  REQUIRE(held);
  return *buffer->where(*held);
}
std::uint64_t counted(const buffer_ptr<buffer_type>& buffer, count what) { return buffer->statistics().of(what); }

/// All lists of so many wishes.
std::vector<std::vector<wish>> lists_of(std::size_t length) {
  std::vector<std::vector<wish>> lists{{}};
  for (std::size_t i = 0; i < length; ++i) {
    std::vector<std::vector<wish>> longer;
    for (const auto& list : lists) {
      for (const wish w : all_wishes) {
        longer.push_back(list);
        longer.back().push_back(w);
      }
    }
    lists = std::move(longer);
  }
  return lists;
}

/// What one who wishes that has to find, with the buffer in that place.
void check_answer(const user::answer& seen, wish w, std::size_t place) {
  const bool is_content = place == in_memory ? w != wish::p2p : !needs_memory(w);
  if (w == wish::p2p && !is_content) {
    CHECK_FALSE(seen.found);
    CHECK(seen.error == errc::unreachable);
    return;
  }
  REQUIRE(seen.found);
  CHECK(seen.is_shadow == !is_content);
  CHECK(seen.first == std::byte{0x42});
}

void check_move(const buffer_ptr<buffer_type>& buffer, bool has_moved, wish causer) {
  CHECK(counted(buffer, count::moves) == (has_moved ? 1 : 0));
  CHECK(counted(buffer, count::migrations) == (has_moved ? 1 : 0));
  CHECK(where(buffer) == (has_moved ? in_memory : in_device));
  if (has_moved) {
    auto held = buffer->lock();
    REQUIRE(held);
    const auto report = buffer->last_move(*held);
    REQUIRE(report);
    CHECK(report->from == in_device);
    CHECK(report->to == in_memory);
    const fallback why = causer == wish::memory ? fallback::asked_for : fallback::not_supported;
    CHECK(report->why == why);
    CHECK(buffer->statistics().routes().of(why) >= 1);
  }
}

}  // namespace

TEST_CASE("a buffer begins in the preferred place, and in the next one when that has no room") {
  CHECK(where(make_buffer()) == in_device);
  CHECK(where(make_buffer(size)) == in_device);
  const auto elsewhere = make_buffer(size - 1);
  CHECK(where(elsewhere) == in_memory);
  CHECK(counted(elsewhere, count::moves) == 0);
  using bars = placement_exporter<bar_source, bar_source>;
  CHECK(dma_buf<bars>::create(bars(size, bar_source(1, 0), bar_source(2, 0))).error() == errc::limit_reached);
}

TEST_CASE("sizes are whole pages in every place, and absurd ones are refused") {
  auto buffer = buffer_type::create(exporter_type(1, bar_source(1), memory_source()));
  REQUIRE(buffer);
  CHECK((*buffer)->size() == page);
  auto held = (*buffer)->lock();
  REQUIRE(held);
  CHECK((*buffer)->move(*held, in_memory, deadline::never()));
  CHECK((*buffer)->move(*held, 2, deadline::never()).error() == errc::invalid_argument);
  CHECK(buffer_type::create(exporter_type(0, bar_source(1), memory_source())).error() == errc::invalid_argument);
  CHECK(buffer_type::create(exporter_type(UINT64_MAX, bar_source(1, 0), memory_source())).error() ==
        errc::out_of_range);
}

TEST_CASE("wishes of all who are attached settle after at most one move, in all orders of two and three") {
  for (const std::size_t length : {2U, 3U}) {
    for (const auto& wishes : lists_of(length)) {
      const auto buffer = make_buffer();
      std::vector<std::unique_ptr<user>> users;
      users.reserve(wishes.size());
      for (const wish w : wishes) {
        users.push_back(attach(buffer, w));
      }
      const auto causer = std::ranges::find_if(wishes, needs_memory);
      const bool has_moved = causer != wishes.end() && std::ranges::find(wishes, wish::p2p) == wishes.end();
      for (int round = 0; round < 3; ++round) {
        for (std::size_t i = 0; i < users.size(); ++i) {
          const user::answer seen = users[i]->use();
          check_answer(seen, wishes[i], where(buffer));
        }
        check_move(buffer, has_moved, has_moved ? *causer : wish::anywhere);
      }
      // Who caused the move is not told; the others are, once.
      for (std::size_t i = 0; i < users.size(); ++i) {
        CHECK(users[i]->invalidations == (has_moved && wishes.begin() + static_cast<std::ptrdiff_t>(i) != causer));
      }
    }
  }
}

TEST_CASE("wishes of those who come one after the other settle after at most one move, in all orders") {
  for (const std::size_t length : {2U, 3U}) {
    for (const auto& wishes : lists_of(length)) {
      const auto buffer = make_buffer();
      std::vector<std::unique_ptr<user>> users;
      std::optional<wish> causer;
      bool has_p2p = false;
      for (std::size_t i = 0; i < wishes.size(); ++i) {
        users.push_back(attach(buffer, wishes[i]));
        has_p2p = has_p2p || wishes[i] == wish::p2p;
        if (needs_memory(wishes[i]) && !has_p2p && !causer) {
          causer = wishes[i];
        }
        for (std::size_t each = 0; each <= i; ++each) {
          const user::answer seen = users[each]->use();
          check_answer(seen, wishes[each], where(buffer));
        }
        check_move(buffer, causer.has_value(), causer.value_or(wish::anywhere));
      }
    }
  }
}

TEST_CASE("a thousand maps by turns do not move the buffer to and fro") {
  const auto buffer = make_buffer();
  const auto near = attach(buffer, wish::anywhere);
  const auto far = attach(buffer, wish::reaches_memory);
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(near->use().found);
    REQUIRE(far->use().found);
  }
  CHECK(counted(buffer, count::moves) == 1);
  CHECK(counted(buffer, count::bounces) == 0);
  // The move, and no map after it.
  CHECK(buffer->statistics().routes().of(fallback::not_supported) == 1);
  CHECK(buffer->statistics().routes().fallbacks() == 1);
}

TEST_CASE("without a common place the buffer stays, and who does not reach it has a copy each time, or an error") {
  const auto buffer = make_buffer();
  const auto near = attach(buffer, wish::p2p);
  const auto far = attach(buffer, wish::reaches_memory);
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(far->use().is_shadow);
    REQUIRE(near->use().found);
  }
  CHECK(counted(buffer, count::moves) == 0);
  CHECK(counted(buffer, count::bounces) == 1000);
  CHECK(counted(buffer, count::bounce_copies) == 2000);
  CHECK(buffer->statistics().routes().of(fallback::not_supported) == 1000);

  // As seen from the other place: who wants the device's memory alone has no copy to fall back to.
  {
    auto held = buffer->lock();
    REQUIRE(held);
    REQUIRE(buffer->move(*held, in_memory, deadline::never()));
  }
  CHECK(near->use().error == errc::unreachable);
  CHECK(far->use().found);
  CHECK(counted(buffer, count::moves) == 1);
  CHECK(counted(buffer, count::migrations) == 0);
  CHECK(buffer->statistics().routes().of(fallback::no_route) == 1);
}

TEST_CASE("who has gone has no wishes") {
  const auto buffer = make_buffer();
  auto near = attach(buffer, wish::p2p);
  const auto far = attach(buffer, wish::reaches_memory);
  CHECK(far->use().is_shadow);
  near.reset();
  CHECK_FALSE(far->use().is_shadow);
  CHECK(where(buffer) == in_memory);
}

TEST_CASE("a pinned importer keeps the buffer where it was content with it") {
  const auto buffer = make_buffer();
  test_device device({1});
  attachment<buffer_type, test_device> pinned_there;
  REQUIRE(pinned_there.attach(buffer, device));
  const auto far = attach(buffer, wish::reaches_memory);
  CHECK(far->use().error == errc::busy);  // A copy would part from what the pinned one does without the lock.
  CHECK(where(buffer) == in_device);
  REQUIRE(pinned_there.detach());
  CHECK_FALSE(far->use().is_shadow);
  CHECK(where(buffer) == in_memory);

  // One that is not content moves it at once, and is content for good.
  test_device other({});
  const auto second = make_buffer();
  attachment<buffer_type, test_device> pinned_here;
  REQUIRE(pinned_here.attach(second, other));
  CHECK(where(second) == in_memory);
  CHECK(attach(second, wish::p2p)->use().error == errc::unreachable);
}

TEST_CASE("of several places the first one with room is taken that all are content with") {
  using three = placement_exporter<bar_source, bar_source, bar_source, memory_source>;
  const auto settle = [](std::vector<std::uint8_t> slots, std::size_t room) {
    auto buffer =
        dma_buf<three>::create(three(size, bar_source(1), bar_source(2, room), bar_source(3), memory_source()));
    REQUIRE(buffer);
    test_device device(std::move(slots));
    attachment<dma_buf<three>, test_device> attached;
    REQUIRE(attached.attach(*buffer, device));
    auto held = (*buffer)->lock();
    REQUIRE(held);
    CHECK((*buffer)->statistics().of(count::moves) <= 1);
    return *(*buffer)->where(*held);
  };
  CHECK(settle({1, 2, 3}, size) == 0);
  CHECK(settle({2, 3}, size) == 1);
  CHECK(settle({3}, size) == 2);
  CHECK(settle({}, size) == 3);
  CHECK(settle({2, 3}, 0) == 2);
  CHECK(settle({2}, 0) == 3);
}

TEST_CASE("where no place has room the error is that of the place") {
  using bars = placement_exporter<bar_source, bar_source>;
  auto buffer = dma_buf<bars>::create(bars(size, bar_source(1), bar_source(2, 0)));
  REQUIRE(buffer);
  test_device device({2});
  attachment<dma_buf<bars>, test_device> attached;
  CHECK(attached.attach(*buffer, device).error() == errc::limit_reached);
  CHECK_FALSE(attached.is_attached());
  CHECK((*buffer)->statistics().of(count::moves) == 0);
}

TEST_CASE("bytes arrive whole, whichever way the buffer goes") {
  const auto buffer = make_buffer();
  auto held = buffer->lock();
  REQUIRE(held);
  const auto first = *buffer->storage(*held);
  std::span<std::byte> bytes(first->segments()[0].address, size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(i * 7 + i / 256);
  }
  const std::vector<std::byte> wanted(bytes.begin(), bytes.end());
  for (const std::size_t place : {in_memory, in_device, in_memory}) {
    REQUIRE(buffer->move(*held, place, deadline::never()));
    const auto now = *buffer->storage(*held);
    CHECK(now->segments()[0].kind == (place == in_memory ? storage_kind::memory : storage_kind::device_memory));
    CHECK(std::ranges::equal(std::span(now->segments()[0].address, size), wanted));
  }
  CHECK(buffer->last_move(*held)->why == fallback::none);
}

}  // namespace paddock
