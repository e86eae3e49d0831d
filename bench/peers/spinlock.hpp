// SPDX-License-Identifier: BSL-1.0
/// \file
/// The lock of the peers that have one: one exchange to take, a store to release, and a thread that waits gives its
/// processor away after a while, because the holder may be the one that waits for it.
#pragma once

#include <sched.h>

#include <atomic>

#include <paddock/detail/futex.hpp>

namespace paddock::bench {

class spinlock {
 public:
  void lock() noexcept {
    while (locked_.exchange(true, std::memory_order_acquire)) {
      for (int round = 0; locked_.load(std::memory_order_relaxed); ++round) {
        if (round < 64) {
          detail::spin_pause();
        } else {
          ::sched_yield();
        }
      }
    }
  }
  void unlock() noexcept { locked_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> locked_{false};
};

}  // namespace paddock::bench
