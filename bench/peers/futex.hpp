// SPDX-License-Identifier: BSL-1.0
/// \file
/// The smallest event that can be slept on: a word with three states, pending, pending with sleepers, and signaled.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>

namespace paddock::bench {

inline void futex_sleep(std::atomic<std::uint32_t>& word, std::uint32_t seen) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}
inline void futex_wake_one(std::atomic<std::uint32_t>& word) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}
inline void futex_wake_all(std::atomic<std::uint32_t>& word) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

class raw_futex {
 public:
  [[nodiscard]] bool is_signaled() const noexcept { return word_.load(std::memory_order_acquire) == signaled; }
  void signal() noexcept {
    if (word_.exchange(signaled, std::memory_order_acq_rel) == slept_on) {
      futex_wake_all(word_);
    }
  }
  void wait() noexcept {
    std::uint32_t seen = word_.load(std::memory_order_acquire);
    while (seen != signaled) {
      if (seen == pending && !word_.compare_exchange_weak(seen, slept_on, std::memory_order_acquire)) {
        continue;
      }
      futex_sleep(word_, slept_on);
      seen = word_.load(std::memory_order_acquire);
    }
  }

 private:
  static constexpr std::uint32_t pending = 0;
  static constexpr std::uint32_t slept_on = 1;
  static constexpr std::uint32_t signaled = 2;
  std::atomic<std::uint32_t> word_{pending};
};

}  // namespace paddock::bench
