// SPDX-License-Identifier: BSL-1.0
/// \file
/// A stand-in for the kernel's dma_fence: the same fields, and for each operation the same sequence of locks and locked
/// instructions as Linux 7.2 (drivers/dma-buf/dma-fence.c), without the interrupts, which userspace cannot switch off.
/// Adding: lock, test-and-set of "signaling is enabled". Signaling: lock, test-and-set of "signaled", set of "has a
/// timestamp"; the callbacks run under the lock, so that a remover, who takes it, knows them to be over.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include <paddock/base/time.hpp>

#include "called.hpp"
#include "futex.hpp"
#include "list.hpp"
#include "spinlock.hpp"

namespace paddock::bench {

template <bool Clock>
class kernel_steps {
 public:
  struct node : list_node {
    void (*run)(node&) noexcept = [](node&) noexcept { count_call{}(); };
  };

  explicit kernel_steps(std::uint64_t context = 1, std::uint64_t seqno = 1) noexcept
      : context_(context), seqno_(seqno) {}

  [[nodiscard]] bool is_signaled() const noexcept { return (flags_.load(std::memory_order_acquire) & signaled) != 0; }
  void signal() noexcept {
    const std::int64_t now = Clock ? monotonic_clock::now().time_since_epoch().count() : 1;
    const std::scoped_lock guard(lock_);
    if ((flags_.fetch_or(signaled) & signaled) != 0) {
      return;
    }
    timestamp_ = now;
    flags_.fetch_or(has_timestamp);
    while (!callbacks_.alone()) {
      node& first = static_cast<node&>(*callbacks_.next);
      first.unlink();
      first.run(first);
    }
  }
  bool add(node& added) noexcept {
    if (is_signaled()) {
      return false;
    }
    const std::scoped_lock guard(lock_);
    flags_.fetch_or(enabled);  // Would call ops->enable_signaling the first time.
    if (is_signaled()) {
      return false;
    }
    added.insert_before(callbacks_);
    return true;
  }
  void remove(node& gone) noexcept {
    const std::scoped_lock guard(lock_);
    if (!gone.alone()) {
      gone.unlink();
    }
  }
  /// As dma_fence_default_wait: a callback on the stack wakes the thread.
  void wait() noexcept {
    if (is_signaled()) {
      return;
    }
    struct waker : node {
      std::atomic<std::uint32_t> awake{0};
    } here;
    here.run = [](node& self) noexcept {
      auto& awake = static_cast<waker&>(self).awake;
      awake.store(1, std::memory_order_release);
      futex_wake_one(awake);
    };
    if (add(here)) {
      while (here.awake.load(std::memory_order_acquire) == 0) {
        futex_sleep(here.awake, 0);
      }
      remove(here);  // Takes the lock, under which the callback ran.
    }
  }

 private:
  static constexpr std::uint64_t signaled = 1;
  static constexpr std::uint64_t has_timestamp = 2;
  static constexpr std::uint64_t enabled = 4;

  spinlock lock_;
  std::atomic<std::uint32_t> references_{1};
  const void* ops_{nullptr};
  list_node callbacks_;
  std::int64_t timestamp_{0};
  std::uint64_t context_;
  std::uint64_t seqno_;
  std::atomic<std::uint64_t> flags_{0};
  int error_{0};
};

}  // namespace paddock::bench
