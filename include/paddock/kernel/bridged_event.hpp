// SPDX-License-Identifier: BSL-1.0
/// \file
/// `kernel::bridged_event`: an eventfd, such as a VFIO interrupt's or a syncobj point's, as a completion.
#pragma once

#include <sys/epoll.h>
#include <sys/uio.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <new>
#include <utility>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/fence/user_fence.hpp>
#include <paddock/kernel/bridge_core.hpp>
#include <paddock/kernel/fence_bridge.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// Watches an eventfd until it was written to once. Nobody has promised that: it is a user_fence, which bounded() makes
/// a fence of. An interrupt tells that a completion queue has entries, not that some job is done: who walks the queue
/// signals the jobs' fences. Dropped, or taken back by cancel(), it fails with ECANCELED.
/// Thread-safety: as a value; the fence, and cancel(), from any thread.
class bridged_event {
 public:
  /// The eventfd's count is taken when it completes. Errors: bad_fd, limit_reached, out_of_memory, permission (a file
  /// that cannot be waited for).
  [[nodiscard]] static result<bridged_event> watch(const fence_bridge& bridge, unique_fd event) noexcept {
    PADDOCK_TRY(user_fence completes, user_fence::create("eventfd"));
    auto* const made = new (std::nothrow) entry(bridge.core(), std::move(event), std::move(completes));
    if (made == nullptr) {
      return fail(errc::out_of_memory, "bridged_event::watch");
    }
    bridged_event watched(made);
    made->get();  // The bridge's.
    if (const auto added = made->core->add(*made, made->event); !added) {
      made->put();
      return fail(added.error());
    }
    return watched;
  }
  bridged_event(bridged_event&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
  bridged_event& operator=(bridged_event&& other) noexcept {
    if (this != &other) {
      drop();
      entry_ = std::exchange(other.entry_, nullptr);
    }
    return *this;
  }
  ~bridged_event() { drop(); }

  // Requires: not moved from.
  [[nodiscard]] const user_fence& fence() const noexcept { return entry_->fence; }
  /// Ends it with this error, unless it was complete.
  void cancel(int sys_errno = ECANCELED) const noexcept { entry_->cancel(sys_errno); }

 private:
  struct entry final : detail::bridged {
    entry(boost::intrusive_ptr<detail::bridge_core> by, unique_fd from, user_fence completes) noexcept
        : core(std::move(by)), event(std::move(from)), fence(std::move(completes)) {}

    void ready(std::uint32_t events) noexcept override {
      if ((events & EPOLLERR) != 0) {
        fence.fail(EIO);
      } else if ((events & EPOLLIN) == 0) {
        fence.fail(ECANCELED);  // Nobody can watch it.
      } else {
        // Somebody else may have taken it already, and the eventfd be one that would wait for more.
        std::uint64_t count = 0;
        iovec into{&count, sizeof count};
        static_cast<void>(detail::retry<false>([&] { return ::preadv2(event.get(), &into, 1, -1, RWF_NOWAIT); }));
        fence.signal();
      }
      put();
    }
    void cancel(int sys_errno) noexcept {
      const bool was_watched = core->remove(*this);
      fence.fail(sys_errno);
      if (was_watched) {
        put();
      }
    }
    void get() noexcept { references.fetch_add(1); }
    void put() noexcept {
      if (references.fetch_sub(1) == 1) {
#ifndef __clang_analyzer__  // It does not follow the count.
        delete this;
#endif
      }
    }

    const boost::intrusive_ptr<detail::bridge_core> core;
    const unique_fd event;
    const user_fence fence;
    std::atomic<std::uint32_t> references{1};
  };

  explicit bridged_event(entry* made) noexcept : entry_(made) {}
  void drop() noexcept {
    if (entry* const gone = std::exchange(entry_, nullptr); gone != nullptr) {
      gone->cancel(ECANCELED);
      gone->put();
    }
  }

  entry* entry_;
};

}  // namespace PADDOCK_NAMESPACE::kernel
