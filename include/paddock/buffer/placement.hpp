// SPDX-License-Identifier: BSL-1.0
/// \file
/// `placement_exporter`: a buffer that lives in one of several kinds of memory, and moves to where all who are attached
/// reach it.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <paddock/base/result.hpp>
#include <paddock/buffer/bound_buffer.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/policy/residency.hpp>

namespace PADDOCK_NAMESPACE {

/// Where storage comes from: system memory, a pool of a BAR's.
///
///     S::p2p, S::revokes     as an exporter's
///     s.prototype()          a segment such as it gives, for the question whether devices reach it
///     s.allocate(bytes)      storage of exactly that size, in whole pages. Called with the reservation held
///
/// `S::brackets_storage = true` says that it gives kernel dma-bufs, on which CPU access is bracketed.
template <class S>
concept storage_source = std::move_constructible<S> && requires(S& s, const S& seen, std::uint64_t bytes) {
  { S::p2p } -> std::convertible_to<p2p_segments>;
  { S::revokes } -> std::convertible_to<bool>;
  { seen.prototype() }
  noexcept->std::same_as<segment>;
  { s.allocate(bytes) }
  noexcept->std::same_as<result<storage_ptr>>;
};

/// Its storage may be taken back, by a device that is reset, say: it has to know the buffer. See bound_buffer, which is
/// the one of its place.
template <class S>
concept bound_source = storage_source<S> && requires(S& s, const bound_buffer& buffer) {
  { s.bound(buffer) }
  noexcept->std::same_as<result<void>>;
};

/// Its allocate() may fail with errc::busy where it would have to wait, for something that is taken before
/// reservations: wait_and_allocate() waits, and is what a buffer begins with, when nobody holds its reservation yet.
template <class S>
concept waiting_source = storage_source<S> && requires(S& s, std::uint64_t bytes) {
  { s.wait_and_allocate(bytes) }
  noexcept->std::same_as<result<storage_ptr>>;
};

namespace detail {

template <class S>
[[nodiscard]] consteval bool brackets_storage() noexcept {
  if constexpr (requires { S::brackets_storage; }) {
    return S::brackets_storage;
  } else {
    return false;
  }
}

}  // namespace detail

/// Memory of this process.
class memory_source {
 public:
  static constexpr p2p_segments p2p = p2p_segments::never;
  static constexpr bool revokes = false;

  [[nodiscard]] segment prototype() const noexcept { return {.kind = storage_kind::memory}; }
  /// Errors: as allocate_memory().
  [[nodiscard]] result<storage_ptr> allocate(std::uint64_t bytes) noexcept { return allocate_memory(bytes); }
};
static_assert(storage_source<memory_source>);

/// Places are the sources, in the order of preference: the buffer begins in the first one that has room. It moves when
/// somebody maps it who does not reach it where it is, to the first place with which all attachments are content, so
/// that the same attachments never move it twice. Where there is no such place it stays, and who does not reach it has
/// a copy (a bounce), or errc::unreachable, as that attachment's route policy says. last_move() of the buffer says
/// where it went and why. When a source takes its storage back while the bytes are there, the buffer is revoked;
/// restore() gives it fresh storage, of the first source that has some.
template <storage_source... Sources>
requires(sizeof...(Sources) > 0) class placement_exporter {
 public:
  using residency = movable;
  static constexpr p2p_segments p2p = p2p_of_all<Sources...>;
  static constexpr bool revokes = (Sources::revokes || ...);
  static constexpr bool brackets_storage = (detail::brackets_storage<Sources>() || ...);

  /// `bytes` are rounded up to whole pages.
  explicit placement_exporter(std::uint64_t bytes, Sources... sources) noexcept
      : bytes_(bytes > SIZE_MAX / 2 ? bytes : detail::round_up_to_page(bytes)), sources_(std::move(sources)...) {}

  /// Errors: those of the last source, when no source has room.
  [[nodiscard]] result<storage_ptr> initial_storage() noexcept {
    result<storage_ptr> made = fail(errc::unexpected, "placement_exporter");
    const auto has_room = [&](auto& source) {
      ++initial_;
      if constexpr (waiting_source<std::remove_reference_t<decltype(source)>>) {
        made = source.wait_and_allocate(bytes_);
      } else {
        made = source.allocate(bytes_);
      }
      return made.has_value();
    };
    initial_ = SIZE_MAX;
    std::apply([&](Sources&... each) { static_cast<void>((has_room(each) || ...)); }, sources_);
    return made;
  }
  [[nodiscard]] std::size_t place_count() const noexcept { return sizeof...(Sources); }
  [[nodiscard]] std::size_t initial_place() const noexcept { return initial_; }
  /// Requires: where < place_count(), as for allocate().
  [[nodiscard]] segment prototype(std::size_t where) const noexcept {
    return std::apply(
        [&](const Sources&... each) {
          std::array<segment, sizeof...(Sources)> all{each.prototype()...};
          all[where].length = bytes_;
          return all[where];
        },
        sources_);
  }
  /// Errors: those of the source.
  [[nodiscard]] result<storage_ptr> allocate(std::size_t where) noexcept {
    result<storage_ptr> made = fail(errc::invalid_argument, "placement_exporter: no such place");
    std::apply(
        [&](Sources&... each) {
          std::size_t index = 0;
          static_cast<void>(((index++ == where && (made = each.allocate(bytes_), true)) || ...));
        },
        sources_);
    return made;
  }

  /// For those of its sources that have to know the buffer; see bound_exporter.
  [[nodiscard]] result<void> bound(const bound_buffer& buffer) noexcept requires(bound_source<Sources> || ...) {
    result<void> done;
    const auto bind = [&](auto& source, std::size_t place) {
      if constexpr (bound_source<std::remove_reference_t<decltype(source)>>) {
        done = source.bound(buffer.at(place));
      }
      return done.has_value();
    };
    std::apply(
        [&](Sources&... each) {
          std::size_t place = 0;
          static_cast<void>((bind(each, place++) && ...));
        },
        sources_);
    return done;
  }
  /// A buffer that comes back gets storage that is there.
  [[nodiscard]] result<std::monostate> hold_storage() const noexcept requires(bound_source<Sources> || ...) {
    return std::monostate{};
  }

  /// A source, by its place.
  template <std::size_t Where>
  [[nodiscard]] auto& source() noexcept {
    return std::get<Where>(sources_);
  }

 private:
  std::uint64_t bytes_;
  std::size_t initial_{0};
  std::tuple<Sources...> sources_;
};
static_assert(relocating_exporter<placement_exporter<memory_source>> &&
              !bound_exporter<placement_exporter<memory_source>>);

}  // namespace PADDOCK_NAMESPACE
