// SPDX-License-Identifier: BSL-1.0
/// \file
/// The cache axis: when the CPU's caches are written back or emptied for a device that does not look into them. Apart
/// from fencing: it orders nothing and waits for nobody.
#pragma once

#include <concepts>
#include <type_traits>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE {

/// Names the axis: what a policy says in `using axis = cache_axis;`.
struct cache_axis;

/// At map and at CPU access, as far as the other side has touched the bytes since. The default.
struct sync_on_access {
  using axis = cache_axis;
  static constexpr bool maintains = true;
  static constexpr bool on_access = true;
};
/// When sync_for_device() and sync_for_cpu() are called.
struct sync_explicit {
  using axis = cache_axis;
  static constexpr bool maintains = true;
  static constexpr bool on_access = false;
};
/// Never: the device sees what the CPU sees. The default of devices that say so, such as all of VFIO.
struct coherent {
  using axis = cache_axis;
  static constexpr bool maintains = false;
  static constexpr bool on_access = false;
};

/// An empty type that names the cache axis and says when it acts; what acts on access also maintains.
template <class Policy>
concept cache_policy = std::is_empty_v<Policy> && std::same_as<typename Policy::axis, cache_axis> && requires {
  requires std::bool_constant<Policy::maintains || !Policy::on_access>::value;
};

}  // namespace PADDOCK_NAMESPACE
