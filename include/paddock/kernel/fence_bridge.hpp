// SPDX-License-Identifier: BSL-1.0
/// \file
/// `kernel::fence_bridge`: kernel fences, and events, as fences of this process. Kernel: epoll(7) over sync_files.
#pragma once

#include <sys/eventfd.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/fence/stub.hpp>
#include <paddock/fence/user_fence.hpp>
#include <paddock/kernel/bridge_core.hpp>
#include <paddock/kernel/sync_file.hpp>
#include <paddock/kernel/sync_file_fence.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// Makes fences of what the kernel signals. Somebody who waits for one sleeps at its descriptor himself; only for
/// callbacks, awaits and containers somebody else has to watch: a thread of the bridge's, which is there while
/// something is pending and 50 ms longer, or the caller's event loop, which then calls dispatch().
/// Callbacks run in whoever finds out: that thread, dispatch(), or a thread that waits for the fence or polls it. In
/// the thread of an event loop, a wait for a container, or by eventfd_wait, spin_wait or wait_any(), only ends at its
/// deadline: nobody dispatches meanwhile.
/// A handle: copies are the same bridge. When the last one went it goes on by a thread until nothing is pending, also
/// one for an event loop: the kernel has promised completion, and a fence that failed would say that the devices are
/// done. A forked child has no thread and makes bridges of its own; to one that it inherited nothing can be added.
/// Thread-safety: any thread.
class fence_bridge {
 public:
  /// One with a thread, which a shared object has once, and for ever. Errors: limit_reached, out_of_memory.
  [[nodiscard]] static result<fence_bridge> shared() noexcept {
    // Never destroyed, so that a process may exit at any time.
    alignas(result<fence_bridge>) static std::byte room[sizeof(result<fence_bridge>)];
    static const auto* const one = new (room) result<fence_bridge>(create());
    // What was lacking then may be there now; a forked child has its own.
    return *one && (*one)->core()->is_of_this_process() ? *one : create();
  }
  /// One with a thread of its own. Errors: limit_reached, out_of_memory.
  [[nodiscard]] static result<fence_bridge> create() noexcept { return make(true); }
  /// One for an event loop. Errors: limit_reached, out_of_memory.
  [[nodiscard]] static result<fence_bridge> for_event_loop() noexcept { return make(false); }

  /// Readable when dispatch() has something to do. For one without a thread.
  [[nodiscard]] borrowed_fd fd() const noexcept { return handle_->core->fd(); }
  /// Completes what is ready, at most 64 fences, without waiting; callbacks run here. Returns how many. Errors:
  /// those of epoll_wait; invalid_argument (a forked child).
  [[nodiscard]] result<std::size_t> dispatch() const noexcept {
    const boost::intrusive_ptr<detail::bridge_core> held = core();  // A callback may drop the bridge.
    return held->dispatch();
  }

  /// A fence that completes as the sync_file does, with its error and its time; a stub for one without descriptor.
  /// Where the kernel has promised completion, this keeps it: it may go into reservations, and back to the kernel
  /// (export_sync_file()). Errors: bad_fd (moved from), out_of_memory.
  [[nodiscard]] result<fence_ptr> import_(sync_file fences) const noexcept {
    return import_(std::move(fences), detail::allocate_context_ids(1), 1);
  }
  /// The same as a later fence of a context of the caller's, whose fences complete in their order.
  [[nodiscard]] result<fence_ptr> import_(sync_file fences, std::uint64_t context, std::uint64_t seqno) const noexcept {
    if (fences.is_already_signaled()) {
      return stub_fence();
    }
    if (!fences.fd().valid()) {
      return fail(errc::bad_fd, "fence_bridge::import_");
    }
    auto* const made = new (std::nothrow) detail::sync_file_fence(context, seqno, std::move(fences), handle_->core);
    if (made == nullptr) {
      return fail(errc::out_of_memory, "fence_bridge::import_");
    }
    return fence_ptr::adopt(made);
  }

  [[nodiscard]] const boost::intrusive_ptr<detail::bridge_core>& core() const noexcept { return handle_->core; }

 private:
  /// What all copies share: the last one takes a bridge from its event loop.
  struct handle {
    explicit handle(boost::intrusive_ptr<detail::bridge_core> of) noexcept : core(std::move(of)) {}
    handle(const handle&) = delete;
    handle& operator=(const handle&) = delete;
    ~handle() { core->leave_loop(); }
    friend void intrusive_ptr_add_ref(handle* held) noexcept { held->references.fetch_add(1); }
    friend void intrusive_ptr_release(handle* held) noexcept {
      if (held->references.fetch_sub(1) == 1) {
        delete held;
      }
    }
    const boost::intrusive_ptr<detail::bridge_core> core;
    std::atomic<std::uint32_t> references{0};
  };

  explicit fence_bridge(handle* made) noexcept : handle_(made) {}
  [[nodiscard]] static result<fence_bridge> make(bool own_thread) noexcept {
    PADDOCK_TRY(auto core, detail::bridge_core::create(own_thread));
    auto* const made = new (std::nothrow) handle(std::move(core));
    if (made == nullptr) {
      return fail(errc::out_of_memory, "fence_bridge::create");
    }
    return fence_bridge(made);
  }

  boost::intrusive_ptr<handle> handle_;
};

}  // namespace PADDOCK_NAMESPACE::kernel
