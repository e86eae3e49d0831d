// SPDX-License-Identifier: BSL-1.0
/// \file
/// The wait axis: how a thread waits for a fence. Tags and the concept; the code is in fence/wait.hpp.
#pragma once

#include <concepts>
#include <type_traits>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE {

/// Names the axis: what a policy says in `using axis = wait_axis;`.
struct wait_axis;

/// Spins for about as long as a wake-up costs, then sleeps. The default.
struct hybrid_wait {
  using axis = wait_axis;
};
/// Never sleeps: for a thread that owns its core.
struct spin_wait {
  using axis = wait_axis;
};
/// Sleeps at once.
struct futex_wait {
  using axis = wait_axis;
};
/// Sleeps in poll(2) on an eventfd, as a thread with other descriptors to watch would.
struct eventfd_wait {
  using axis = wait_axis;
};
/// Drives fence::poll(): for run-to-completion threads, which must themselves signal what they wait for. It does not
/// ask the source to signal, so the source needs a poll operation, or signals anyway.
struct polling_wait {
  using axis = wait_axis;
};

/// An empty type that names the wait axis. A policy of your own also overloads
/// `result<wait_status> wait_for(fence&, deadline, your_policy)` where argument-dependent lookup finds it.
template <class Policy>
concept wait_policy = std::is_empty_v<Policy> && std::same_as<typename Policy::axis, wait_axis>;

}  // namespace PADDOCK_NAMESPACE
