// SPDX-License-Identifier: BSL-1.0
/// \file
/// `reservation`: the fences of a buffer, by what they stand for, and the lock under which they change; `resv_lock`,
/// the proof of having it. Kernel: dma_resv (drivers/dma-buf/dma-resv.c), with the races of its users closed.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <type_traits>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/fence/array.hpp>
#include <paddock/fence/chain.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/fence/merge.hpp>
#include <paddock/fence/user_fence.hpp>
#include <paddock/fence/wait.hpp>
#include <paddock/resv/fence_list.hpp>
#include <paddock/resv/snapshot.hpp>
#include <paddock/resv/traits.hpp>
#include <paddock/resv/usage.hpp>
#include <paddock/resv/ww_mutex.hpp>

namespace PADDOCK_NAMESPACE {

class reservation;
class resv_lock;

namespace detail {

/// What somebody without the lock leaves to the next one who has it: reservation::leave_to_holder().
class locked_work {
 public:
  /// Requires: `run` is not called, or has returned, before the object goes.
  explicit locked_work(void (*run)(locked_work&, const resv_lock&) noexcept) noexcept : run_(run) {}
  locked_work(const locked_work&) = delete;
  locked_work& operator=(const locked_work&) = delete;

 private:
  friend class ::paddock::reservation;
  void (*run_)(locked_work&, const resv_lock&) noexcept;
  locked_work* next_{nullptr};
};

}  // namespace detail

/// Who takes several reservations: its age decides who goes first, and it keeps it over all retries, so that the oldest
/// always gets on. Nothing is shared between contexts. Requires: it holds nothing when it ends.
/// Thread-safety: one thread at a time. Kernel: ww_acquire_ctx.
class acquire_context {
 public:
  acquire_context() noexcept = default;
  acquire_context(const acquire_context&) = delete;
  acquire_context& operator=(const acquire_context&) = delete;
  ~acquire_context() { detail::note_context_gone(this); }

  /// Begins a new life, as the youngest: for who goes on with other work. Requires: held() == 0.
  void renew() noexcept { inner_.stamp = 0; }
  /// How many reservations are locked by it.
  [[nodiscard]] std::size_t held() const noexcept { return inner_.held; }

 private:
  friend class reservation;
  friend class resv_lock;
  detail::ww_context inner_;
};

/// The lock of one reservation, held: what changes a reservation asks for it as proof. Only locking makes one; it moves
/// and does not copy. One that was moved from, or unlocked, proves nothing. The destructor unlocks.
/// Thread-safety: one thread at a time. It may be handed to another one; the thread that took it counts as its holder,
/// and so does not end, until it is left, unless it was taken by an acquire_context, which then goes with it.
class [[nodiscard]] resv_lock {
 public:
  /// Proves nothing.
  resv_lock() noexcept = default;
  resv_lock(resv_lock&& other) noexcept
      : held_(std::exchange(other.held_, nullptr)), context_(std::exchange(other.context_, nullptr)) {}
  resv_lock& operator=(resv_lock&& other) noexcept {
    if (this != &other) {
      unlock();
      held_ = std::exchange(other.held_, nullptr);
      context_ = std::exchange(other.context_, nullptr);
    }
    return *this;
  }
  resv_lock(const resv_lock&) = delete;
  resv_lock& operator=(const resv_lock&) = delete;
  ~resv_lock() { unlock(); }

  /// Whether it is the lock of that reservation.
  [[nodiscard]] bool holds(const reservation& r) const noexcept { return held_ == &r; }
  explicit operator bool() const noexcept { return held_ != nullptr; }

  /// Before the destructor does. Room that was reserved and not used is given back. Requires: the reservation lives
  /// until this has returned.
  inline void unlock() noexcept;

 private:
  friend class reservation;
  friend class lock_set;
  resv_lock(reservation& held, acquire_context* context) noexcept : held_(&held), context_(context) {}

