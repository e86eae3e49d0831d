// SPDX-License-Identifier: BSL-1.0
/// \file
/// Fences that are complete from the start, for interfaces that want a fence where there is nothing to wait for.
#pragma once

#include <new>

#include <paddock/base/checking.hpp>
#include <paddock/base/result.hpp>
#include <paddock/fence/fence.hpp>

namespace PADDOCK_NAMESPACE {

namespace detail {

/// Context 0 is that of fences without a timeline, as in the kernel.
class stub final : public fence {
 public:
  explicit stub(fence_outcome outcome, const fence_ops* ops = nullptr) noexcept
      : fence(parts{0, 0, "stub", ops, nullptr, 0}, outcome) {}

  static void release(fence& f) noexcept { delete static_cast<stub*>(&f); }
};

}  // namespace detail

/// The fence that has always been signaled: one a shared object, without a timestamp. Never fails.
/// Kernel: dma_fence_get_stub.
[[nodiscard]] inline fence_ptr stub_fence() noexcept {
  static detail::stub always(fence_outcome{});
  return fence_ptr(always);
}

/// A fence of its own that completed then, so: for work that was done before anybody asked.
/// Errors: out_of_memory. Kernel: dma_fence_allocate_private_stub.
[[nodiscard]] inline result<fence_ptr> stub_fence(fence_outcome outcome, place at = place::here()) noexcept {
  might_alloc(at);
  static constexpr fence_ops operations{.release = &detail::stub::release};
  auto* const made = new (std::nothrow) detail::stub(outcome, &operations);
  if (made == nullptr) {
    return fail(errc::out_of_memory, "stub_fence");
  }
  return fence_ptr::adopt(made);
}
[[nodiscard]] inline result<fence_ptr> stub_fence(monotonic_clock::time_point when, place at = place::here()) noexcept {
  return stub_fence(fence_outcome{0, when}, at);
}

}  // namespace PADDOCK_NAMESPACE
