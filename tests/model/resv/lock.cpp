// SPDX-License-Identifier: BSL-1.0
// The lock by itself: one owner at a time, nobody left asleep, and every answer that an attempt can have.
#include <resv/room.hpp>

namespace paddock::model {
namespace {

/// The first thread has a context, the last of three only tries.
template <bool Asymmetric, int Threads>
struct exclusion : resv_suite<exclusion<Asymmetric, Threads>, Threads, Asymmetric> {
  void thread(unsigned index) {
    ww_context own;
    ww_context* const by = index == 0 ? &own : nullptr;
    const lock_outcome outcome = index == 2 ? shared.try_lock(by) : lock(shared, by);
    if (index == 2 && outcome == lock_outcome::busy) {
      return;
    }
    RL_ASSERT(outcome == lock_outcome::locked);
    value.set(value.get() + 1);
    shared.unlock(by);
    RL_ASSERT(own.held == 0);
  }
  void after() {
    RL_ASSERT(value.get() >= 2);
    expect_free(shared);
  }
  mutex shared;
  plain<int> value{0};
};

/// All of them wait.
template <bool Asymmetric>
struct contended : resv_suite<contended<Asymmetric>, 3, Asymmetric> {
  void thread(unsigned) {
    RL_ASSERT(lock(shared, nullptr) == lock_outcome::locked);
    value.set(value.get() + 1);
    shared.unlock(nullptr);
  }
  void after() {
    RL_ASSERT(value.get() == 3);
    expect_free(shared);
  }
  mutex shared;
  plain<int> value{0};
};

/// Who wakes the sleepers has said why before, in its own way and without an order.
template <bool Asymmetric>
struct canceled : resv_suite<canceled<Asymmetric>, 2, Asymmetric> {
  void before() { RL_ASSERT(shared.try_lock(&owner) == lock_outcome::locked); }
  void thread(unsigned index) {
    if (index == 0) {
      stop.store(true, std::memory_order_relaxed);
      shared.interrupt();
      return;
    }
    RL_ASSERT(shared.lock(nullptr, deadline::never(), [this] { return stop.load(std::memory_order_relaxed); }) ==
              lock_outcome::canceled);
  }
  void after() {
    shared.unlock(&owner);
    expect_free(shared);
  }
  mutex shared;
  ww_context owner;
  atomic<bool> stop{false};
};

/// A deadline passes, and the sleeper waits again without one.
template <bool Asymmetric>
struct timed : resv_suite<timed<Asymmetric>, 2, Asymmetric> {
  void thread(unsigned index) {
    if (index == 0 || shared.lock(nullptr, deadline::now(), never_canceled) != lock_outcome::locked) {
      RL_ASSERT(lock(shared, nullptr) == lock_outcome::locked);
    }
    value.set(value.get() + 1);
    shared.unlock(nullptr);
  }
  void after() {
    RL_ASSERT(value.get() == 2);
    expect_free(shared);
  }
  mutex shared;
  plain<int> value{0};
};

/// Who asks for what it has is told so, also where somebody sleeps for it.
template <bool Asymmetric>
struct own_lock : resv_suite<own_lock<Asymmetric>, 2, Asymmetric> {
  void thread(unsigned index) {
    ww_context own;
    ww_context* const by = index == 0 ? &own : nullptr;
    RL_ASSERT(lock(shared, by) == lock_outcome::locked);
    RL_ASSERT(lock(shared, by) == (by != nullptr ? lock_outcome::already_locked : lock_outcome::deadlock));
    RL_ASSERT(shared.try_lock(by) == (by != nullptr ? lock_outcome::already_locked : lock_outcome::busy));
    RL_ASSERT(own.held == (by != nullptr ? 1U : 0U));
    value.set(value.get() + 1);
    shared.unlock(by);
  }
  void after() { expect_free(shared); }
  mutex shared;
  plain<int> value{0};
};

/// Work is left for whoever has the lock, who looks for it once more after leaving it. `Promised`: and a thread that
/// was promised the lock goes without it.
template <bool Asymmetric, bool Promised>
struct left_work : resv_suite<left_work<Asymmetric, Promised>, Promised ? 3 : 2, Asymmetric> {
  void before() {
    RL_ASSERT(shared.try_lock(nullptr) == lock_outcome::locked);
    shared.fence_each_unlock();
    shared.unlock(nullptr);
  }
  void thread(unsigned index) {
    if (index == 0) {
      if (lock(shared, nullptr) == lock_outcome::locked) {
        leave();
      }
    } else if (index == 1) {
      left.store(1, std::memory_order_relaxed);
      relacy_resv_traits::full_fence();
      try_to_do();
    } else {
      promise_after(0);
      if (shared.lock(nullptr, deadline::now(), never_canceled) == lock_outcome::locked) {
        leave();
      }
    }
  }
  void leave() {
    done += left.exchange(0, std::memory_order_acquire);
    shared.unlock(nullptr);
    if (left.load(std::memory_order_relaxed) != 0) {
      try_to_do();
    }
  }
  void try_to_do() {
    if (shared.try_lock_for_work() == lock_outcome::locked) {
      leave();
    }
  }
  void after() {
    RL_ASSERT(done == 1);
    expect_free(shared);
  }
  mutex shared;
  atomic<int> left{0};
  int done{0};
};

const registered two{"lock", "two threads", 5, &run_suite<exclusion<false, 2>>};
const registered two_asymmetric{"lock", "two threads, asymmetric", unbounded, &run_suite<exclusion<true, 2>>};
const registered three{"lock", "two threads, and one that tries", 2, &run_suite<exclusion<false, 3>>};
const registered three_asymmetric{"lock", "two threads, and one that tries, asymmetric", 2,
                                  &run_suite<exclusion<true, 3>>};
const registered all{"lock", "three threads", 2, &run_suite<contended<false>>};
const registered all_asymmetric{"lock", "three threads, asymmetric", 2, &run_suite<contended<true>>};
const registered stopped{"lock", "a sleeper that is canceled", unbounded, &run_suite<canceled<false>>};
const registered stopped_asymmetric{"lock", "a sleeper that is canceled, asymmetric", unbounded,
                                    &run_suite<canceled<true>>};
const registered late{"lock", "a sleeper with a deadline", 3, &run_suite<timed<false>>};
const registered late_asymmetric{"lock", "a sleeper with a deadline, asymmetric", 3, &run_suite<timed<true>>};
const registered twice{"lock", "who has it asks for it", 3, &run_suite<own_lock<false>>};
const registered twice_asymmetric{"lock", "who has it asks for it, asymmetric", 3, &run_suite<own_lock<true>>};
const registered work{"lock", "work is left", 4, &run_suite<left_work<false, false>>};
const registered work_asymmetric{"lock", "work is left, asymmetric", 4, &run_suite<left_work<true, false>>};
const registered promised_work{"lock", "work is left, and a promise", 2, &run_suite<left_work<false, true>>};
const registered promised_work_asymmetric{"lock", "work is left, and a promise, asymmetric", 2,
                                          &run_suite<left_work<true, true>>};

}  // namespace
}  // namespace paddock::model
