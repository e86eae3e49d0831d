// SPDX-License-Identifier: BSL-1.0
/// \file
/// futex(2) on 32 bits of an atomic, with absolute CLOCK_MONOTONIC deadlines.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstdint>

#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/base/uapi/futex.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// Sleeps while the 32 bits at `word` hold `expected`. Returns on a wake, on another value, on a signal, and
/// spuriously: the caller looks at the word again. Errors: timed_out.
[[nodiscard]] inline result<void> futex_sleep(const void* word, std::uint32_t expected, deadline until) noexcept {
  const timespec when = until.to_timespec();
  const long answer = ::syscall(SYS_futex, word, uapi::futex_wait_bitset_private, expected,
                                until.is_never() ? nullptr : &when, nullptr, uapi::futex_match_any);
  if (answer < 0 && errno == ETIMEDOUT) {
    return fail_errno("futex");
  }
  return {};
}

/// Wakes every sleeper. Only the address is used: the word may be gone already, and a wake on reused memory is
/// spurious.
inline void futex_wake_all(const void* word) noexcept {
  ::syscall(SYS_futex, word, uapi::futex_wake_private, INT_MAX, nullptr, nullptr, 0);
}

/// The half of an atomic that changes with its lowest bit: a futex has 32 bits, a fence's state 64.
[[nodiscard]] inline const void* low_half(const std::atomic<std::uint64_t>* word) noexcept {
  const auto* bytes = reinterpret_cast<const char*>(word);
  return std::endian::native == std::endian::little ? bytes : bytes + sizeof(std::uint32_t);
}

/// Tells the core that this thread spins.
inline void spin_pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

}  // namespace PADDOCK_NAMESPACE::detail