  reservation* held_{nullptr};
  acquire_context* context_{nullptr};
};

/// While one lives, lockless looks at reservations cost its thread less, and the fences that they find are there for as
/// long as their reservation is. It keeps fences that are done from being freed, those of every reservation of this
/// shared object and however many there are: hold it for a burst of looks, not for a wait.
/// Thread-safety: made and destroyed by one thread.
class resv_guard {
 public:
  explicit inline resv_guard(const reservation& r) noexcept;
  resv_guard(const resv_guard&) = delete;
  resv_guard& operator=(const resv_guard&) = delete;
  ~resv_guard() = default;

 private:
  friend class reservation;
  detail::fence_list<detail::std_resv_traits, fence>::reading inside_;
};

/// The fences of one buffer, or of several that move together. Each has a usage; a later one of its context takes the
/// place of an earlier one. What is done is dropped when its slot is needed, and freed when no reader can see it: while
/// none is inside, at most 64 fences, and one job a context, outlive their end here between two calls of reserve().
/// Where a fence is dropped its release operation runs, and the callbacks of one that nobody signals any more; they may
/// look at this reservation, also while it is destroyed, and change it by the proof of whoever drops the fence, but not
/// lock it: it may be locked by that one.
/// Thread-safety: what takes a resv_lock is for its holder; all else is for any thread, never waits for a holder, and
/// is never waited for.
class reservation {
 public:
  reservation() noexcept : fences_(domain_here()), mutex_(fences_.readers().is_asymmetric()) {}
  reservation(const reservation&) = delete;
  reservation& operator=(const reservation&) = delete;
  /// Drops all fences; does not wait for them. Requires: nobody else uses it, nor has its lock.
  ~reservation() { detail::note_reservation_gone(this); }

  // --- locking -----------------------------------------------------------------------------------------------------

  /// Takes the lock; a free one at once, also when the deadline has passed or a stop was requested.
  /// Requires: the thread has no other reservation locked, and not this one by a context; for more there are
  /// acquire_context and lock_set. Errors: timed_out; canceled, when it would have had to wait and `stop` was
  /// requested; deadlock, when this very thread took it, without a context. Kernel: dma_resv_lock without a context.
  [[nodiscard]] result<resv_lock> lock(deadline until = deadline::never(), const std::stop_token& stop = {},
                                       place at = place::here()) noexcept {
    return lock(nullptr, until, stop, at);
  }
  /// Takes one of several locks. A context that holds none waits as long as it must.
  /// Errors: deadlock: it might never come: let go of all that the context holds, lock this one first, and then the
  /// others again (lock_set does that); already_locked, by this context, or by this thread without one; timed_out,
  /// canceled. Requires: the thread does not have it by another context. Kernel: dma_resv_lock,
  /// dma_resv_lock_interruptible, dma_resv_lock_slow.
  [[nodiscard]] result<resv_lock> lock(acquire_context& context, deadline until = deadline::never(),
                                       const std::stop_token& stop = {}, place at = place::here()) noexcept {
    return lock(&context, until, stop, at);
  }
  /// Takes the lock if it is free; it counts as taken while it is kept for one that waited long. Who has it must not
  /// wait for the lock of another, by whatever means: nobody knows its age. Errors: busy. Kernel: dma_resv_trylock.
  [[nodiscard]] result<resv_lock> try_lock(place at = place::here()) noexcept {
    PADDOCK_TRY_VOID(judge(mutex_.try_lock(nullptr)));
    detail::note_locked_at_once(this, at);
    return resv_lock(*this, nullptr);
  }
  /// A snapshot.
  [[nodiscard]] bool is_locked() const noexcept { return mutex_.is_locked(); }

  // --- with the lock -----------------------------------------------------------------------------------------------

  /// Room for so many fences more, until the lock is left: each add() takes one. May drop fences that are done.
  /// Errors: wrong_lock; invalid_argument for 0; out_of_memory, and then nothing has changed.
  /// Kernel: dma_resv_reserve_fences, whose room does not add up.
  [[nodiscard]] result<void> reserve(const resv_lock& proof, std::uint32_t fences, place at = place::here()) noexcept {
    might_alloc(at);
    PADDOCK_TRY_VOID(check(proof, "reservation::reserve"));
    if (fences == 0) {
      return fail(errc::invalid_argument, "reservation::reserve");
    }
    if (!fences_.reserve(fences)) {
      return fail(errc::out_of_memory, "reservation::reserve");
    }
    return {};
  }

