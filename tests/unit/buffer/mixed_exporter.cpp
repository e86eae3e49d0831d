// SPDX-License-Identifier: BSL-1.0
#include <paddock/buffer/mixed_exporter.hpp>

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/cpu_device.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/buffer/mover.hpp>
#include <paddock/buffer/placement.hpp>

#include "buffers.hpp"
#include "catch.hpp"
#include "policies.hpp"

namespace paddock {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the tests are about these.
PADDOCK_TEST_POLICIES

constexpr std::size_t page = 4096;

/// Bytes of the heap that pass for what they are labelled as; tells when they go.
struct labelled {
  explicit labelled(std::size_t length, storage_kind what, bool* gone_flag = nullptr)
      : bytes(length), kind(what), gone(gone_flag) {}

  struct owner {
    bool* gone;
    explicit owner(bool* flag) noexcept : gone(flag) {}
    owner(owner&& other) noexcept : gone(std::exchange(other.gone, nullptr)) {}
    ~owner() {
      if (gone != nullptr) {
        *gone = true;
      }
    }
  };
  [[nodiscard]] storage_ptr storage() {
    auto made = make_storage(owner(gone), segment{.kind = kind, .length = bytes.size(), .address = bytes.data()});
    REQUIRE(made);
    return *made;
  }

  std::vector<std::byte> bytes;
  storage_kind kind;
  bool* gone;
};

std::vector<std::byte> pattern(std::size_t length) {
  std::vector<std::byte> made(length);
  for (std::size_t i = 0; i < length; ++i) {
    made[i] = static_cast<std::byte>(i * 131 + i / 256);
  }
  return made;
}

/// Storage of pieces of these lengths, memory and device memory by turns.
struct pieces {
  explicit pieces(const std::vector<std::size_t>& lengths, storage_kind first = storage_kind::memory) {
    bool is_first = true;
    for (const std::size_t length : lengths) {
      const auto other = first == storage_kind::memory ? storage_kind::device_memory : storage_kind::memory;
      parts.emplace_back(length, is_first ? first : other);
      kept.push_back(parts.back().storage());
      is_first = !is_first;
    }
  }
  [[nodiscard]] std::vector<std::byte> bytes() const {
    std::vector<std::byte> all;
    for (const labelled& each : parts) {
      all.insert(all.end(), each.bytes.begin(), each.bytes.end());
    }
    return all;
  }
  void fill(const std::vector<std::byte>& with) {
    std::size_t at = 0;
    for (labelled& each : parts) {
      std::memcpy(each.bytes.data(), with.data() + at, each.bytes.size());
      at += each.bytes.size();
    }
  }
  std::vector<labelled> parts;
  std::vector<storage_ptr> kept;
};

}  // namespace

TEST_CASE("parts become one storage, in their order") {
  pieces all({3, page, 1});
  const auto whole = concatenate(all.kept);
  REQUIRE(whole);
  CHECK((*whole)->size() == 3 + page + 1);
  REQUIRE((*whole)->segments().size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK((*whole)->segments()[i].address == all.parts[i].bytes.data());
    CHECK((*whole)->segments()[i].kind == all.parts[i].kind);
  }
  // Parts of parts are their segments.
  const std::array<storage_ptr, 2> nested{all.kept[2], *whole};
  const auto twice = concatenate(nested);
  REQUIRE(twice);
  REQUIRE((*twice)->segments().size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK((*twice)->segments()[i].address == all.parts[i == 0 ? 2 : i - 1].bytes.data());
  }
}

TEST_CASE("storage of parts is refused without parts, and with an empty one") {
  CHECK(concatenate({}).error() == errc::invalid_argument);
  pieces all({1});
  const std::array<storage_ptr, 2> with_hole{all.kept[0], nullptr};
  CHECK(concatenate(with_hole).error() == errc::invalid_argument);
  CHECK(code_of(dma_buf<storage_exporter<>>::create(storage_exporter<>(nullptr))) == errc::invalid_argument);
}

TEST_CASE("parts live as long as the storage made of them") {
  bool gone = false;
  labelled part(page, storage_kind::memory, &gone);
  storage_ptr whole;
  {
    const std::array<storage_ptr, 1> one{part.storage()};
    const auto made = concatenate(one);
    REQUIRE(made);
    whole = *made;
  }
  CHECK_FALSE(gone);
  whole.reset();
  CHECK(gone);
}

