// SPDX-License-Identifier: BSL-1.0
/// \file
/// `mixed_exporter`: one buffer of several exporters' storage, such as a header in memory and its data in a BAR;
/// `storage_exporter`: a buffer of storage that is there already.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/bound_buffer.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/policy/residency.hpp>

namespace PADDOCK_NAMESPACE {

/// The segments of all parts, in this order, as one storage that keeps the parts.
/// Errors: invalid_argument (no parts, or an empty pointer), out_of_range (more than 64 bits), out_of_memory.
[[nodiscard]] inline result<storage_ptr> concatenate(std::span<const storage_ptr> parts,
                                                     place at = place::here()) noexcept {
  might_alloc(at);
  std::size_t count = 0;
  for (const storage_ptr& part : parts) {
    if (part == nullptr) {
      return fail(errc::invalid_argument, "concatenate: a part is no storage");
    }
    count += part->segments().size();
  }
  std::unique_ptr<storage_ptr[]> kept(new (std::nothrow) storage_ptr[parts.size()]);
  const std::unique_ptr<segment[]> all(new (std::nothrow) segment[count]);
  if (kept == nullptr || all == nullptr) {
    return fail(errc::out_of_memory, "concatenate");
  }
  std::ranges::copy(parts, kept.get());
  segment* next = all.get();
  for (const storage_ptr& part : parts) {
    next = std::ranges::copy(part->segments(), next).out;
  }
  return make_storage(std::move(kept), std::span<const segment>(all.get(), count), at);
}

/// Gives a buffer storage that is there already, such as that of concatenate(). `Revokes` is whether it may be taken
/// back, as a slice of a BAR is when its device is reset: whoever does so calls revoke() of the buffer first. false is
/// for those who know that it stays.
template <bool Revokes = true>
class storage_exporter {
 public:
  static constexpr p2p_segments p2p = p2p_segments::maybe;
  static constexpr bool revokes = Revokes;
  using residency = std::conditional_t<Revokes, revocable, pinned>;

  explicit storage_exporter(storage_ptr bytes) noexcept : bytes_(std::move(bytes)) {}

  /// Errors: invalid_argument (there is none).
  [[nodiscard]] result<storage_ptr> initial_storage() const noexcept {
    return bytes_ != nullptr ? result<storage_ptr>(bytes_) : fail(errc::invalid_argument, "storage_exporter");
  }

 private:
  storage_ptr bytes_;
};
static_assert(exporter<storage_exporter<>>);

namespace detail {

/// What keeps a part's storage there: nothing, where it stays anyway.
template <class Part>
class held_storage {
 public:
  [[nodiscard]] result<void> take(const Part&, bool) noexcept { return {}; }
};
template <bound_exporter Part>
class held_storage<Part> {
 public:
  [[nodiscard]] result<void> take(const Part& part, bool may_wait) noexcept {
    if constexpr (try_bound_exporter<Part>) {
      if (!may_wait) {
        PADDOCK_TRY(auto taken, part.try_hold_storage());
        stays_.emplace(std::move(taken));
        return {};
      }
    }
    PADDOCK_TRY(auto taken, part.hold_storage());
    stays_.emplace(std::move(taken));
    return {};
  }

