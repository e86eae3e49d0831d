// SPDX-License-Identifier: BSL-1.0
/// \file
/// The fencing axis: does a map or a CPU access wait for the jobs that implicit sync makes it wait for.
#pragma once

#include <concepts>
#include <type_traits>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE {

/// Names the axis: what a policy says in `using axis = fencing_axis;`.
struct fencing_axis;

/// It waits: before a read for writers, before a write for everybody. The default.
struct auto_fence {
  using axis = fencing_axis;
  static constexpr bool waits = true;
};
/// It does not: the caller takes dependencies() and waits by CPU or lets the hardware wait.
struct no_auto_fence {
  using axis = fencing_axis;
  static constexpr bool waits = false;
};

/// An empty type that names the fencing axis and says whether it waits.
template <class Policy>
concept fencing_policy = std::is_empty_v<Policy> && std::same_as<typename Policy::axis, fencing_axis> && requires {
  std::bool_constant<Policy::waits>::value;
};

}  // namespace PADDOCK_NAMESPACE
