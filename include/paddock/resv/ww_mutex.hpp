// SPDX-License-Identifier: BSL-1.0
/// \file
/// The lock of a reservation: a mutex that a thread can take together with others in any order. Of two contexts that
/// want each other's locks the younger one is told to let go ("wait-die"), so that none waits in a ring, and the oldest
/// always gets on. Kernel: ww_mutex with DEFINE_WD_CLASS.
#pragma once

#include <atomic>
#include <cstdint>

#include <paddock/base/time.hpp>
#include <paddock/detail/futex.hpp>
#include <paddock/detail/tsc.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// How an attempt to lock ended.
enum class lock_outcome : std::uint8_t {
  locked,
  already_locked,  ///< By the same context.
  deadlock,        ///< An older context holds it, and this one holds others; or this thread itself, without a context.
  busy,
  timed_out,
  canceled,
};

/// Who takes several locks: its age, which it keeps until it ends, and how many it has.
struct alignas(8) ww_context {
  std::uint64_t stamp{0};  ///< 0: not drawn yet. Lower is older; the address decides between equals.
  std::uint32_t held{0};
};

/// One word says who has it, a second one how old that context is, a third one counts the times that somebody who slept
/// had a reason to look again.
///
///   word   0             free
///          context       its address; or, with bit 1, the thread of an owner without a context
///          bit 0         somebody sleeps: leaving it counts and wakes
///          bit 2         somebody slept too often: while the lock is free, it is only theirs
template <class Traits>
class ww_mutex {
 public:
  using order = typename Traits::lock_order;

  ww_mutex() noexcept = default;
  ww_mutex(const ww_mutex&) = delete;
  ww_mutex& operator=(const ww_mutex&) = delete;

  [[nodiscard]] bool is_locked() const noexcept { return owner(word_.load(order::look)) != 0; }

  /// Without waiting: locked, busy, already_locked.
  [[nodiscard]] lock_outcome try_lock(ww_context* context) noexcept {
    draw_stamp(context);
    std::uint64_t seen = 0;
    // order: take, an acquire: sees all that the last owner did.
    if (word_.compare_exchange_strong(seen, identity(context), order::take, order::look)) {
      taken(context);
      return lock_outcome::locked;
    }
    return owner(seen) == identity(context) && context != nullptr ? lock_outcome::already_locked : lock_outcome::busy;
  }

  /// `canceled` is asked before each sleep; who makes it true calls interrupt() after that.
  template <class Canceled>
  [[nodiscard]] lock_outcome lock(ww_context* context, deadline until, Canceled canceled) noexcept {
    draw_stamp(context);
    std::uint64_t seen = 0;
    // order: take, as in try_lock().
    if (word_.compare_exchange_strong(seen, identity(context), order::take, order::look)) {
      taken(context);
      return lock_outcome::locked;
    }
    return lock_contended(context, until, canceled);
  }

  /// Requires: the caller has it, by this context.
  void unlock(ww_context* context) noexcept {
    if (context != nullptr) {
      --context->held;
    }
    stamp_.store(0, order::stamp);
    std::uint64_t seen = identity(context);  // Mostly nobody waits, and it is the thread that took it.
    // order: leave, a release: the next owner sees all that this one did; with it goes the stamp.
    while (!word_.compare_exchange_weak(seen, seen & promised_bit, order::leave, order::look)) {
    }
    if ((seen & waiters_bit) != 0) {
      interrupt();
    }
  }

  /// Everybody who sleeps looks again.
  void interrupt() noexcept {
    // order: turn, a release: it comes after the word was left; who sees the old count finds the new word, or is woken.
    turn_.fetch_add(1, order::turn);
    Traits::wake(&turn_);
  }

 private:
  static constexpr std::uint64_t waiters_bit = 1;
  static constexpr std::uint64_t thread_bit = 2;
  static constexpr std::uint64_t promised_bit = 4;
  static constexpr unsigned sleeps_before_promise = 4;