  /// Adds a fence. It takes the place of one that is done, or of an earlier one of its context with the same or a
  /// weaker usage; so a fence that is there already can be given a stronger usage, and never a weaker one.
  /// Does not allocate. Errors: wrong_lock; not_reserved, when reserve() made no room for it; invalid_argument for a
  /// container (add its leaves, see for_each_leaf()) or an empty pointer. Kernel: dma_resv_add_fence.
  [[nodiscard]] result<void> add(const resv_lock& proof, fence_ptr added, usage as) noexcept {
    PADDOCK_TRY_VOID(check(proof, "reservation::add"));
    if (!added || added->is_container()) {
      return fail(errc::invalid_argument, "reservation::add: no fence, or a container");
    }
    if (fences_.reserved() == 0) {
      return fail(errc::not_reserved, "reservation::add");
    }
    fences_.add(*added.release(), as);
    return {};
  }
  template <class Other>
  requires(!std::convertible_to<Other, fence_ptr>) result<void> add(const resv_lock&, const Other&, usage)
  noexcept {
    static_assert(!std::same_as<Other, user_fence>,
                  "paddock: a reservation takes no user_fence, since nobody has promised that it completes and memory "
                  "management would wait for it; bounded() makes a fence of it");
    static_assert(!std::same_as<Other, fence_array> && !std::same_as<Other, fence_chain>,
                  "paddock: a reservation takes no container; add its leaves one by one, with for_each_leaf()");
    static_assert(
        std::same_as<Other, user_fence> || std::same_as<Other, fence_array> || std::same_as<Other, fence_chain>,
        "paddock: a reservation takes a fence_ptr, and keeps that reference");
    return {};
  }

  /// Adds the fence of a job that accesses the buffer: as `read`, or as `write` when it writes. As add().
  [[nodiscard]] result<void> commit(const resv_lock& proof, fence_ptr job, access how) noexcept {
    return add(proof, std::move(job), usage_of(how));
  }
  /// What a job that accesses the buffer has to wait for, as one fence, until commit() of that job: with the lock held
  /// none comes between. Errors: wrong_lock; out_of_memory.
  [[nodiscard]] result<fence_ptr> dependencies(const resv_lock& proof, access how,
                                               place at = place::here()) const noexcept {
    PADDOCK_TRY_VOID(check(proof, "reservation::dependencies"));
    return singleton(usage_for(how), at);
  }

  /// Each fence of that context becomes this one: the job that they stood for cannot touch the buffer any more once
  /// this one is done. Where it stands already it keeps its usage, if that is the stronger one. Errors: wrong_lock;
  /// invalid_argument as add(); out_of_memory, and then nothing has changed. Kernel: dma_resv_replace_fences.
  [[nodiscard]] result<void> replace(const resv_lock& proof, std::uint64_t context, const fence_ptr& by, usage as,
                                     place at = place::here()) noexcept {
    might_alloc(at);
    PADDOCK_TRY_VOID(check(proof, "reservation::replace"));
    if (!by || by->is_container()) {
      return fail(errc::invalid_argument, "reservation::replace: no fence, or a container");
    }
    if (!fences_.replace(context, *by, as)) {
      return fail(errc::out_of_memory, "reservation::replace");
    }
    return {};
  }

  /// The pending fences of the other one in place of its own. The other one need not be locked.
  /// Errors: wrong_lock; out_of_memory, and then nothing has changed. Kernel: dma_resv_copy_fences.
  [[nodiscard]] result<void> copy(const resv_lock& proof, const reservation& from, place at = place::here()) noexcept {
    might_alloc(at);
    PADDOCK_TRY_VOID(check(proof, "reservation::copy"));
    if (!fences_.copy(from.fences_)) {
      return fail(errc::out_of_memory, "reservation::copy");
    }
    return {};
  }

