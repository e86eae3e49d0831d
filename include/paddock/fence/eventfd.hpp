// SPDX-License-Identifier: BSL-1.0
/// \file
/// `eventfd_callback`: the completion of a fence as an event of any event loop.
#pragma once

#include <unistd.h>

#include <cstdint>

#include <paddock/base/fd.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/fence/callback.hpp>

namespace PADDOCK_NAMESPACE {

/// A callback that adds one to an eventfd. Several may share one eventfd, whose reader then looks at all their fences.
/// Requires: the eventfd outlives the node. `fence.add_callback(node)` that says already_signaled writes nothing.
class eventfd_callback final : public fence_callback {
 public:
  explicit eventfd_callback(borrowed_fd event) noexcept : fence_callback(&run), event_(event) {}
  eventfd_callback(const eventfd_callback&) = delete;
  eventfd_callback& operator=(const eventfd_callback&) = delete;
  ~eventfd_callback() { retire(); }

 private:
  static void run(fence_callback& node, const fence_outcome&) noexcept {
    const std::uint64_t one = 1;
    // Fails only when the counter is at its limit, and the reader is woken by that as well.
    const int event = static_cast<eventfd_callback&>(node).event_.get();
    static_cast<void>(detail::retry<false>([&] { return ::write(event, &one, sizeof one); }));
  }
  borrowed_fd event_;
};

}  // namespace PADDOCK_NAMESPACE