TEST_CASE("storage says which dma-buf it is, and what is made of several is none") {
  struct owner {
    [[nodiscard]] borrowed_fd dma_buf() const noexcept { return borrowed_fd(7); }
  };
  std::array<std::byte, 8> bytes{};
  const auto made = make_storage(owner{}, segment{.length = bytes.size(), .address = bytes.data()});
  REQUIRE(made);
  CHECK((*made)->dma_buf() == borrowed_fd(7));
  const std::array<storage_ptr, 2> twice{*made, *made};
  CHECK_FALSE((*concatenate(twice))->dma_buf().valid());
}

TEST_CASE("bytes are copied across unequal boundaries of memory and device memory") {
  const std::vector<std::vector<std::size_t>> shapes{{page},
                                                     {1, page - 1},
                                                     {page - 1, 1},
                                                     {7, 9, page - 16},
                                                     {page / 2, page / 2},
                                                     {13, 64, 3, page - 80},
                                                     {1, 1, 1, 1, page - 4},
                                                     {4, 8, 16, page - 28}};
  const auto wanted = pattern(page);
  cpu_mover mover;
  for (const auto& from_shape : shapes) {
    for (const auto& to_shape : shapes) {
      for (const auto first : {storage_kind::memory, storage_kind::device_memory}) {
        pieces from(from_shape);
        pieces to(to_shape, first);
        from.fill(wanted);
        const auto source = concatenate(from.kept);
        const auto target = concatenate(to.kept);
        REQUIRE((source && target));
        const auto copied = mover.copy(**target, **source);
        REQUIRE(copied);
        CHECK((*copied)->is_signaled());
        REQUIRE(to.bytes() == wanted);
      }
    }
  }
}

TEST_CASE("registers among the parts are never copied, and no byte before them either") {
  labelled memory(page, storage_kind::memory);
  labelled doorbell(8, storage_kind::registers);
  labelled target(page + 8, storage_kind::memory);
  memory.bytes = pattern(page);
  const std::array<storage_ptr, 2> parts{memory.storage(), doorbell.storage()};
  const auto source = concatenate(parts);
  REQUIRE(source);
  CHECK(cpu_mover().copy(*target.storage(), **source).error() == errc::not_mappable);
  CHECK(std::ranges::all_of(target.bytes, [](std::byte b) { return b == std::byte{0}; }));
}

TEST_CASE("a buffer of mixed storage: the CPU has a copy of what it cannot map, and the parts have what it wrote") {
  pieces all({page, 2 * page, page});
  const auto wanted = pattern(4 * page);
  all.fill(wanted);
  auto buffer = dma_buf<storage_exporter<false>>::create(storage_exporter<false>(*concatenate(all.kept)));
  REQUIRE(buffer);
  CHECK((*buffer)->size() == 4 * page);
  cpu_device cpu;
  attachment<dma_buf<storage_exporter<false>>, cpu_device> attached;
  REQUIRE(attached.attach(*buffer, cpu));
  auto mapped = attached.map(direction::bidirectional);
  REQUIRE(mapped);
  {
    const auto access = cpu_access<access::read_write>::begin(*mapped);
    REQUIRE(access);
    REQUIRE(std::ranges::equal(access->bytes(), wanted));
    access->bytes()[page] = std::byte{0xee};
    access->bytes()[4 * page - 1] = std::byte{0xdd};
  }
  REQUIRE(attached.unmap(std::move(*mapped)));
  CHECK(all.parts[1].bytes[0] == std::byte{0xee});
  CHECK(all.parts[2].bytes[page - 1] == std::byte{0xdd});
  CHECK((*buffer)->statistics().of(buffer_statistics::what::bounces) == 1);
  CHECK((*buffer)->statistics().routes().of(fallback::no_route) == 1);
}

TEST_CASE("a buffer of mixed storage that is memory in a row is mapped where it is") {
  const auto pages = allocate_memory(2 * page);
  REQUIRE(pages);
  std::byte* const first = (*pages)->segments()[0].address;
  const auto half = [&](std::size_t offset) {
    return *make_storage(*pages, segment{.length = page, .address = first + offset});
  };
  const std::array<storage_ptr, 2> halves{half(0), half(page)};
  auto buffer = dma_buf<storage_exporter<false>>::create(storage_exporter<false>(*concatenate(halves)));
  REQUIRE(buffer);
  cpu_device cpu;
  attachment<dma_buf<storage_exporter<false>>, cpu_device> attached;
  REQUIRE(attached.attach(*buffer, cpu));
  const auto mapped = attached.map(direction::to_device);
  REQUIRE(mapped);
  CHECK(mapped->mapped().bytes().data() == first);
  CHECK(mapped->mapped().bytes().size() == 2 * page);
}