  /// Calls `visit(fence&, usage)` for every fence up to that usage, those that are done included, until it returns
  /// false, if it returns something. Errors: wrong_lock.
  template <class Visit>
  [[nodiscard]] result<void> for_each(const resv_lock& proof, usage upto, Visit&& visit) const noexcept {
    PADDOCK_TRY_VOID(check(proof, "reservation::for_each"));
    fences_.for_each_owned([&](fence& f, usage as) noexcept { return as > upto || call(visit, f, as); });
    return {};
  }

  /// Drops now what was dropped from the list and is kept for readers' sake. Returns how many still are.
  /// Errors: wrong_lock.
  [[nodiscard]] result<std::size_t> collect(const resv_lock& proof) noexcept {
    PADDOCK_TRY_VOID(check(proof, "reservation::collect"));
    return fences_.collect();
  }

  /// Does what others have left for whoever has the lock; leaving it does so as well. Errors: wrong_lock.
  [[nodiscard]] result<void> run_left_work(const resv_lock& proof) noexcept {
    PADDOCK_TRY_VOID(check(proof, "reservation::run_left_work"));
    run_left(proof);
    return {};
  }

  /// Before leave_to_holder(): from now on it costs a full fence to leave this lock. Errors: wrong_lock.
  [[nodiscard]] result<void> expect_left_work(const resv_lock& proof) noexcept {
    PADDOCK_TRY_VOID(check(proof, "reservation::expect_left_work"));
    mutex_.fence_each_unlock();
    return {};
  }

  // --- without the lock --------------------------------------------------------------------------------------------

  /// Has work done with the lock held, by this thread if the lock is free, else by whoever leaves it next. Never waits
  /// for the lock. Requires: expect_left_work() was called.
  void leave_to_holder(detail::locked_work& work, place at = place::here()) noexcept {
    detail::locked_work* first = left_.load();
    do {
      work.next_ = first;
    } while (!left_.compare_exchange_weak(first, &work));
    detail::std_resv_traits::full_fence();  // Either who leaves the lock sees the work, or this finds that it is free.
    run_left_if_free(at);
  }

  /// Whether everything up to that usage is done: all that is there meanwhile; what comes or goes may count or not.
  /// Kernel: dma_resv_test_signaled.
  [[nodiscard]] bool test_signaled(usage upto) const noexcept {
    const resv_guard inside(*this);
    return test_signaled_inside(upto);
  }
  /// The same for who has a guard, of this reservation or of another one that this shared object made.
  [[nodiscard]] bool test_signaled(const resv_guard& inside, usage upto) const noexcept {
    if (!inside.inside_.is_of(fences_.readers())) [[unlikely]] {
      return test_signaled(upto);
    }
    return test_signaled_inside(upto);
  }

  /// Calls `visit(fence&, usage)` for the pending fences up to that usage, until it returns false, if it returns
  /// something: all that are there meanwhile, and of those that come or go some. It must not wait. fence_cursor walks
  /// with references and may be left for long.
  template <class Visit>
  void for_each(usage upto, Visit&& visit) const noexcept {
    const resv_guard inside(*this);
    for_each_inside(upto, visit);
  }
  /// The same for who has a guard.
  template <class Visit>
  void for_each(const resv_guard& inside, usage upto, Visit&& visit) const noexcept {
    if (inside.inside_.is_of(fences_.readers())) [[likely]] {
      for_each_inside(upto, visit);
    } else {
      for_each(upto, visit);
    }
  }

  /// References to the pending fences up to that usage. Errors: out_of_memory. Kernel: dma_resv_get_fences.
  [[nodiscard]] result<fence_snapshot> snapshot(usage upto, place at = place::here()) const noexcept {
    might_alloc(at);
    return take_snapshot(upto);
  }
  /// One fence for all that is pending up to that usage: a complete one when nothing is. It may be an array, and is not
  /// for another reservation. Errors: out_of_memory. Kernel: dma_resv_get_singleton.
  [[nodiscard]] result<fence_ptr> singleton(usage upto, place at = place::here()) const noexcept {
    PADDOCK_TRY(const fence_snapshot taken, take_snapshot(upto));
    return merge(taken.fences(), at);
  }
  /// What a new access has to wait for, as one fence. Who adds a job of his own takes it by the proof, or another job
  /// may come between. Errors: out_of_memory.
  [[nodiscard]] result<fence_ptr> dependencies(access how, place at = place::here()) const noexcept {
    return singleton(usage_for(how), at);
  }

