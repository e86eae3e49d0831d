// SPDX-License-Identifier: BSL-1.0
/// \file
/// The concept `mover`: who copies the bytes when a buffer moves. `cpu_mover` is there for those without an engine.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <paddock/base/mmio.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/mmio_copy.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/fence/stub.hpp>

namespace PADDOCK_NAMESPACE {

/// Begins to copy all bytes of one storage to another of the same size, and gives the fence of that: a DMA engine, an
/// NVMe, or cpu_mover. Called with the reservation held; every job on the bytes has ended. Both storages live until the
/// fence completes. An error means that nothing was begun.
template <class M>
concept mover = requires(M& m, const storage& to, const storage& from) {
  { m.copy(to, from) } -> std::same_as<result<fence_ptr>>;
};

/// Copies by CPU, at once: memory as memory, BARs by accesses of fixed width. Slow from a BAR, whose reads are not
/// cached. Thread-safety: any thread.
class cpu_mover {
 public:
  /// Errors: not_mappable (a segment without an address, or registers); invalid_argument (the sizes differ).
  [[nodiscard]] result<fence_ptr> copy(const storage& to, const storage& from) const noexcept {
    if (to.size() != from.size()) {
      return fail(errc::invalid_argument, "cpu_mover::copy: sizes differ");
    }
    // Before the first byte is copied.
    PADDOCK_TRY_VOID(check(to));
    PADDOCK_TRY_VOID(check(from));
    const segment* target = to.segments().data();
    std::uint64_t written = 0;
    for (const segment& source : from.segments()) {
      for (std::uint64_t read = 0; read < source.length;) {
        if (written == target->length) {
          ++target;
          written = 0;
        }
        const std::uint64_t length = std::min(source.length - read, target->length - written);
        PADDOCK_TRY_VOID(copy(*target, written, source, read, static_cast<std::size_t>(length)));
        read += length;
        written += length;
      }
    }
    flush_write_combining();
    return stub_fence();
  }

 private:
  [[nodiscard]] static result<void> check(const storage& s) noexcept {
    for (const segment& each : s.segments()) {
      if (each.address == nullptr || each.kind == storage_kind::registers) {
        return fail(errc::not_mappable, "cpu_mover::copy");
      }
    }
    return {};
  }
  [[nodiscard]] static result<void> copy(const segment& to, std::uint64_t to_offset, const segment& from,
                                         std::uint64_t from_offset, std::size_t length) noexcept {
    std::byte* const target = to.address + to_offset;
    std::byte* const source = from.address + from_offset;
    if (to.kind == storage_kind::memory && from.kind == storage_kind::memory) {
      std::memcpy(target, source, length);
      return {};
    }
    if (to.kind == storage_kind::memory) {
      return copy_from_device(std::span(target, length), mmio_span(source, length));
    }
    if (from.kind == storage_kind::memory) {
      return copy_to_device(mmio_span(target, length), std::span<const std::byte>(source, length));
    }
    return copy_device_to_device(mmio_span(target, length), mmio_span(source, length));
  }
};

namespace detail {

/// Any mover, without its type. It must outlive whoever uses this.
class mover_ref {
 public:
  template <mover M>
  explicit mover_ref(M& m) noexcept
      : object_(&m), copy_([](void* object, const storage& to, const storage& from) noexcept {
          return static_cast<M*>(object)->copy(to, from);
        }) {}

  [[nodiscard]] result<fence_ptr> copy(const storage& to, const storage& from) const noexcept {
    return copy_(object_, to, from);
  }

  [[nodiscard]] static mover_ref by_cpu() noexcept {
    static cpu_mover one;
    return mover_ref(one);
  }

 private:
  void* object_;
  result<fence_ptr> (*copy_)(void*, const storage&, const storage&) noexcept;
};

}  // namespace detail
}  // namespace PADDOCK_NAMESPACE
