// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a careful programmer writes today instead of a fence: the kernel's idea with one locked instruction an
/// operation. A spinlock around a status, a list of callbacks and the question whether somebody sleeps; status is a
/// load. The callbacks run under the lock, as in the kernel: a remover needs no other way to know that they are over,
/// and a callback must not touch its own event.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "called.hpp"
#include "futex.hpp"
#include "list.hpp"
#include "spinlock.hpp"

namespace paddock::bench {

class kernel_style {
 public:
  struct node : list_node {
    void (*run)(node&) noexcept = [](node&) noexcept { count_call{}(); };
  };

  explicit kernel_style(std::uint64_t context = 1, std::uint64_t seqno = 1) noexcept
      : context_(context), seqno_(seqno) {}

  [[nodiscard]] bool is_signaled() const noexcept { return status_.load(std::memory_order_acquire) != 0; }
  void signal() noexcept {
    bool wake = false;
    {
      const std::scoped_lock guard(lock_);
      if (is_signaled()) {
        return;
      }
      status_.store(1, std::memory_order_release);
      while (!callbacks_.alone()) {
        node& first = static_cast<node&>(*callbacks_.next);
        first.unlink();
        first.run(first);
      }
      wake = sleepers_;
    }
    if (wake) {
      futex_wake_all(status_);
    }
  }
  bool add(node& added) noexcept {
    const std::scoped_lock guard(lock_);
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
  void wait() noexcept {
    if (is_signaled()) {
      return;
    }
    {
      const std::scoped_lock guard(lock_);
      sleepers_ = true;
    }
    while (!is_signaled()) {
      futex_sleep(status_, 0);
    }
  }

 private:
  spinlock lock_;
  bool sleepers_{false};
  std::atomic<std::uint32_t> status_{0};
  std::atomic<std::uint32_t> references_{1};
  int error_{0};
  list_node callbacks_;
  std::int64_t timestamp_{0};
  std::uint64_t context_;
  std::uint64_t seqno_;
};

}  // namespace paddock::bench
