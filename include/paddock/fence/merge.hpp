// SPDX-License-Identifier: BSL-1.0
/// \file
/// `for_each_leaf` and `merge`: what containers stand for, and one fence for many. Kernel: dma_fence_unwrap.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/result.hpp>
#include <paddock/fence/array.hpp>
#include <paddock/fence/chain.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/fence/stub.hpp>

namespace PADDOCK_NAMESPACE {

/// Calls `visit(fence&)` for each fence that is no container below `top`: the links of a chain, newest first, the
/// members of an array, or `top` itself; nothing for an empty pointer. A fence that stands there twice is visited
/// twice. Finished links are taken out of chains on the way, and not visited.
template <class Visit>
void for_each_leaf(fence_ptr top, Visit&& visit) {
  while (top) {
    fence_chain* const link = fence_chain::from(*top);
    fence& here = link != nullptr ? link->contained() : *top;
    if (here.is_container()) {
      fence_array* const array = fence_array::from(here);
      for (std::size_t i = 0; i < array->size(); ++i) {
        visit((*array)[i]);
      }
    } else {
      visit(here);
    }
    top = link != nullptr ? link->walk() : fence_ptr();
  }
}

/// One fence that completes when all of these have: without containers in containers, without those that are complete
/// (whose errors are forgotten), and of each context only the latest. Empty pointers count as complete.
/// Returns: a stub with the latest time seen when all are complete; the fence itself when one is left; else an array.
/// Errors: out_of_memory. Kernel: dma_fence_unwrap_merge.
[[nodiscard]] inline result<fence_ptr> merge(std::span<const fence_ptr> fences, place at = place::here()) noexcept {
  might_alloc(at);
  std::size_t most = 0;
  for (const fence_ptr& each : fences) {
    for_each_leaf(each, [&](fence&) { ++most; });
  }
  const std::unique_ptr<fence_ptr[]> leaves(new (std::nothrow) fence_ptr[most == 0 ? 1 : most]);
  if (leaves == nullptr) {
    return fail(errc::out_of_memory, "merge");
  }
  std::size_t count = 0;
  monotonic_clock::time_point latest{};
  const auto note = [&](fence& leaf) noexcept {
    if (leaf.is_signaled()) {
      latest = std::max(latest, leaf.timestamp());
    } else if (count < most) {
      leaves[count++] = fence_ptr(leaf);
    }
  };
  for (const fence_ptr& each : fences) {
    if (each && each->is_signaled()) {
      latest = std::max(latest, each->timestamp());
    }
    for_each_leaf(each, note);
  }
  // Of each context the latest. Numbers that wrap have no order that a sort could use, so it sorts by context alone.
  std::sort(leaves.get(), leaves.get() + count,
            [](const fence_ptr& a, const fence_ptr& b) { return a->context() < b->context(); });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (kept == 0 || leaves[kept - 1]->context() != leaves[i]->context()) {
      std::swap(leaves[kept++], leaves[i]);
    } else if (leaves[i]->is_later_than(*leaves[kept - 1])) {
      std::swap(leaves[kept - 1], leaves[i]);
    }
  }
  switch (kept) {
    case 0: return stub_fence(latest, at);
    case 1: return std::move(leaves[0]);
    default: return fence_array::create_from(std::span(leaves.get(), kept));
  }
}
[[nodiscard]] inline result<fence_ptr> merge(std::initializer_list<fence_ptr> fences,
                                             place at = place::here()) noexcept {
  return merge(std::span<const fence_ptr>(fences.begin(), fences.size()), at);
}

}  // namespace PADDOCK_NAMESPACE
