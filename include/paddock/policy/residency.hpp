// SPDX-License-Identifier: BSL-1.0
/// \file
/// The residency axis: may the exporter move or take back the storage under a live mapping. Of a buffer it says what
/// the exporter does, of an attachment what the importer can bear.
#pragma once

#include <concepts>
#include <type_traits>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE {

/// Names the axis: what a policy says in `using axis = residency_axis;`.
struct residency_axis;

/// The storage stays while somebody is attached. The default.
struct pinned {
  using axis = residency_axis;
  static constexpr bool may_move = false;
  static constexpr bool may_revoke = false;
};
/// The storage may be moved, and taken back: the importer is told by on_invalidate, and maps anew.
struct movable {
  using axis = residency_axis;
  static constexpr bool may_move = true;
  static constexpr bool may_revoke = true;
};
/// The storage stays where it is, and may be taken back for good: the importer is told by on_revoke.
struct revocable {
  using axis = residency_axis;
  static constexpr bool may_move = false;
  static constexpr bool may_revoke = true;
};
/// The kernel decides, and tells nobody in userspace. The default of descriptors that are imported.
struct kernel_managed {
  using axis = residency_axis;
  static constexpr bool may_move = false;
  static constexpr bool may_revoke = false;
};

/// An empty type that names the residency axis and says what may happen; what may move may also be taken back.
template <class Policy>
concept residency_policy = std::is_empty_v<Policy> && std::same_as<typename Policy::axis, residency_axis> && requires {
  requires std::bool_constant<Policy::may_revoke || !Policy::may_move>::value;
};

}  // namespace PADDOCK_NAMESPACE
