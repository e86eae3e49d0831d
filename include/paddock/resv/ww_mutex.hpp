// SPDX-License-Identifier: BSL-1.0
/// \file
/// The lock of a reservation: a mutex that a thread can take together with others in any order. Of two contexts that
/// want each other's locks the younger one is told to let go ("wait-die"), so that none waits in a ring, and the oldest
/// always gets on. Kernel: ww_mutex with DEFINE_WD_CLASS.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
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
struct ww_context {
  std::uint64_t stamp{0};  ///< 0: not drawn yet. Lower is older; the address decides between equals.
  std::uint32_t held{0};
};

static_assert(alignof(ww_context) >= 4, "its address has a bit for threads");

/// One word says who has it, a second one how old that context is, a third one counts the times that somebody who slept
/// had a reason to look again, and a fourth one says what leaving it has to look after.
///
/// Leaving it is a plain store: the barrier between that and the look at who sleeps is taken by who goes to sleep, for
/// all threads at once (membarrier), as in reader_domain.hpp. Where that cannot be had it is a full fence.
template <class Traits>
class ww_mutex {
 public:
  using order = typename Traits::lock_order;

  /// `asymmetric`: whether Traits::heavy_fence() is a fence of all threads.
  explicit ww_mutex(bool asymmetric) noexcept : waiting_(asymmetric ? 0 : fenced_bit) {}
  ww_mutex(const ww_mutex&) = delete;
  ww_mutex& operator=(const ww_mutex&) = delete;

  [[nodiscard]] bool is_locked() const noexcept { return is_owner(word_.load(order::look)); }

  /// Without waiting: locked, busy, already_locked.
  [[nodiscard]] lock_outcome try_lock(ww_context* context) noexcept { return try_lock(context, false); }
  /// The same also where it is promised, for who leaves it at once: the promise stands.
  [[nodiscard]] lock_outcome try_lock_for_work() noexcept { return try_lock(nullptr, true); }

  /// `canceled` is asked before each sleep; who makes it true calls interrupt() after that.
  template <class Canceled>
  [[nodiscard]] lock_outcome lock(ww_context* context, deadline until, Canceled canceled) noexcept {
    draw_stamp(context);
    std::uint64_t seen = 0;
    return take(context, seen) ? lock_outcome::locked : lock_contended(context, until, canceled);
  }

  /// Requires: the caller has it, by this context.
  void unlock(ww_context* context) noexcept {
    if (context != nullptr) {
      --context->held;
    }
    stamp_.store(0, order::stamp);
    const std::uint32_t before = waiting_.load(order::look);
    // order: leave, a release: the next owner sees all that this one did; with it goes the stamp.
    word_.store((before & promised_bit) != 0 ? promised_word : 0, order::leave);
    // Either this thread sees that somebody sleeps, or that one sees that the lock is free.
    Traits::light_fence((before & fenced_bit) == 0);
    if ((waiting_.load(order::look) & sleepers_bit) != 0) [[unlikely]] {
      wake_sleepers(sleepers_bit);
    }
  }

  /// From now on unlock() ends with a full fence: what its caller reads after it has either what another thread wrote
  /// before a full fence of its own, or that thread sees the lock free after its fence. Requires: the caller has it.
  void fence_each_unlock() noexcept {
    // All that leave it after this one took it later, and see this: order: waiting: none but that of take and leave.
    if ((waiting_.load(order::look) & fenced_bit) == 0) {
      waiting_.fetch_or(fenced_bit, order::waiting);
    }
  }

  /// Everybody who sleeps looks again.
  void interrupt() noexcept {
    // order: turn, a release: it comes after what they are to see; who reads it sees that, and who does not is woken.
    turn_.fetch_add(1, order::turn);
    Traits::wake(&turn_);
  }

 private:
  // The word: 0 for a free lock, else who has it: a context's address, or a thread that has it without one. Or that it
  // is free, and only for who was promised it, if that still wants it.
  static constexpr std::uint64_t thread_bit = 2;
  static constexpr std::uint64_t promised_word = 4;

  static constexpr std::uint32_t sleepers_bit = 1;  ///< Somebody sleeps, or is about to.
  static constexpr std::uint32_t promised_bit = 2;  ///< Somebody slept too often, and was promised the lock.
  static constexpr std::uint32_t fenced_bit = 4;    ///< Leaving it is a full fence.