  [[nodiscard]] static std::uint64_t identity(const ww_context* context) noexcept {
    return context != nullptr ? static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(context))
                              : static_cast<std::uint64_t>(Traits::self()) | thread_bit;
  }
  [[nodiscard]] static std::uint64_t owner(std::uint64_t word) noexcept { return word & ~(waiters_bit | promised_bit); }

  /// Before the lock is taken: whoever finds it taken waits for the stamp.
  static void draw_stamp(ww_context* context) noexcept {
    if (context != nullptr && context->stamp == 0) {
      context->stamp = Traits::stamp();
    }
  }

  void taken(ww_context* context) noexcept {
    if (context != nullptr) {
      ++context->held;
      stamp_.store(context->stamp, order::stamp);
    }
  }

  /// Whether a context that holds others has to let go of them. Requires: `seen` is the word, and owned.
  [[nodiscard]] bool must_let_go(const ww_context* context, std::uint64_t seen) noexcept {
    if (context == nullptr || context->held == 0 || (seen & thread_bit) != 0) {
      return false;  // Who holds one lock alone never waits for another, so it can be waited for.
    }
    for (unsigned round = 0; owner(word_.load(order::look)) == owner(seen); Traits::backoff(round++)) {
      // 0: the owner has taken the lock, and is about to say how old it is.
      if (const std::uint64_t stamp = stamp_.load(order::stamp); stamp != 0) {
        return stamp != context->stamp ? stamp < context->stamp : owner(seen) < identity(context);
      }
    }
    return false;  // Another owner: the caller looks again.
  }

  template <class Canceled>
  [[gnu::noinline]] lock_outcome lock_contended(ww_context* context, deadline until, Canceled canceled) noexcept {
    const std::uint64_t me = identity(context);
    unsigned sleeps = 0;
    const auto is_promised = [&sleeps]() noexcept { return sleeps >= sleeps_before_promise; };
    const auto give_up = [&](lock_outcome why) noexcept {
      if (is_promised()) {
        take_back_promise();
      }
      return why;
    };
    for (unsigned spins = 0;;) {
      std::uint64_t seen = word_.load(order::look);
      if (owner(seen) == 0 && ((seen & promised_bit) == 0 || is_promised())) {
        // order: take, as in try_lock().
        if (word_.compare_exchange_weak(seen, me, order::take, order::look)) {
          taken(context);
          if ((seen & waiters_bit) != 0) {
            interrupt();  // Who went to sleep while it was promised did not know for whom, and may have to let go.
          }
          return lock_outcome::locked;
        }
        continue;
      }
      // Also a thread that took it without a context, and asks again with one.
      if (owner(seen) == me || owner(seen) == identity(nullptr)) {
        return give_up(context != nullptr ? lock_outcome::already_locked : lock_outcome::deadlock);
      }
      if (spins < Traits::lock_spins) {
        ++spins;
        Traits::pause();
        continue;
      }
      // order: turn_look, an acquire: it comes before the exchange, so that a turn after that is not missed.
      const std::uint64_t turn = turn_.load(order::turn_look);
      const std::uint64_t wanted = seen | waiters_bit | (is_promised() ? promised_bit : 0);
      // order: enlist, an acquire: sees that the owner before the present one has taken its stamp away. An exchange
      // even where the word has the bits already: it stays the same owner's until that sees them, and says so.
      if (!word_.compare_exchange_weak(seen, wanted, order::enlist, order::look)) {
        continue;
      }
      if (owner(seen) != 0 && must_let_go(context, seen)) {
        return give_up(lock_outcome::deadlock);
      }
      if (canceled()) {
        return give_up(lock_outcome::canceled);
      }
      if (!Traits::sleep(turn_, turn, until)) {
        return give_up(lock_outcome::timed_out);
      }
      ++sleeps;
      spins = 0;
    }
  }

  /// Who was promised the lock goes without it.
  void take_back_promise() noexcept {
    std::uint64_t seen = word_.load(order::look);
    // order: leave, as in unlock(): those who slept for the promise take it from here.
    while (!word_.compare_exchange_weak(seen, owner(seen) != 0 ? seen & ~promised_bit : 0, order::leave, order::look)) {
    }
    if (owner(seen) == 0 && (seen & waiters_bit) != 0) {
      interrupt();
    }
  }

  typename Traits::template atomic<std::uint64_t> word_{0};
  typename Traits::template atomic<std::uint64_t> stamp_{0};
  typename Traits::template atomic<std::uint64_t> turn_{0};
};

}  // namespace PADDOCK_NAMESPACE::detail
