// SPDX-License-Identifier: BSL-1.0
// Who slept too often is promised the lock: it comes, or the promise is taken back, and nobody is left asleep for it.
#include <resv/room.hpp>

namespace paddock::model {
namespace {

/// `Promised` of the threads, from the last one, when they have slept so often.
template <bool Asymmetric, int Threads, int Promised, unsigned Sleeps = 0>
struct kept : resv_suite<kept<Asymmetric, Threads, Promised, Sleeps>, Threads, Asymmetric> {
  void thread(unsigned index) {
    if (index >= Threads - Promised) {
      promise_after(Sleeps);
    }
    RL_ASSERT(lock(shared, nullptr) == lock_outcome::locked);
    value.set(value.get() + 1);
    shared.unlock(nullptr);
  }
  void after() {
    RL_ASSERT(value.get() == Threads);
    expect_free(shared);
  }
  mutex shared;
  plain<int> value{0};
};

/// The last thread goes without what it was promised when its deadline passes. `Others`: so does the one before it, who
/// came when the lock was free and promised; then no promise is left of either.
template <bool Asymmetric, bool Others>
struct timed_out : resv_suite<timed_out<Asymmetric, Others>, 3, Asymmetric> {
  void before() { RL_ASSERT(shared.try_lock(&owner) == lock_outcome::locked); }
  void thread(unsigned index) {
    if (index == 0) {
      shared.unlock(&owner);
      return;
    }
    if (index == 2) {
      promise_after(0);
    } else {
      while (Others && shared.is_locked()) {
        relacy_resv_traits::pause();
      }
    }
    const bool is_timed = index == 2 || Others;
    const lock_outcome outcome = shared.lock(nullptr, is_timed ? deadline::now() : deadline::never(), never_canceled);
    if (is_timed && outcome == lock_outcome::timed_out) {
      return;
    }
    RL_ASSERT(outcome == lock_outcome::locked);
    value.set(value.get() + 1);
    shared.unlock(nullptr);
  }
  void after() { expect_free(shared); }
  mutex shared;
  ww_context owner;
  plain<int> value{0};
};

/// The first thread cancels it.
template <bool Asymmetric>
struct given_up : resv_suite<given_up<Asymmetric>, 3, Asymmetric> {
  void thread(unsigned index) {
    if (index == 2) {
      promise_after(0);
      const lock_outcome outcome =
          shared.lock(nullptr, deadline::never(), [this] { return stop.load(std::memory_order_relaxed); });
      if (outcome == lock_outcome::canceled) {
        return;
      }
      RL_ASSERT(outcome == lock_outcome::locked);
    } else {
      RL_ASSERT(lock(shared, nullptr) == lock_outcome::locked);
    }
    value.set(value.get() + 1);
    shared.unlock(nullptr);
    if (index == 0) {
      stop.store(true, std::memory_order_relaxed);
      shared.interrupt();
    }
  }
  void after() { expect_free(shared); }
  mutex shared;
  plain<int> value{0};
  atomic<bool> stop{false};
};

/// Two locks, and two contexts that want both.
template <class Suite, bool Asymmetric>
struct two_locks : resv_suite<Suite, 3, Asymmetric> {
  void before() {
    older.stamp = 1;
    younger.stamp = 2;
  }
  /// The younger one, which has the second lock, gets the first or lets go.
  void want_first_with_second() {
    const lock_outcome outcome = lock(first, &younger);
    if (outcome == lock_outcome::locked) {
      first.unlock(&younger);
    } else {
      RL_ASSERT(outcome == lock_outcome::deadlock);
    }
    second.unlock(&younger);
  }
  void after() {
    expect_free(first);
    expect_free(second);
  }
  mutex first;
  mutex second;
  ww_context older;
  ww_context younger;
};

/// The older context waits for a lock, and is promised it; then it wants the lock that the younger one holds, who wants
/// the first one too. Whoever comes while that is free and promised has to learn who took it.
template <bool Asymmetric>
struct to_a_context : two_locks<to_a_context<Asymmetric>, Asymmetric> {
  using two_locks<to_a_context, Asymmetric>::first;
  using two_locks<to_a_context, Asymmetric>::second;
  using two_locks<to_a_context, Asymmetric>::older;
  using two_locks<to_a_context, Asymmetric>::younger;
  void thread(unsigned index) {
    if (index == 0) {
      RL_ASSERT(lock(first, nullptr) == lock_outcome::locked);
      first.unlock(nullptr);
    } else if (index == 1) {
      promise_after(0);
      RL_ASSERT(lock(first, &older) == lock_outcome::locked);
      RL_ASSERT(lock(second, &older) == lock_outcome::locked);
      second.unlock(&older);
      first.unlock(&older);
    } else {
      RL_ASSERT(lock(second, &younger) == lock_outcome::locked);
      this->want_first_with_second();
    }
  }
};

/// The lock says that it is promised, and nobody is left who wants that: the only one who was promised it gave up while
/// the owner left. The older context takes it; between its look and that the last thread, which has seen the owner,
/// makes the promise anew, so that the younger context, which holds what the older one wants next, sleeps for the
/// promise. It has to learn that the lock is the older context's.
template <bool Asymmetric>
struct to_nobody : two_locks<to_nobody<Asymmetric>, Asymmetric> {
  using two_locks<to_nobody, Asymmetric>::first;
  using two_locks<to_nobody, Asymmetric>::second;
  using two_locks<to_nobody, Asymmetric>::older;
  using two_locks<to_nobody, Asymmetric>::younger;
  void before() {
    two_locks<to_nobody, Asymmetric>::before();
    RL_ASSERT(first.try_lock(&owner) == lock_outcome::locked);
    RL_ASSERT(second.try_lock(&younger) == lock_outcome::locked);
  }
  void thread(unsigned index) {
    if (index == 0) {
      promise_after(0);  // The one who gives up.
      const lock_outcome outcome = first.lock(nullptr, deadline::never(), [this] {
        first.unlock(&owner);
        return true;
      });
      RL_ASSERT(outcome == lock_outcome::canceled);
      promise_after(resv_state::never);  // The older context.
      RL_ASSERT(lock(first, &older) == lock_outcome::locked);
      RL_ASSERT(lock(second, &older) == lock_outcome::locked);
      second.unlock(&older);
      first.unlock(&older);
    } else if (index == 1) {
      promise_after(0);
      RL_ASSERT(lock(first, nullptr) == lock_outcome::locked);
      first.unlock(nullptr);
    } else {
      this->want_first_with_second();
    }
  }
  ww_context owner;
};

const registered two{"promise", "kept, two threads", 7, &run_suite<kept<false, 2, 1>>};
const registered two_asymmetric{"promise", "kept, two threads, asymmetric", 7, &run_suite<kept<true, 2, 1>>};
const registered three{"promise", "kept, three threads", 3, &run_suite<kept<false, 3, 1>>};
const registered three_asymmetric{"promise", "kept, three threads, asymmetric", 3, &run_suite<kept<true, 3, 1>>};
const registered once{"promise", "to all of three, who slept once", 3, &run_suite<kept<false, 3, 3, 1>>};
const registered once_asymmetric{"promise", "to all of three, who slept once, asymmetric", 3,
                                 &run_suite<kept<true, 3, 3, 1>>};
const registered both{"promise", "to two of three", 3, &run_suite<kept<false, 3, 2>>};
const registered both_asymmetric{"promise", "to two of three, asymmetric", 3, &run_suite<kept<true, 3, 2>>};
const registered late{"promise", "a deadline passes", 1, &run_suite<timed_out<false, false>>};
const registered late_asymmetric{"promise", "a deadline passes, asymmetric", 1, &run_suite<timed_out<true, false>>};
const registered all_late{"promise", "two deadlines pass", 1, &run_suite<timed_out<false, true>>};
const registered all_late_asymmetric{"promise", "two deadlines pass, asymmetric", 1, &run_suite<timed_out<true, true>>};
const registered stopped{"promise", "given up", 3, &run_suite<given_up<false>>};
const registered stopped_asymmetric{"promise", "given up, asymmetric", 3, &run_suite<given_up<true>>};
const registered context{"promise", "to an older context", 2, &run_suite<to_a_context<false>>};
const registered context_asymmetric{"promise", "to an older context, asymmetric", 3, &run_suite<to_a_context<true>>};
const registered nobody{"promise", "to nobody", 2, &run_suite<to_nobody<false>>};
const registered nobody_asymmetric{"promise", "to nobody, asymmetric", 2, &run_suite<to_nobody<true>>};

}  // namespace
}  // namespace paddock::model
