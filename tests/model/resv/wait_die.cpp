// SPDX-License-Identifier: BSL-1.0
// Contexts that want each other's locks: the younger one lets go, and all of them end.
#include <array>
#include <utility>

#include <resv/room.hpp>

namespace paddock::model {
namespace {

/// Takes both as lock_set does: when it is told to let go it leaves all, and begins with the lock that was in the way.
void lock_both(ww_context& by, mutex& first, mutex& second) {
  std::array<mutex*, 2> wanted{&first, &second};
  for (;;) {
    RL_ASSERT(lock(*wanted[0], &by) == lock_outcome::locked);  // It holds nothing, so it waits as long as it must.
    const lock_outcome outcome = lock(*wanted[1], &by);
    if (outcome == lock_outcome::locked) {
      return;
    }
    RL_ASSERT(outcome == lock_outcome::deadlock);
    RL_ASSERT(present_resv.equal_stamps || by.stamp != 1);  // The oldest never has to.
    wanted[0]->unlock(&by);
    RL_ASSERT(by.held == 0);
    std::swap(wanted[0], wanted[1]);
  }
}

/// Each wants one lock and the next one; with two of them that is the opposite order.
template <bool Asymmetric, int Contexts, bool EqualStamps>
struct ring : resv_suite<ring<Asymmetric, Contexts, EqualStamps>, Contexts, Asymmetric> {
  void before() { present_resv.equal_stamps = EqualStamps; }
  void thread(unsigned index) {
    const unsigned next = (index + 1) % Contexts;
    ww_context& own = contexts[index];
    lock_both(own, locks[index], locks[next]);
    values[index].set(values[index].get() + 1);
    values[next].set(values[next].get() + 1);
    locks[next].unlock(&own);
    locks[index].unlock(&own);
    RL_ASSERT(own.held == 0);
  }
  void after() {
    for (int i = 0; i < Contexts; ++i) {
      RL_ASSERT(values[i].get() == 2);
      expect_free(locks[i]);
    }
  }
  mutex locks[Contexts];
  plain<int> values[3]{plain<int>(0), plain<int>(0), plain<int>(0)};
  ww_context contexts[Contexts];
};

/// An owner without a context is waited for, whatever is held.
template <bool Asymmetric>
struct single_owner : resv_suite<single_owner<Asymmetric>, 2, Asymmetric> {
  void thread(unsigned index) {
    if (index == 0) {
      RL_ASSERT(lock(second, nullptr) == lock_outcome::locked);
      value.set(1);
      second.unlock(nullptr);
      return;
    }
    ww_context own;
    RL_ASSERT(lock(first, &own) == lock_outcome::locked);
    RL_ASSERT(lock(second, &own) == lock_outcome::locked);
    value.set(1);
    second.unlock(&own);
    first.unlock(&own);
  }
  void after() { expect_free(second); }
  mutex first;
  mutex second;
  plain<int> value{0};
};

/// A context whose first lock it only tried has an age from then on.
template <bool Asymmetric>
struct tried_first : resv_suite<tried_first<Asymmetric>, 2, Asymmetric> {
  void thread(unsigned index) {
    ww_context own;
    mutex& held = index == 0 ? first : second;
    mutex& wanted = index == 0 ? second : first;
    RL_ASSERT(held.try_lock(&own) != lock_outcome::already_locked);
    if (own.held == 0) {
      return;
    }
    const lock_outcome outcome = lock(wanted, &own);
    RL_ASSERT(outcome == lock_outcome::locked || outcome == lock_outcome::deadlock);
    if (outcome == lock_outcome::locked) {
      wanted.unlock(&own);
    }
    held.unlock(&own);
  }
  void after() {
    expect_free(first);
    expect_free(second);
  }
  mutex first;
  mutex second;
};

/// The oldest context has left, or is about to return from that, and the youngest has the lock or had it; the one in
/// the middle knows, but not in order. The age of the one that left must not send it away.
template <bool Asymmetric>
struct stamp_of_the_last_owner : resv_suite<stamp_of_the_last_owner<Asymmetric>, 3, Asymmetric> {
  void before() {
    oldest.stamp = 1;
    middle.stamp = 2;
    youngest.stamp = 3;
  }
  void thread(unsigned index) {
    if (index == 0) {
      RL_ASSERT(lock(shared, &oldest) == lock_outcome::locked);
      oldest_was_here.set(1);
      shared.unlock(&oldest);
      has_left.store(true, std::memory_order_relaxed);
    } else if (index == 1) {
      RL_ASSERT(lock(shared, &youngest) == lock_outcome::locked);
      if (oldest_was_here.get() == 1) {
        has_left.store(true, std::memory_order_relaxed);
      }
      shared.unlock(&youngest);
    } else {
      RL_ASSERT(lock(other, &middle) == lock_outcome::locked);
      while (!has_left.load(std::memory_order_relaxed)) {
        relacy_resv_traits::pause();
      }
      RL_ASSERT(lock(shared, &middle) == lock_outcome::locked);
      shared.unlock(&middle);
      other.unlock(&middle);
    }
  }
  void after() {
    expect_free(shared);
    expect_free(other);
  }
  mutex shared;
  mutex other;
  ww_context oldest;
  ww_context middle;
  ww_context youngest;
  plain<int> oldest_was_here{0};
  atomic<bool> has_left{false};
};

const registered two{"wait_die", "two contexts in opposite orders", 2, &run_suite<ring<false, 2, false>>};
const registered two_asymmetric{"wait_die", "two contexts in opposite orders, asymmetric", 2,
                                &run_suite<ring<true, 2, false>>};
const registered equal{"wait_die", "two contexts of one age", 2, &run_suite<ring<false, 2, true>>};
const registered equal_asymmetric{"wait_die", "two contexts of one age, asymmetric", 2,
                                  &run_suite<ring<true, 2, true>>};
const registered three{"wait_die", "three contexts in a ring", 1, &run_suite<ring<false, 3, false>>};
const registered three_asymmetric{"wait_die", "three contexts in a ring, asymmetric", 1,
                                  &run_suite<ring<true, 3, false>>};
const registered equals{"wait_die", "three contexts of one age in a ring", 1, &run_suite<ring<false, 3, true>>};
const registered equals_asymmetric{"wait_die", "three contexts of one age in a ring, asymmetric", 1,
                                   &run_suite<ring<true, 3, true>>};
const registered single{"wait_die", "an owner without a context", 3, &run_suite<single_owner<false>>};
const registered single_asymmetric{"wait_die", "an owner without a context, asymmetric", 3,
                                   &run_suite<single_owner<true>>};
const registered tried{"wait_die", "a context that tried first", 3, &run_suite<tried_first<false>>};
const registered tried_asymmetric{"wait_die", "a context that tried first, asymmetric", 3,
                                  &run_suite<tried_first<true>>};
const registered stale{"wait_die", "the age of the owner before", 2, &run_suite<stamp_of_the_last_owner<false>>};
const registered stale_asymmetric{"wait_die", "the age of the owner before, asymmetric", 2,
                                  &run_suite<stamp_of_the_last_owner<true>>};

}  // namespace
}  // namespace paddock::model
