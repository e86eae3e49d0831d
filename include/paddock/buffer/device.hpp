// SPDX-License-Identifier: BSL-1.0
/// \file
/// The concept `device`: who uses a buffer, and how it makes storage its own.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/route_choice.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/policy/cache.hpp>

namespace PADDOCK_NAMESPACE {

/// What every importer has.
///
///     D::mapped         what storage is to it: a DMA address, a handle, a span. Movable; ends by unmap(), or with its
///                       destructor
///     d.map(s, dir)     makes the storage its own. It may keep a reference of it, and need not: the mapping has one
///     d.unmap(m)        the opposite. After a revocation m stays for as long as its user's handle: what it reserves
///                       still, such as addresses, is given to nobody else until then
///
/// Both are called with the reservation held when the attachment may be moved or revoked, so they take none themselves.
/// Optional: `using cache = coherent;` for a device that looks into the CPU's caches, on which other cache policies do
/// not compile; `maps_by_address = true` for one that is given pages by their address and pins them, as VFIO does:
/// exporters whose pages cannot be pinned do not compile with it; `reach()`, below. Kernel: struct device,
/// dma_map_sgtable, dma_unmap_sgtable.
template <class D>
concept device = std::movable<typename D::mapped> && std::default_initializable<typename D::mapped> &&
    requires(D& d, const storage_ptr& s, direction dir, typename D::mapped& m) {
  { d.map(s, dir) } -> std::same_as<result<typename D::mapped>>;
  { d.unmap(m) } -> std::same_as<result<void>>;
};

/// It knows which storage it reaches. One that does not is taken to reach system memory, and nothing behind a BAR.
template <class D>
concept reaching_device = device<D> && requires(const D& d, const segment& where, direction dir) {
  { d.reach(where, dir) }
  noexcept->std::same_as<route_choice>;
};

/// It has a name for people, which describe() prints.
template <class D>
concept named_device = device<D> && requires(const D& d) {
  { d.name() } -> std::convertible_to<std::string>;
};

namespace detail {

template <class D>
[[nodiscard]] consteval bool pins_pages() noexcept {
  if constexpr (requires { D::maps_by_address; }) {
    return D::maps_by_address;
  } else {
    return false;
  }
}

/// Whether its mappings may go at any time without that anybody has to be told.
template <class D>
[[nodiscard]] consteval bool yields_mappings() noexcept {
  if constexpr (requires { D::unmaps_on_revoke; }) {
    return D::unmaps_on_revoke;
  } else {
    return false;
  }
}

template <class D, class Default>
struct cache_of {
  using type = Default;
  static constexpr bool is_given = false;
};
template <class D, class Default>
requires requires { typename D::cache; }
struct cache_of<D, Default> {
  using type = typename D::cache;
  static constexpr bool is_given = true;
};

/// Whether the device reaches a segment.
template <device D>
[[nodiscard]] route_choice reach_of(const D& d, const segment& where, direction dir) noexcept {
  if constexpr (reaching_device<D>) {
    return d.reach(where, dir);
  } else {
    return where.kind == storage_kind::memory ? route_choice{true, fallback::none, nullptr}
                                              : route_choice{false, fallback::no_route, nullptr};
  }
}
/// Whether it reaches all of them; the first that it does not is the reason.
template <device D>
[[nodiscard]] route_choice reach_of(const D& d, std::span<const segment> all, direction dir) noexcept {
  for (const segment& each : all) {
    if (const route_choice way = reach_of(d, each, dir); !way.direct) {
      return way;
    }
  }
  return {true, fallback::none, nullptr};
}

/// What a job does that DMA goes that way for.
[[nodiscard]] constexpr access access_by(direction dir) noexcept {
  switch (dir) {
    case direction::to_device: return access::read;
    case direction::from_device: return access::write;
    case direction::bidirectional: break;
  }
  return access::read_write;
}

}  // namespace detail
}  // namespace PADDOCK_NAMESPACE