  /// Waits until everything up to that usage is done, or the deadline passes. Fences that are added meanwhile may be
  /// waited for or not. Returns signaled, also when a job failed, which its own fence tells, or timed_out.
  /// Errors: as wait(fence&). Kernel: dma_resv_wait_timeout.
  template <wait_policy Policy = hybrid_wait>
  [[nodiscard]] result<wait_status> wait(usage upto, deadline until, Policy policy = {},
                                         place at = place::here()) const noexcept {
    detail::note_wait(until, at);
    list::position where;
    for (fence_ptr f = next(where, upto); f; f = next(where, upto)) {
      if (f->status() != wait_status::timed_out) {
        continue;
      }
      PADDOCK_TRY(const wait_status ended, wait_for(*f, until, policy));
      if (ended == wait_status::timed_out) {
        return ended;
      }
    }
    return wait_status::signaled;
  }

  /// Passes a wish on to all that is pending up to that usage. Kernel: dma_resv_set_deadline.
  void set_deadline(usage upto, deadline wish) const noexcept {
    list::position at;
    for (fence_ptr f = next(at, upto); f; f = next(at, upto)) {
      f->set_deadline(wish);
    }
  }

 private:
  friend class resv_guard;
  friend class resv_lock;
  friend class lock_set;
  friend class fence_cursor;
  using list = detail::fence_list<detail::std_resv_traits, fence>;

  [[nodiscard]] fence_ptr next(list::position& at, usage upto) const noexcept {
    return fence_ptr::adopt(fences_.next(at, upto));
  }
  [[nodiscard]] static list::domain& domain_here() noexcept {
    static list::domain here(detail::allocate_context_ids(1));
    return here;
  }

  /// snapshot() of who has said that it may allocate.
  [[nodiscard]] result<fence_snapshot> take_snapshot(usage upto) const noexcept {
    result<fence_snapshot> taken;  // Filled in its place: it is large.
    if (!fill(*taken, upto)) {
      taken = fail(errc::out_of_memory, "reservation::snapshot");
    }
    return taken;
  }
  /// False: out of memory.
  [[nodiscard]] bool fill(fence_snapshot& taken, usage upto) const noexcept {
    const resv_guard inside(*this);  // Until there are references.
    for (std::size_t room = fence_snapshot::room_inside;;) {
      if (!taken.make_room(room)) {
        return false;
      }
      std::size_t found = 0;
      auto note = [&](fence& f, usage) noexcept {
        if (found < room) [[likely]] {
          taken.note(found, f);
        }
        ++found;
      };
      for_each_inside(upto, note);
      if (found <= room) {
        taken.take_references(found);
        return true;
      }
      room = 2 * found;
    }
  }
  template <class Visit>
  void for_each_inside(usage upto, Visit& visit) const noexcept {
    fences_.for_each([&](fence& f, usage as) noexcept { return as > upto || f.is_signaled() || call(visit, f, as); });
  }
  [[nodiscard]] bool test_signaled_inside(usage upto) const noexcept {
    return fences_.for_each([&](const fence& f, usage as) noexcept { return as > upto || f.is_signaled(); });
  }
  [[nodiscard]] result<void> check(const resv_lock& proof, const char* where) const noexcept {
    if (!proof.holds(*this)) {
      return fail(errc::wrong_lock, where);
    }
    return {};
  }
  [[nodiscard]] static result<void> judge(detail::lock_outcome outcome) noexcept {
    switch (outcome) {
      case detail::lock_outcome::locked: return {};
      case detail::lock_outcome::already_locked: return fail(errc::already_locked, "reservation::lock");
      case detail::lock_outcome::deadlock: return fail(errc::deadlock, "reservation::lock");
      case detail::lock_outcome::busy: return fail(errc::busy, "reservation::try_lock");
      case detail::lock_outcome::timed_out: return fail(errc::timed_out, "reservation::lock");
      case detail::lock_outcome::canceled: return fail(errc::canceled, "reservation::lock");
    }
    return fail(errc::unexpected, "reservation::lock");
  }
  [[nodiscard]] result<resv_lock> lock(acquire_context* context, deadline until, const std::stop_token& stop,
                                       place at) noexcept {
    PADDOCK_TRY_VOID(take(context, until, stop, at));
    return resv_lock(*this, context);
  }
  /// Takes the lock if it is free. The proof is made by the caller, here and below.
  [[nodiscard]] bool take_free(acquire_context& context, place at) noexcept {
    if (mutex_.try_lock(&context.inner_) != detail::lock_outcome::locked) {
      return false;
    }
    detail::note_locking(this, &context, at);  // As if it had waited, which it might have.
    detail::note_locked(this);
    return true;
  }
  [[nodiscard]] result<void> take(acquire_context* context, deadline until, const std::stop_token& stop,
                                  place at) noexcept {
    detail::note_locking(this, context, at);
    result<void> ended = judge(lock(context != nullptr ? &context->inner_ : nullptr, until, stop));
    if (ended) {
      detail::note_locked(this);
    } else {
      detail::note_refused(this);
    }
    return ended;
  }
  [[nodiscard]] detail::lock_outcome lock(detail::ww_context* context, deadline until,
                                          const std::stop_token& stop) noexcept {
    if (!stop.stop_possible()) {
      return mutex_.lock(context, until, []() noexcept { return false; });
    }
    const std::stop_callback look_again(stop, [this]() noexcept { mutex_.interrupt(); });
    return mutex_.lock(context, until, [&]() noexcept { return stop.stop_requested(); });
  }

