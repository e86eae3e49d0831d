// SPDX-License-Identifier: BSL-1.0
/// \file
/// The P2P route axis: whether devices talk directly, and what happens where they cannot. Tags and the concept; the
/// code is in buffer/route_choice.hpp.
#pragma once

#include <concepts>
#include <type_traits>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE {

/// Names the axis: what a policy says in `using axis = route_axis;`.
struct route_axis;

/// Directly where a route is certain, else through system memory; each fallback is counted and says why. The default.
struct prefer_p2p {
  using axis = route_axis;
  static constexpr bool tries_p2p = true;
  static constexpr bool falls_back = true;
};
/// Directly, or errc::unreachable.
struct p2p_only {
  using axis = route_axis;
  static constexpr bool tries_p2p = true;
  static constexpr bool falls_back = false;
};
/// Through system memory, whatever the routes are.
struct system_only {
  using axis = route_axis;
  static constexpr bool tries_p2p = false;
  static constexpr bool falls_back = true;
};

/// An empty type that names the route axis and says what it tries; one that does neither does not compile.
template <class Policy>
concept route_policy = std::is_empty_v<Policy> && std::same_as<typename Policy::axis, route_axis> && requires {
  requires std::bool_constant<Policy::tries_p2p>::value || std::bool_constant<Policy::falls_back>::value;
};

}  // namespace PADDOCK_NAMESPACE
