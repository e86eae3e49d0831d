// SPDX-License-Identifier: BSL-1.0
/// \file
/// From any list of policies to one policy an axis: all orders of a list are one type.
#pragma once

#include <concepts>
#include <type_traits>

#include <paddock/policy/cache.hpp>
#include <paddock/policy/fencing.hpp>
#include <paddock/policy/residency.hpp>
#include <paddock/policy/route.hpp>
#include <paddock/policy/wait.hpp>
#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE {

/// A model of one of the axes.
template <class Policy>
concept policy = residency_policy<Policy> || fencing_policy<Policy> || wait_policy<Policy> || cache_policy<Policy> ||
    route_policy<Policy>;

namespace detail {

/// The one of `Policies` that names `Axis`, or `Default`.
template <class Axis, class Default, class... Policies>
struct chosen {
  using type = Default;
};
template <class Axis, class Default, class First, class... Rest>
struct chosen<Axis, Default, First, Rest...> {
  using type = typename std::conditional_t<std::same_as<typename First::axis, Axis>, std::type_identity<First>,
                                           chosen<Axis, Default, Rest...>>::type;
};
template <class Axis, class Default, class... Policies>
using chosen_t = typename chosen<Axis, Default, Policies...>::type;

template <class Axis, class... Policies>
inline constexpr unsigned named = (0U + ... + (std::same_as<typename Policies::axis, Axis> ? 1U : 0U));

/// One policy an axis, in a fixed order.
template <residency_policy Residency, fencing_policy Fencing, wait_policy Wait, cache_policy Cache, route_policy Route>
struct policy_set {
  using residency = Residency;
  using fencing = Fencing;
  using wait = Wait;
  using cache = Cache;
  using route = Route;
};

/// What `Policies` say, and `Defaults`, a policy_set, where they say nothing.
template <class Defaults, class... Policies>
struct select {
  static_assert(
      (policy<Policies> && ...),
      "paddock: each policy is an empty type that names its axis, such as movable, no_auto_fence or p2p_only");
  static_assert(named<residency_axis, Policies...> <= 1 && named<fencing_axis, Policies...> <= 1 &&
                    named<wait_axis, Policies...> <= 1 && named<cache_axis, Policies...> <= 1 &&
                    named<route_axis, Policies...> <= 1,
                "paddock: at most one policy an axis");
  using type = policy_set<chosen_t<residency_axis, typename Defaults::residency, Policies...>,
                          chosen_t<fencing_axis, typename Defaults::fencing, Policies...>,
                          chosen_t<wait_axis, typename Defaults::wait, Policies...>,
                          chosen_t<cache_axis, typename Defaults::cache, Policies...>,
                          chosen_t<route_axis, typename Defaults::route, Policies...>>;
};
template <class Defaults, class... Policies>
using selection = typename select<Defaults, Policies...>::type;

using default_policies = policy_set<pinned, auto_fence, hybrid_wait, sync_on_access, prefer_p2p>;

}  // namespace detail
}  // namespace PADDOCK_NAMESPACE