  template <class Visit>
  static bool call(Visit& visit, fence& f, usage as) noexcept {
    if constexpr (std::is_void_v<std::invoke_result_t<Visit&, fence&, usage>>) {
      visit(f, as);
      return true;
    } else {
      return static_cast<bool>(visit(f, as));
    }
  }

  /// Also where the lock is promised: nobody else may come.
  void run_left_if_free(place at = place::here()) noexcept {
    if (mutex_.try_lock_for_work() == detail::lock_outcome::locked) {
      detail::note_locked_at_once(this, at);
      resv_lock(*this, nullptr).unlock();
    }
  }
  void run_left(const resv_lock& proof) noexcept {
    // order: relaxed: the exchange below sees what was left; what is missed is done next time.
    if (left_.load(std::memory_order_relaxed) == nullptr) [[likely]] {
      return;
    }
    for (detail::locked_work* each = left_.exchange(nullptr); each != nullptr;) {
      detail::locked_work& now = *each;
      each = now.next_;  // It may go while it runs.
      now.run_(now, proof);
    }
  }

  [[no_unique_address]] list fences_;
  detail::ww_mutex<detail::std_resv_traits> mutex_;  // On the writers' line.
  std::atomic<detail::locked_work*> left_{nullptr};
};
static_assert(sizeof(reservation) == 128);

inline void resv_lock::unlock() noexcept {
  if (held_ != nullptr) {
    held_->run_left(*this);
  }
  if (reservation* const held = std::exchange(held_, nullptr); held != nullptr) {
    acquire_context* const context = std::exchange(context_, nullptr);
    held->fences_.forget_reserved();
    detail::note_unlocked(held);
    held->mutex_.unlock(context != nullptr ? &context->inner_ : nullptr);
    // Left between the look above and the end of the lock: whoever left it may have found the lock taken.
    // order: relaxed: as in run_left(); expect_left_work() has put a fence between the end of the lock and this.
    if (held->left_.load(std::memory_order_relaxed) != nullptr) [[unlikely]] {
      held->run_left_if_free();
    }
  }
}

inline resv_guard::resv_guard(const reservation& r) noexcept : inside_(r.fences_.readers()) {}

}  // namespace PADDOCK_NAMESPACE
