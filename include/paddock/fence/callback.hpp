// SPDX-License-Identifier: BSL-1.0
/// \file
/// `fence_callback`: an intrusive node that runs once when its fence completes.
#pragma once

#include <paddock/fence/core.hpp>
#include <paddock/fence/outcome.hpp>
#include <paddock/fence/traits.hpp>

namespace PADDOCK_NAMESPACE {

/// A node for one callback, owned by the caller, queued on at most one fence at a time. 32 bytes; neither copied nor
/// moved. The destructor removes the node; where the callback runs in another thread at that moment, it waits for the
/// end. A derived class whose callback uses members of its own calls retire() in its destructor: those members are gone
/// when this destructor runs. Inside the callback itself the node may be destroyed, or queued on another fence; with
/// the attempt to queue it elsewhere, removal from the old fence is given up.
///
/// Requires: the fence lives as long as the node may be queued on it: hold a reference beside the node, or know that
/// whoever signals does so until signal() returns. Kernel: as dma_fence_remove_callback.
class fence_callback : public detail::callback_node<detail::std_traits> {
 public:
  /// Called in the signaling thread, without any lock held. It must not block. Whatever else it needs, the fence
  /// included, stands in the object that the node is a base of.
  using function = void (*)(fence_callback&, const fence_outcome&) noexcept;

  explicit fence_callback(function run) noexcept : callback_node(run) {}
  fence_callback(const fence_callback&) = delete;
  fence_callback& operator=(const fence_callback&) = delete;
  fence_callback(fence_callback&&) = delete;
  fence_callback& operator=(fence_callback&&) = delete;
  ~fence_callback() { retire(); }

  /// Takes the node off whatever fence it is queued on, and waits where it runs in another thread; afterwards it does
  /// not run. Inside the callback itself it only says that the node is about to go.
  void retire() noexcept { callback_node::retire(); }
};

static_assert(sizeof(fence_callback) == 32);

}  // namespace PADDOCK_NAMESPACE
