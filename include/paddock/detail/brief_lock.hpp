// SPDX-License-Identifier: BSL-1.0
/// \file
/// A lock under which no more is done than a few loads and stores.
#pragma once

#include <sched.h>

#include <atomic>
#include <ctime>

#include <paddock/detail/futex.hpp>
#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// One locked instruction where a mutex has two, since whoever leaves it need not know of those who wait. They spin,
/// then give way, then nap: a holder that was preempted gets on, also below a waiter with a higher priority.
/// Models BasicLockable.
class brief_lock {
 public:
  void lock() noexcept {
    // order: acquire: pairs with unlock().
    for (unsigned round = 0; taken_.exchange(true, std::memory_order_acquire);) {
      // order: relaxed: only a guess for the exchange.
      while (taken_.load(std::memory_order_relaxed)) {
        give_way(round++);
      }
    }
  }
  void unlock() noexcept {
    // order: release: pairs with lock().
    taken_.store(false, std::memory_order_release);
  }

 private:
  [[gnu::noinline]] static void give_way(unsigned round) noexcept {
    constexpr unsigned spins = 64;
    constexpr unsigned yields = 16;
    if (round < spins) {
      spin_pause();
    } else if (round < spins + yields) {
      ::sched_yield();
    } else {
      constexpr timespec nap{0, 50'000};
      ::clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, nullptr);
    }
  }

  std::atomic<bool> taken_{false};
};

}  // namespace PADDOCK_NAMESPACE::detail