namespace {

/// Everything that an exporter may want to be told of; behind a BAR when Kind says so.
template <storage_kind Kind = storage_kind::memory>
struct talkative_exporter {
  static constexpr p2p_segments p2p = Kind == storage_kind::memory ? p2p_segments::never : p2p_segments::always;
  static constexpr bool revokes = false;
  static constexpr bool has_registers = Kind == storage_kind::registers;
  explicit talkative_exporter(exporter_log& into) noexcept : log(&into) {}
  [[nodiscard]] result<storage_ptr> initial_storage() noexcept {
    if (log->refuse_allocation) {
      return fail(errc::out_of_memory, "test");
    }
    PADDOCK_TRY(own, allocate_device_memory(Kind));
    return own;
  }
  [[nodiscard]] result<void> pin() noexcept {
    ++log->pins;
    return log->refuse_pin ? result<void>(fail(errc::busy, "test")) : result<void>();
  }
  void unpin() noexcept { ++log->unpins; }
  [[nodiscard]] result<void> sync_for_device(const storage& bytes, direction) noexcept {
    ++log->syncs_for_device;
    synced = &bytes;
    return log->refuse_cpu ? result<void>(fail(errc::io, "test")) : result<void>();
  }
  [[nodiscard]] result<void> sync_for_cpu(const storage& bytes, direction) noexcept {
    ++log->syncs_for_cpu;
    synced = &bytes;
    return log->refuse_cpu ? result<void>(fail(errc::io, "test")) : result<void>();
  }
  [[nodiscard]] result<void> begin_cpu_access(access) noexcept {
    ++log->cpu_begins;
    return log->refuse_cpu ? result<void>(fail(errc::io, "test")) : result<void>();
  }
  [[nodiscard]] result<void> end_cpu_access(access) noexcept {
    ++log->cpu_ends;
    return log->refuse_end ? result<void>(fail(errc::io, "test")) : result<void>();
  }
  exporter_log* log;
  storage_ptr own;
  const storage* synced{nullptr};
};
using talkative = talkative_exporter<>;
using with_quiet = mixed_exporter<talkative, archetype_exporter, talkative>;
static_assert(pinning_exporter<with_quiet> && caching_exporter<with_quiet> && bracketing_exporter<with_quiet>);

struct two_logs {
  exporter_log first;
  exporter_log last;
  [[nodiscard]] with_quiet exporter() { return with_quiet(talkative(first), archetype_exporter(), talkative(last)); }
};

struct kernels_exporter : archetype_exporter {
  using residency = kernel_managed;
  static constexpr bool maps_by_address = false;
};

}  // namespace

TEST_CASE("a mixed buffer can what its parts can, and no more") {
  using plain = mixed_exporter<archetype_exporter, archetype_exporter>;
  static_assert(!pinning_exporter<plain> && !caching_exporter<plain> && !bracketing_exporter<plain>);
  static_assert(!bound_exporter<plain> && !relocating_exporter<plain> && !identified_exporter<plain>);
  static_assert(!register_exporter<plain> && plain::p2p == p2p_segments::never && !plain::revokes);
  static_assert(std::same_as<dma_buf<plain>::policies::residency, paddock::pinned>);
  static_assert(std::same_as<dma_buf<plain>::policies::route, paddock::prefer_p2p>);

  using revoked = mixed_exporter<archetype_exporter, revoking_test_exporter>;
  static_assert(revoked::revokes && revoked::p2p == p2p_segments::maybe);
  static_assert(std::same_as<dma_buf<revoked>::policies::residency, paddock::revocable>);
  static_assert(mixed_exporter<revoking_test_exporter, revoking_test_exporter>::p2p == p2p_segments::always);

  using kernels = mixed_exporter<archetype_exporter, kernels_exporter>;
  static_assert(!kernels::maps_by_address && plain::maps_by_address);
  static_assert(std::same_as<dma_buf<kernels>::policies::residency, paddock::kernel_managed>);

  using bells = mixed_exporter<archetype_exporter, talkative_exporter<storage_kind::registers>>;
  static_assert(register_exporter<bells>);
  static_assert(std::same_as<dma_buf<bells>::policies::route, paddock::p2p_only>);
}

