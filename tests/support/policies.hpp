// SPDX-License-Identifier: BSL-1.0
/// \file
/// Policies as a user would write them. Built with PADDOCK_TEST_FOREIGN_POLICIES, the tests of the buffer room use
/// these in place of paddock's: what they promise rests on the concepts, not on the names.
#pragma once

#include <paddock/fence/wait.hpp>
#include <paddock/policy/cache.hpp>
#include <paddock/policy/fencing.hpp>
#include <paddock/policy/residency.hpp>
#include <paddock/policy/route.hpp>
#include <paddock/policy/wait.hpp>

namespace foreign {

struct pinned {
  using axis = paddock::residency_axis;
  static constexpr bool may_move = false;
  static constexpr bool may_revoke = false;
};
struct movable {
  using axis = paddock::residency_axis;
  static constexpr bool may_move = true;
  static constexpr bool may_revoke = true;
};
struct revocable {
  using axis = paddock::residency_axis;
  static constexpr bool may_move = false;
  static constexpr bool may_revoke = true;
};
struct auto_fence {
  using axis = paddock::fencing_axis;
  static constexpr bool waits = true;
};
struct no_auto_fence {
  using axis = paddock::fencing_axis;
  static constexpr bool waits = false;
};
struct coherent {
  using axis = paddock::cache_axis;
  static constexpr bool maintains = false;
  static constexpr bool on_access = false;
};
struct sync_on_access {
  using axis = paddock::cache_axis;
  static constexpr bool maintains = true;
  static constexpr bool on_access = true;
};
struct sync_explicit {
  using axis = paddock::cache_axis;
  static constexpr bool maintains = true;
  static constexpr bool on_access = false;
};
struct prefer_p2p {
  using axis = paddock::route_axis;
  static constexpr bool tries_p2p = true;
  static constexpr bool falls_back = true;
};
struct p2p_only {
  using axis = paddock::route_axis;
  static constexpr bool tries_p2p = true;
  static constexpr bool falls_back = false;
};
struct system_only {
  using axis = paddock::route_axis;
  static constexpr bool tries_p2p = false;
  static constexpr bool falls_back = true;
};
/// Counts how often it was asked to wait, and waits as futex_wait.
struct spin_wait {
  using axis = paddock::wait_axis;
};
inline int waits = 0;
[[nodiscard]] inline paddock::result<paddock::wait_status> wait_for(paddock::fence& f, paddock::deadline until,
                                                                    spin_wait) noexcept {
  ++waits;
  return paddock::wait_for(f, until, paddock::futex_wait{});
}

}  // namespace foreign

/// In the innermost namespace of a test: which policies it is about; and, for what tests share, where they are from.
#if defined(PADDOCK_TEST_FOREIGN_POLICIES)
namespace chosen = foreign;
#define PADDOCK_TEST_POLICIES    \
  using foreign::no_auto_fence;  \
  using foreign::auto_fence;     \
  using foreign::pinned;         \
  using foreign::movable;        \
  using foreign::revocable;      \
  using foreign::p2p_only;       \
  using foreign::prefer_p2p;     \
  using foreign::spin_wait;      \
  using foreign::sync_explicit;  \
  using foreign::sync_on_access; \
  using foreign::system_only;
#else
namespace chosen = paddock;
#define PADDOCK_TEST_POLICIES
#endif
