// SPDX-License-Identifier: BSL-1.0
/// \file
/// `kernel::implicit_sync`: the fences that the kernel keeps for a dma-buf, and those of this process, brought
/// together. Kernel: DMA_BUF_IOCTL_EXPORT_SYNC_FILE, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, since 6.0.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/fence/stub.hpp>
#include <paddock/fence/wait.hpp>
#include <paddock/kernel/dma_buf_ref.hpp>
#include <paddock/kernel/fence_bridge.hpp>
#include <paddock/kernel/sync_file_fence.hpp>
#include <paddock/resv/reservation.hpp>
#include <paddock/resv/snapshot.hpp>
#include <paddock/resv/usage.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// A dma-buf's implicit fences. Everything here is a snapshot: what another process adds between two calls is not
/// seen, nor is a job that starts between export and import kept from running. Who shares a buffer with others agrees
/// with them on whose turn it is, as before; in this process a reservation orders.
/// Requires: the buffer's FD outlives it. Thread-safety: all calls from any thread.
class implicit_sync {
 public:
  implicit_sync(const dma_buf_ref& buffer, fence_bridge bridge) noexcept
      : buffer_(buffer), bridge_(std::move(bridge)) {}
  implicit_sync(const implicit_sync&) = delete;
  implicit_sync& operator=(const implicit_sync&) = delete;

  /// What a job with this access has to wait for: the writers before it reads; everybody before it writes. A stub when
  /// that is nobody. Errors: unsupported_by_kernel, bad_fd, limit_reached, out_of_memory.
  [[nodiscard]] result<fence_ptr> export_(access how) noexcept {
    // Taken first: of two that overlap the later number must not be the earlier snapshot.
    const std::uint64_t seqno = next_.fetch_add(1);
    PADDOCK_TRY(sync_file fences, buffer_.export_sync_file(how));
    PADDOCK_TRY(const sync_status now, fences.status());
    return now == sync_status::pending ? bridge_.import_(std::move(fences), contexts_ + (writes(how) ? 1U : 0U), seqno)
                                       : stub_fence();
  }
  /// The kernel's other users wait for this job from here on. Errors: not_exportable, and then nothing was added: see
  /// export_sync_file(); unsupported_by_kernel, bad_fd, limit_reached, out_of_memory.
  [[nodiscard]] result<void> import_(const fence_ptr& job, access how) const noexcept {
    PADDOCK_TRY(const sync_file fences, export_sync_file(job));
    return fences.is_already_signaled() ? result<void>() : buffer_.import_sync_file(fences, how);
  }

  /// Adds what the kernel keeps to the reservation: jobs of this process wait for it then. What an earlier call added
  /// is replaced. Errors: wrong_lock; as export_().
  [[nodiscard]] result<void> pull(const resv_lock& held, reservation& into) noexcept {
    PADDOCK_TRY_VOID(into.reserve(held, 2));
    // The kernel says who writes, and who uses it at all; readers are among the latter.
    PADDOCK_TRY(fence_ptr writers, export_(access::read));
    PADDOCK_TRY(fence_ptr all, export_(access::write));
    if (!writers->is_signaled()) {
      PADDOCK_TRY_VOID(into.add(held, std::move(writers), usage::write));
    }
    return all->is_signaled() ? result<void>() : into.add(held, std::move(all), usage::read);
  }
  /// Gives the kernel what the reservation keeps of readers and writers: all of it, or, when something is not
  /// exportable, nothing. Errors: wrong_lock, not_exportable; as import_().
  [[nodiscard]] result<void> push(const resv_lock& held, const reservation& from) const noexcept {
    PADDOCK_TRY(const sync_file writers, export_usages(held, from, usage::kernel, usage::write));
    PADDOCK_TRY(const sync_file readers, export_usages(held, from, usage::read, usage::read));
    if (!writers.is_already_signaled()) {
      PADDOCK_TRY_VOID(buffer_.import_sync_file(writers, access::write));
    }
    return readers.is_already_signaled() ? result<void>() : buffer_.import_sync_file(readers, access::read);
  }
  /// Before the FD leaves the process: waits for what only this process can signal, and gives the kernel the rest.
  /// Returns signaled or timed_out, and then the kernel was given nothing. Requires: the caller does not have the lock.
  /// Errors: as push() and reservation::lock().
  [[nodiscard]] result<wait_status> flush_implicit(reservation& from, deadline until) const noexcept {
    for (;;) {
      PADDOCK_TRY(const fence_snapshot pending, from.snapshot(usage::read));
      for (const fence_ptr& each : pending) {
        if (!each->is_kernel_backed()) {
          PADDOCK_TRY(const wait_status ended, wait(*each, until));
          if (ended == wait_status::timed_out) {
            return ended;
          }
        }
      }
      PADDOCK_TRY(const resv_lock held, from.lock(until));
      const result<void> pushed = push(held, from);
      if (pushed) {
        return wait_status::signaled;
      }
      if (pushed.error() != errc::not_exportable) {  // Else somebody was faster, and is waited for.
        return fail(pushed.error());
      }
    }
  }

  [[nodiscard]] const dma_buf_ref& buffer() const noexcept { return buffer_; }

 private:
  [[nodiscard]] static result<sync_file> export_usages(const resv_lock& held, const reservation& from, usage first,
                                                       usage last) noexcept {
    result<sync_file> merged = sync_file::already_signaled();
    PADDOCK_TRY_VOID(from.for_each(held, last, [&](fence& each, usage as) noexcept {
      if (as >= first && !each.is_signaled()) {
        merge_into(merged, each);
      }
      return merged.has_value();
    }));
    return merged;
  }
  static void merge_into(result<sync_file>& merged, fence& next) noexcept {
    auto one = export_sync_file(fence_ptr(next));
    auto both = one ? sync_file::merge(*merged, *one) : std::move(one);
    if (both) {
      *merged = std::move(*both);
    } else {
      merged = fail(both.error());
    }
  }

  dma_buf_ref buffer_;
  fence_bridge bridge_;
  /// What the kernel drops of a buffer's fences is done, so that a later snapshot stands for an earlier one.
  const std::uint64_t contexts_{detail::allocate_context_ids(2)};
  std::atomic<std::uint64_t> next_{1};
};

}  // namespace PADDOCK_NAMESPACE::kernel