TEST_CASE("a mixed buffer has the storage of its parts, or is not made") {
  two_logs logs;
  {
    auto buffer = dma_buf<with_quiet>::create(logs.exporter());
    REQUIRE(buffer);
    CHECK((*buffer)->size() == 3 * buffer_bytes);
    const resv_lock held = *(*buffer)->lock();
    const auto whole = *(*buffer)->storage(held);
    REQUIRE(whole->segments().size() == 3);
    CHECK(whole->segments()[0].address == (*buffer)->exporter().part<0>().own->segments()[0].address);
    CHECK(whole->segments()[2].address == (*buffer)->exporter().part<2>().own->segments()[0].address);
  }
  logs.last.refuse_allocation = true;
  CHECK(code_of(dma_buf<with_quiet>::create(logs.exporter())) == errc::out_of_memory);
}

TEST_CASE("a mixed buffer is pinned in all its parts or in none") {
  two_logs logs;
  auto buffer = *dma_buf<with_quiet>::create(logs.exporter());
  test_device engine;
  {
    attachment<dma_buf<with_quiet>, test_device> held;
    REQUIRE(held.attach(buffer, engine));
    CHECK((logs.first.pins == 1 && logs.last.pins == 1));
    CHECK((logs.first.unpins == 0 && logs.last.unpins == 0));
  }
  CHECK((logs.first.unpins == 1 && logs.last.unpins == 1));
  logs.last.refuse_pin = true;
  attachment<dma_buf<with_quiet>, test_device> refused;
  CHECK(code_of(refused.attach(buffer, engine)) == errc::busy);
  CHECK((logs.first.pins == 2 && logs.last.pins == 2));
  CHECK((logs.first.unpins == 2 && logs.last.unpins == 1));
  logs.last.refuse_pin = false;
  logs.first.refuse_pin = true;
  CHECK(code_of(refused.attach(buffer, engine)) == errc::busy);
  CHECK((logs.last.pins == 2 && logs.first.unpins == 2));
}

TEST_CASE("an access by CPU to a mixed buffer is bracketed in all its parts or in none") {
  two_logs logs;
  auto buffer = *dma_buf<with_quiet>::create(logs.exporter());
  // The bytes are not in a row, so the access itself is refused, after the brackets.
  CHECK(code_of(cpu_access<access::read>::begin(*buffer)) == errc::not_mappable);
  CHECK((logs.first.cpu_begins == 1 && logs.last.cpu_begins == 1));
  CHECK((logs.first.cpu_ends == 1 && logs.last.cpu_ends == 1));
  logs.last.refuse_cpu = true;
  CHECK(code_of(cpu_access<access::read>::begin(*buffer)) == errc::io);
  CHECK((logs.first.cpu_begins == 2 && logs.last.cpu_begins == 2));
  CHECK((logs.first.cpu_ends == 2 && logs.last.cpu_ends == 1));
  with_quiet alone = logs.exporter();
  logs.first.refuse_end = true;
  CHECK(code_of(alone.end_cpu_access(access::read)) == errc::io);
  CHECK((logs.first.cpu_ends == 3 && logs.last.cpu_ends == 2));
}

TEST_CASE("each part of a mixed buffer cares for the caches over its own bytes, and one of them over a copy") {
  two_logs logs;
  with_quiet from = logs.exporter();
  const auto whole = *from.initial_storage();
  REQUIRE(from.sync_for_device(*whole, direction::to_device));
  CHECK((logs.first.syncs_for_device == 1 && logs.last.syncs_for_device == 1));
  CHECK(from.part<0>().synced == from.part<0>().own.get());
  CHECK(from.part<2>().synced == from.part<2>().own.get());
  const auto shadow = *allocate_memory(3 * buffer_bytes);
  REQUIRE(from.sync_for_cpu(*shadow, direction::from_device));
  CHECK((logs.first.syncs_for_cpu == 1 && logs.last.syncs_for_cpu == 0));
  CHECK(from.part<0>().synced == shadow.get());
  logs.last.refuse_cpu = true;
  CHECK(code_of(from.sync_for_cpu(*whole, direction::from_device)) == errc::io);
}

}  // namespace paddock
