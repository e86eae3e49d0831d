// SPDX-License-Identifier: BSL-1.0
/// \file
/// Exporters and devices for the tests of the buffer room: the least that the concepts ask for, and some that count.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "policies.hpp"

namespace paddock::test {

inline constexpr std::uint64_t buffer_bytes = 4096;

/// Counts what its buffer asks of it; shared by the exporter, which moves into the buffer, and the test.
struct exporter_log {
  int pins{0};
  int unpins{0};
  int allocations{0};
  int syncs_for_device{0};
  int syncs_for_cpu{0};
  int cpu_begins{0};
  int cpu_ends{0};
  bool refuse_pin{false};
  bool refuse_allocation{false};
  bool refuse_cpu{false};
  bool refuse_end{false};
};

/// No more than an exporter must have.
struct archetype_exporter {
  static constexpr p2p_segments p2p = p2p_segments::never;
  static constexpr bool revokes = false;
  [[nodiscard]] result<storage_ptr> initial_storage() noexcept { return allocate_memory(buffer_bytes); }
};
static_assert(exporter<archetype_exporter> && !relocating_exporter<archetype_exporter> &&
              !pinning_exporter<archetype_exporter> && !caching_exporter<archetype_exporter> &&
              !bracketing_exporter<archetype_exporter> && !identified_exporter<archetype_exporter>);

/// What the kernel calls dynamic: it is told of pins.
struct pinning_test_exporter : archetype_exporter {
  explicit pinning_test_exporter(exporter_log& into) noexcept : log(&into) {}
  [[nodiscard]] result<void> pin() noexcept {
    ++log->pins;
    return log->refuse_pin ? result<void>(fail(errc::busy, "test")) : result<void>();
  }
  void unpin() noexcept { ++log->unpins; }
  exporter_log* log;
};
static_assert(pinning_exporter<pinning_test_exporter>);

/// Memory that says it is behind a BAR.
[[nodiscard]] inline result<storage_ptr> allocate_device_memory(
    storage_kind kind = storage_kind::device_memory) noexcept {
  PADDOCK_TRY(storage_ptr memory, allocate_memory(buffer_bytes));
  segment behind_bar = memory->segments().front();
  behind_bar.kind = kind;
  return make_storage(std::move(memory), behind_bar);
}

/// Two places: 0 is behind a BAR, 1 is system memory.
struct placing_test_exporter : pinning_test_exporter {
  static constexpr p2p_segments p2p = p2p_segments::maybe;
  using residency = chosen::movable;
  explicit placing_test_exporter(exporter_log& into, std::size_t first = 0) noexcept
      : pinning_test_exporter(into), initial(first) {}
  [[nodiscard]] std::size_t place_count() const noexcept { return 2; }
  [[nodiscard]] std::size_t initial_place() const noexcept { return initial; }
  [[nodiscard]] segment prototype(std::size_t where) const noexcept {
    segment s;
    s.kind = where == 0 ? storage_kind::device_memory : storage_kind::memory;
    s.length = buffer_bytes;
    return s;
  }
  [[nodiscard]] result<storage_ptr> allocate(std::size_t where) noexcept {
    ++log->allocations;
    if (log->refuse_allocation) {
      return fail(errc::out_of_memory, "test");
    }
    return where == 0 ? allocate_device_memory() : allocate_memory(buffer_bytes);
  }
  [[nodiscard]] result<storage_ptr> initial_storage() noexcept {
    return initial == 0 ? allocate_device_memory() : allocate_memory(buffer_bytes);
  }
  std::size_t initial;
};
static_assert(relocating_exporter<placing_test_exporter>);

/// Behind a BAR for good, and taken back now and then.
struct revoking_test_exporter {
  static constexpr p2p_segments p2p = p2p_segments::always;
  static constexpr bool revokes = true;
  using residency = chosen::revocable;
  storage_kind kind{storage_kind::device_memory};
  [[nodiscard]] result<storage_ptr> initial_storage() noexcept { return allocate_device_memory(kind); }
};
static_assert(exporter<revoking_test_exporter>);

/// A device that says what it reaches.
struct test_device {
  struct mapped {
    std::byte* bytes{nullptr};  ///< No reference of the storage: the mapping has one.
    [[nodiscard]] paddock::iova iova() const noexcept { return paddock::iova(reinterpret_cast<std::uintptr_t>(bytes)); }
  };
  using cache = chosen::coherent;

  [[nodiscard]] result<mapped> map(const storage_ptr& s, direction) noexcept {
    if (refuse_map) {
      return fail(errc::limit_reached, "test");
    }
    ++maps;
    return mapped{s->segments().front().address};
  }
  [[nodiscard]] result<void> unmap(mapped& m) noexcept {
    ++unmaps;
    m = {};
    return {};
  }
  [[nodiscard]] route_choice reach(const segment& where, direction) const noexcept {
    return where.kind == storage_kind::memory || reaches_bars ? route_choice{true, fallback::none, nullptr}
                                                              : route_choice{false, fallback::not_supported, nullptr};
  }
  bool reaches_bars{true};
  bool refuse_map{false};
  int maps{0};
  int unmaps{0};
};
static_assert(device<test_device> && reaching_device<test_device>);

/// The device's view of the bytes.
[[nodiscard]] inline std::byte* device_bytes(const mapping<test_device>& m) noexcept { return m.mapped().bytes; }

/// The least that a device must have.
struct archetype_device {
  struct mapped {};
  [[nodiscard]] result<mapped> map(const storage_ptr&, direction) noexcept { return mapped{}; }
  [[nodiscard]] result<void> unmap(mapped&) noexcept { return {}; }
};
static_assert(device<archetype_device> && !reaching_device<archetype_device>);

/// The code of an error; errc{} for what succeeded, so that a comparison with any code fails.
template <class T>
[[nodiscard]] errc code_of(const result<T>& r) noexcept {
  return r ? errc{} : r.error().code;
}

template <exporter E, class... Policies>
[[nodiscard]] buffer_ptr<dma_buf<E, Policies...>> make_buffer(E from) noexcept {
  return std::move(*dma_buf<E, Policies...>::create(std::move(from)));
}

}  // namespace paddock::test
