// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the cores of the fence room run on outside the verifier: std::atomic, futexes, pthreads.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdint>

#include <paddock/base/time.hpp>
#include <paddock/detail/futex.hpp>
#include <paddock/fence/orders.hpp>

namespace PADDOCK_NAMESPACE {

class fence_callback;

namespace detail {

template <class Traits>
class run_queue;

struct std_traits {
  using order = fence_orders;
  using slot_order = slot_orders;
  using array_order = array_orders;
  using timeline_order = timeline_orders;
  using callback = fence_callback;

  template <class T>
  using atomic = std::atomic<T>;

  /// Not atomic; the verifier's own finds races on it.
  template <class T>
  class plain {
   public:
    explicit plain(T value) noexcept : value_(value) {}
    [[nodiscard]] T get() const noexcept { return value_; }
    void set(T value) noexcept { value_ = value; }

   private:
    T value_;
  };

  /// Fetches the line for writing at once: a load alone would share it, and the exchange after it fetch it again.
  static void about_to_write(const void* word) noexcept {
#if defined(__x86_64__)
    asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(word)));
#else
    __builtin_prefetch(word, 1);
#endif
  }

  /// Names the calling thread, with the two lowest bits clear. It is one for all shared objects, where the address of a
  /// thread_local of a header is not: on x86-64 the thread pointer, for which pthread_self() would be a call. Volatile,
  /// since a coroutine may go on in another thread.
  [[nodiscard]] static std::uintptr_t self() noexcept {
#if defined(__x86_64__)
    std::uintptr_t thread = 0;
    asm volatile("mov {%%fs:0, %0|%0, fs:0}" : "=r"(thread));  // In either dialect of assembler.
    return thread;
#else
    return (std::uintptr_t)::pthread_self();  // NOLINT: a pointer on one libc, a number on the other.
#endif
  }

  /// One a shared object: the stack is bounded by their number, not by the length of a chain of completions.
  [[nodiscard]] static run_queue<std_traits>*& queue() noexcept {
    static thread_local run_queue<std_traits>* current = nullptr;
    return current;
  }

  /// For a short wait on another thread: spins, then gives way, then sleeps, so that a waiter with a higher priority
  /// lets the other one go on.
  [[gnu::noinline]] static void backoff(unsigned round) noexcept {
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

  /// Some hundred cycles, about what a line takes to a far core and back where this was measured (Zen 5).
  [[gnu::noinline]] static void pause_for_line() noexcept {
    for (unsigned round = 0; round < 16; ++round) {
      spin_pause();
    }
  }

  /// Sleeps while the word is `seen`, as far as 32 bits can tell. False: the deadline passed.
  [[nodiscard]] static bool sleep(const std::atomic<std::uint64_t>& word, std::uint64_t seen, deadline until) noexcept {
    return futex_sleep(low_half(&word), static_cast<std::uint32_t>(seen), until).has_value();
  }
  [[nodiscard]] static bool sleep(const std::atomic<std::uint32_t>& word, std::uint32_t seen, deadline until) noexcept {
    return futex_sleep(&word, seen, until).has_value();
  }
  static void wake(const std::atomic<std::uint64_t>* word) noexcept { futex_wake_all(low_half(word)); }
  static void wake(const std::atomic<std::uint32_t>* word) noexcept { futex_wake_all(word); }
};

}  // namespace detail
}  // namespace PADDOCK_NAMESPACE