  [[nodiscard]] static std::uint64_t identity(const ww_context* context) noexcept {
    return context != nullptr ? static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(context))
                              : static_cast<std::uint64_t>(Traits::self()) | thread_bit;
  }

  /// Before the lock is taken: whoever finds it taken waits for the stamp.
  static void draw_stamp(ww_context* context) noexcept {
    if (context != nullptr && context->stamp == 0) {
      context->stamp = Traits::stamp();
    }
  }

  [[nodiscard]] lock_outcome try_lock(ww_context* context, bool for_patient) noexcept {
    draw_stamp(context);
    std::uint64_t seen = 0;
    if (take(context, seen) || (is_free(seen, for_patient) && take(context, seen))) {
      return lock_outcome::locked;
    }
    return seen == identity(context) && context != nullptr ? lock_outcome::already_locked : lock_outcome::busy;
  }

  [[nodiscard]] static bool is_owner(std::uint64_t word) noexcept { return word != 0 && word != promised_word; }
  [[nodiscard]] bool is_free(std::uint64_t word, bool for_patient = false) const noexcept {
    return word == 0 || (word == promised_word && (for_patient || (waiting_.load(order::look) & promised_bit) == 0));
  }

  /// Requires: is_free(seen). False: it was another word, which is in `seen`.
  [[nodiscard]] bool take(ww_context* context, std::uint64_t& seen) noexcept {
    // order: take, an acquire: sees all that the last owner did.
    if (!word_.compare_exchange_strong(seen, identity(context), order::take, order::look)) {
      return false;
    }
    if (context != nullptr) {
      ++context->held;
      stamp_.store(context->stamp, order::stamp);
    }
    if (seen == promised_word) [[unlikely]] {
      wake_sleepers(sleepers_bit);  // Who went to sleep while it was promised does not know for whom.
    }
    return true;
  }

  /// Whether a context that holds others has to let go of them.
  [[nodiscard]] bool must_let_go(const ww_context* context, std::uint64_t owner) noexcept {
    if (context == nullptr || context->held == 0 || (owner & thread_bit) != 0 || !is_owner(owner)) {
      return false;  // Who holds one lock alone never waits for another, so it can be waited for.
    }
    for (unsigned round = 0; word_.load(order::look) == owner; Traits::backoff(round++)) {
      // 0: the owner has taken the lock, and is about to say how old it is.
      if (const std::uint64_t stamp = stamp_.load(order::stamp); stamp != 0) {
        return stamp != context->stamp ? stamp < context->stamp : owner < identity(context);
      }
    }
    return false;  // Another owner: the one that left wakes the caller.
  }

  template <class Canceled>
  [[gnu::noinline]] lock_outcome lock_contended(ww_context* context, deadline until, Canceled canceled) noexcept {
    unsigned sleeps = 0;
    const auto is_patient = [&sleeps]() noexcept { return Traits::is_patient(sleeps); };
    const auto end = [&](lock_outcome outcome) noexcept {
      if (is_patient()) {
        wake_sleepers(sleepers_bit | promised_bit);
      }
      return outcome;
    };
    for (unsigned spins = 0;;) {
      // order: see, an acquire: the owner before the one that is seen has taken its stamp away.
      std::uint64_t seen = word_.load(order::see);
      if (is_free(seen, is_patient())) {
        if (take(context, seen)) {
          return end(lock_outcome::locked);
        }
        continue;
      }
      // Also a thread that took it without a context, and asks again with one.
      if (seen == identity(context) || seen == identity(nullptr)) {
        return end(context != nullptr ? lock_outcome::already_locked : lock_outcome::deadlock);
      }
      // Before it waits long, and keeps others from what it holds.
      if (spins == Traits::lock_spins / 8 && must_let_go(context, seen)) {
        return end(lock_outcome::deadlock);
      }
      if (spins < Traits::lock_spins) {
        ++spins;
        Traits::pause();
        continue;
      }
      // order: turn_look, an acquire: it comes before the bit is set, so that a turn after that is not missed.
      const std::uint32_t turn = turn_.load(order::turn_look);
      // order: waiting, none: the fence after it is the other half of that in unlock().
      const std::uint32_t before =
          waiting_.fetch_or(is_patient() ? sleepers_bit | promised_bit : sleepers_bit, order::waiting);
      const bool is_seen = Traits::heavy_fence((before & fenced_bit) == 0);
      seen = word_.load(order::see);
      if (is_free(seen, is_patient())) {
        continue;
      }
      if (must_let_go(context, seen)) {
        return end(lock_outcome::deadlock);
      }
      if (canceled()) {
        return end(lock_outcome::canceled);
      }
      if (!sleep(turn, until, is_seen)) {
        return end(lock_outcome::timed_out);
      }
      ++sleeps;
      spins = 0;
    }
  }

  /// False: the deadline passed. Unless it `is_seen` that this thread sleeps, it looks again now and then.
  [[nodiscard]] bool sleep(std::uint32_t turn, deadline until, bool is_seen) noexcept {
    if (is_seen) [[likely]] {
      return Traits::sleep(turn_, turn, until);
    }
    static_cast<void>(Traits::sleep(turn_, turn, std::min(until, deadline::in(std::chrono::milliseconds(1)))));
    return !until.passed();
  }

  /// Takes these bits away, and wakes who set them.
  void wake_sleepers(std::uint32_t bits) noexcept {
    // order: clear, a release: who sets a bit after this, and passes its fence, sees the word that was written before.
    if ((waiting_.fetch_and(~bits, order::clear) & sleepers_bit) != 0) {
      interrupt();
    }
  }

  typename Traits::template atomic<std::uint64_t> word_{0};
  typename Traits::template atomic<std::uint64_t> stamp_{0};
  typename Traits::template atomic<std::uint32_t> turn_{0};
  typename Traits::template atomic<std::uint32_t> waiting_;
};

}  // namespace PADDOCK_NAMESPACE::detail
