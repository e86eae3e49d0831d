// SPDX-License-Identifier: BSL-1.0
/// \file
/// futex(2) on a 32-bit atomic, with absolute CLOCK_MONOTONIC deadlines.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>

#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/base/uapi/futex.hpp>

namespace paddock::detail {

/// Sleeps while the word holds `expected`. Returns on a wake, on another value, on a signal, and spuriously: the caller
/// looks at the word again. Errors: timed_out.
[[nodiscard]] inline result<void> futex_sleep(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                                              deadline until) noexcept {
  const timespec when = until.to_timespec();
  const long answer = ::syscall(SYS_futex, &word, uapi::futex_wait_bitset_private, expected,
                                until.is_never() ? nullptr : &when, nullptr, uapi::futex_match_any);
  if (answer < 0 && errno == ETIMEDOUT) {
    return fail_errno("futex");
  }
  return {};
}

/// Wakes every sleeper. Only the address is used: the word may be gone already, and a wake on reused memory is
/// spurious.
inline void futex_wake_all(const std::atomic<std::uint32_t>* word) noexcept {
  ::syscall(SYS_futex, word, uapi::futex_wake_private, INT_MAX, nullptr, nullptr, 0);
}

/// Tells the core that this thread spins.
inline void spin_pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

}  // namespace paddock::detail