 private:
  std::optional<typename decltype(std::declval<const Part&>().hold_storage())::value_type> stays_;
};

}  // namespace detail

/// Gives a buffer the storage of all its parts, in their order. Each part is an exporter, and stays one: when its
/// device takes its storage back the whole buffer is revoked, and comes back when all parts are there; pins, brackets
/// around CPU access and the care for caches go to the parts that have them. A mixed buffer stays where it is, and has
/// no identity in the kernel. With registers among the parts its attachments are p2p_only.
template <exporter... Parts>
requires(sizeof...(Parts) > 0) class mixed_exporter {
  static constexpr std::size_t bound_parts = (std::size_t{0} + ... + std::size_t{bound_exporter<Parts>});

  static_assert((!relocating_exporter<Parts> && ...),
                "paddock: the parts of a mixed buffer stay where they are; a placement_exporter is none");
  static_assert(bound_parts < 2 || ((!bound_exporter<Parts> || try_bound_exporter<Parts>)&&...),
                "paddock: where several parts of a mixed buffer know it, each has try_hold_storage()");

 public:
  static constexpr p2p_segments p2p = p2p_of_all<Parts...>;
  static constexpr bool revokes = (Parts::revokes || ...);
  static constexpr bool has_registers = (register_exporter<Parts> || ...);
  static constexpr bool maps_by_address = (detail::has_pinnable_pages<Parts>() && ...);
  using residency = std::conditional_t<
      revokes, revocable,
      std::conditional_t<(std::is_same_v<typename detail::residency_of<Parts>::type, kernel_managed> || ...),
                         kernel_managed, pinned>>;

  explicit mixed_exporter(Parts... parts) noexcept : parts_(std::move(parts)...) {}

  /// One of the parts, by its number.
  template <std::size_t Number>
  [[nodiscard]] auto& part() noexcept {
    return std::get<Number>(parts_);
  }

  /// Errors: those of the parts, and of concatenate().
  [[nodiscard]] result<storage_ptr> initial_storage() noexcept {
    PADDOCK_TRY_VOID(visit([&](auto& part, std::size_t number) noexcept -> result<void> {
      PADDOCK_TRY(bytes_[number], part.initial_storage());
      return {};
    }));
    PADDOCK_TRY(whole_, concatenate(bytes_));
    return whole_;
  }

  /// Called by dma_buf::create(). Errors: those of the parts.
  [[nodiscard]] result<void> bound(const bound_buffer& buffer) noexcept requires(bound_parts > 0) {
    return visit([&](auto& part, std::size_t) noexcept -> result<void> {
      if constexpr (bound_exporter<std::remove_cvref_t<decltype(part)>>) {
        return part.bound(buffer);
      } else {
        return {};
      }
    });
  }
  /// All parts are there, and stay there while what is returned lives. Called by dma_buf::restore(). Errors: those of
  /// the parts.
  [[nodiscard]] auto hold_storage() const noexcept requires(bound_parts > 0) {
    return hold(std::index_sequence_for<Parts...>());
  }

  /// All parts that are told of pins, or none. Errors: those of the parts.
  [[nodiscard]] result<void> pin() noexcept requires(pinning_exporter<Parts> || ...) {
    return visit_or_undo(
        [](auto& part) noexcept -> result<void> {
          if constexpr (pinning_exporter<std::remove_cvref_t<decltype(part)>>) {
            return part.pin();
          } else {
            return {};
          }
        },
        [](auto& part) noexcept { unpin(part); });
  }
  void unpin() noexcept requires(pinning_exporter<Parts> || ...) {
    static_cast<void>(visit([](auto& part, std::size_t) noexcept -> result<void> {
      unpin(part);
      return {};
    }));
  }

  /// Each part that has caches cares for its own bytes, and the first of them for a copy that a device works on.
  [[nodiscard]] result<void> sync_for_device(const storage& bytes, direction dir) noexcept
      requires(caching_exporter<Parts> || ...) {
    return sync(bytes, [dir](auto& part, const storage& own) noexcept { return part.sync_for_device(own, dir); });
  }
  [[nodiscard]] result<void> sync_for_cpu(const storage& bytes, direction dir) noexcept
      requires(caching_exporter<Parts> || ...) {
    return sync(bytes, [dir](auto& part, const storage& own) noexcept { return part.sync_for_cpu(own, dir); });
  }

  /// The brackets of all parts that have them, or none. Errors: those of the parts.
  [[nodiscard]] result<void> begin_cpu_access(access what) noexcept requires(bracketing_exporter<Parts> || ...) {
    return visit_or_undo(
        [what](auto& part) noexcept -> result<void> {
          if constexpr (bracketing_exporter<std::remove_cvref_t<decltype(part)>>) {
            return part.begin_cpu_access(what);
          } else {
            return {};
          }
        },
        [what](auto& part) noexcept { static_cast<void>(end_cpu_access(part, what)); });
  }
  /// Ends all of them. Errors: that of the first part that has one.
  [[nodiscard]] result<void> end_cpu_access(access what) noexcept requires(bracketing_exporter<Parts> || ...) {
    result<void> first;
    static_cast<void>(visit([&](auto& part, std::size_t) noexcept -> result<void> {
      if (auto ended = end_cpu_access(part, what); !ended && first) {
        first = ended;
      }
      return {};
    }));
    return first;
  }

 private:
  /// In their order, until one fails.
  template <class Visit>
  [[nodiscard]] result<void> visit(Visit each) noexcept {
    result<void> done;
    std::size_t number = 0;
    std::apply([&](Parts&... part) { static_cast<void>(((done = each(part, number++), done.has_value()) && ...)); },
               parts_);
    return done;
  }
  /// When one fails, those before it are undone.
  template <class Visit, class Undo>
  [[nodiscard]] result<void> visit_or_undo(Visit each, Undo undo) noexcept {
    std::size_t failed = 0;
    auto done = visit([&](auto& part, std::size_t number) noexcept {
      failed = number;
      return each(part);
    });
    if (!done) {
      static_cast<void>(visit([&](auto& part, std::size_t number) noexcept -> result<void> {
        if (number < failed) {
          undo(part);
        }
        return {};
      }));
    }
    return done;
  }

  template <class Part>
  static void unpin(Part& part) noexcept {
    if constexpr (pinning_exporter<Part>) {
      part.unpin();
    }
  }
  template <class Part>
  [[nodiscard]] static result<void> end_cpu_access(Part& part, access what) noexcept {
    if constexpr (bracketing_exporter<Part>) {
      return part.end_cpu_access(what);
    } else {
      return {};
    }
  }
  template <class Sync>
  [[nodiscard]] result<void> sync(const storage& bytes, Sync with) noexcept {
    const bool is_whole = &bytes == whole_.get();
    bool is_done = false;
    return visit([&](auto& part, std::size_t number) noexcept -> result<void> {
      if constexpr (caching_exporter<std::remove_cvref_t<decltype(part)>>) {
        if (!std::exchange(is_done, !is_whole)) {
          return with(part, is_whole ? *bytes_[number] : bytes);
        }
      }
      return {};
    });
  }

  /// Whoever waits for a part holds no other one, so that two buffers of the same devices do not wait for each other:
  /// the part that was not to be had is the one that is waited for the next time.
  template <std::size_t... Number>
  [[nodiscard]] result<std::tuple<detail::held_storage<Parts>...>> hold(std::index_sequence<Number...>) const noexcept {
    for (std::size_t awaited = 0;;) {
      std::tuple<detail::held_storage<Parts>...> all;
      std::size_t failed = awaited;
      result<void> held;
      const auto take = [&](auto& one, const auto& part, std::size_t number, bool now) {
        if ((number == awaited) == now) {
          failed = number;
          held = one.take(part, now);
        }
        return held.has_value();
      };
      if ((take(std::get<Number>(all), std::get<Number>(parts_), Number, true) && ...) &&
          (take(std::get<Number>(all), std::get<Number>(parts_), Number, false) && ...)) {
        return all;
      }
      if (failed == awaited || held.error() != errc::busy) {
        return fail(held.error());
      }
      awaited = failed;
    }
  }

  std::tuple<Parts...> parts_;
  std::array<storage_ptr, sizeof...(Parts)> bytes_;  ///< Of each part.
  storage_ptr whole_;
};

}  // namespace PADDOCK_NAMESPACE
