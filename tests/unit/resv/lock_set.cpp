// SPDX-License-Identifier: BSL-1.0
#include <paddock/resv/lock_set.hpp>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <deque>
#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

#include "reservations.hpp"

namespace paddock {

using namespace std::chrono_literals;
using test::elsewhere;
using test::fails_with;
using test::make_fence;
using test::shortly;

namespace {

/// A buffer, for those that are known by their reservation.
struct buffer {
  [[nodiscard]] const paddock::reservation& reservation() const noexcept { return inside; }
  paddock::reservation inside;
};

/// Of two sets that want each other's locks, the younger one. It holds `mine`, and is told to let go of it when it asks
/// for `theirs`, which the older one holds and leaves as soon as it has got `mine`.
struct contest {
  reservation mine;
  reservation theirs;

  /// Calls rounds(round) in the younger set, whose first round takes `mine` and meets the older set at `theirs`.
  template <class Round>
  result<void> lose(lock_set& younger, Round round) {
    lock_set older;
    std::barrier both(2);
    bool won = false;
    std::thread winner([&] {
      int rounds = 0;
      won = older
                .lock_all([&]() -> result<void> {
                  PADDOCK_TRY_VOID(older.lock(theirs));
                  if (++rounds == 1) {
                    both.arrive_and_wait();  // It has its age; the younger one begins.
                    both.arrive_and_wait();  // The younger one has taken `mine`.
                  }
                  return older.lock(mine);
                })
                .has_value();
      won = won && rounds == 1 && older.retries() == 0;
      older.unlock_all();
    });
    int tries = 0;
    both.arrive_and_wait();
    auto ended = younger.lock_all([&]() -> result<void> {
      if (++tries == 1) {
        PADDOCK_TRY_VOID(younger.lock(mine));
        both.arrive_and_wait();
        return younger.lock(theirs);
      }
      return round(tries);
    });
    winner.join();
    CHECK(won);
    return ended;
  }
};

}  // namespace

// --- locking -------------------------------------------------------------------------------------------------------

TEST_CASE("a set holds what it locked until it is left, and can be used again") {
  std::array<reservation, 3> all;
  {
    lock_set locks;
    for (int round = 0; round < 3; ++round) {
      REQUIRE(locks.lock_all([&]() -> result<void> {
        PADDOCK_TRY_VOID(locks.lock(all[2]));
        PADDOCK_TRY_VOID(locks.lock(all[0]));
        return locks.lock(all[1]);
      }));
      CHECK(locks.size() == 3);
      for (const reservation& each : all) {
        CHECK(each.is_locked());
        CHECK(locks.held(each).holds(each));
      }
      if (round < 2) {
        locks.unlock_all();
        CHECK(locks.size() == 0);
        CHECK(std::ranges::none_of(all, [](const reservation& r) { return r.is_locked(); }));
      }
    }
    CHECK(locks.retries() == 0);
  }
  CHECK(std::ranges::none_of(all, [](const reservation& r) { return r.is_locked(); }));
}

TEST_CASE("a range of reservations, or of pointers to them, is locked with room for each") {
  std::deque<reservation> all(5);
  std::vector<reservation*> pointers;
  std::vector<std::unique_ptr<reservation>> owned;
  for (reservation& each : all) {
    pointers.push_back(&each);
    owned.push_back(std::make_unique<reservation>());
  }
  lock_set locks;
  const auto check = [&](reservation& r, std::uint32_t room) {
    for (std::uint32_t i = 0; i < room; ++i) {
      CHECK(r.add(locks.held(r), make_fence(), usage::read));
    }
    CHECK(fails_with(r.add(locks.held(r), make_fence(), usage::read), errc::not_reserved));
  };
  REQUIRE(locks.lock_all(all, 2));
  for (reservation& each : all) {
    check(each, 2);
  }
  locks.unlock_all();
  REQUIRE(locks.lock_all(pointers));
  REQUIRE(locks.size() == 5);
  check(all[0], 0);
  locks.unlock_all();
  REQUIRE(locks.lock_all(owned, 1));
  check(*owned[4], 1);
}

TEST_CASE("what a set does not hold has a proof that proves nothing") {
  reservation r;
  reservation other;
  lock_set locks;
  REQUIRE(locks.lock_all([&] { return locks.lock(other); }));
  CHECK_FALSE(locks.held(r));
  CHECK(fails_with(r.reserve(locks.held(r), 1), errc::wrong_lock));
  // Nor when somebody else has it.
  lock_set others;
  REQUIRE(others.lock_all([&] { return others.lock(r); }));
  CHECK(fails_with(r.reserve(locks.held(r), 1), errc::wrong_lock));
  CHECK(r.reserve(others.held(r), 1));
  // Nor after the lock was left.
  const resv_lock& proof = locks.held(other);
  CHECK(other.reserve(proof, 1));
  locks.unlock_all();  // The proof goes with that.
  CHECK(fails_with(other.reserve(locks.held(other), 1), errc::wrong_lock));
  CHECK_FALSE(locks.held(other));
}

TEST_CASE("a proof is found by a buffer, too") {
  buffer b;
  const buffer other;
  lock_set locks;
  REQUIRE(locks.lock_all([&] { return locks.lock(b.inside); }));
  CHECK(locks.held(b).holds(b.inside));
  CHECK_FALSE(locks.held(other));
}

TEST_CASE("what is named twice is refused with all else, or gets its room") {
  reservation a;
  reservation b;
  const auto three_times = [&](lock_set& locks) {
    return locks.lock_all([&]() -> result<void> {
      PADDOCK_TRY_VOID(locks.lock(a, 1));
      PADDOCK_TRY_VOID(locks.lock(b));
      PADDOCK_TRY_VOID(locks.lock(a, 2));
      return locks.lock(a);
    });
  };
  lock_set strict;
  CHECK(fails_with(three_times(strict), errc::already_locked));
  CHECK(strict.size() == 0);
  CHECK_FALSE(a.is_locked());
  CHECK_FALSE(b.is_locked());
  lock_set lenient(duplicates::ignored);
  REQUIRE(three_times(lenient));
  CHECK(lenient.size() == 2);
  for (int i = 0; i < 3; ++i) {
    CHECK(a.add(lenient.held(a), make_fence(), usage::read));
  }
  CHECK(fails_with(a.add(lenient.held(a), make_fence(), usage::read), errc::not_reserved));
}

TEST_CASE("hundreds of locks are held, with proofs that stay where they are") {
  std::deque<reservation> all(300);
  std::vector<const resv_lock*> proofs;
  lock_set locks;
  for (int round = 0; round < 2; ++round) {
    proofs.clear();
    REQUIRE(locks.lock_all([&]() -> result<void> {
      for (reservation& each : all) {
        PADDOCK_TRY_VOID(locks.lock(each, 1));
        proofs.push_back(&locks.held(each));
      }
      return {};
    }));
    CHECK(locks.size() == all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      CHECK(&locks.held(all[i]) == proofs[i]);
      CHECK(all[i].add(*proofs[i], make_fence(), usage::read));
    }
    locks.unlock_all();
    CHECK(std::ranges::none_of(all, [](const reservation& r) { return r.is_locked(); }));
  }
}

// --- errors --------------------------------------------------------------------------------------------------------

TEST_CASE("an error that is no contention ends it, with nothing locked") {
  reservation a;
  reservation b;
  lock_set locks;
  int rounds = 0;
  const auto failing = [&](errc why) {
    return locks.lock_all([&]() -> result<void> {
      ++rounds;
      PADDOCK_TRY_VOID(locks.lock(a));
      PADDOCK_TRY_VOID(locks.lock(b));
      return fail(why, "test");
    });
  };
  // A deadlock, too, when it is not one of these locks.
  for (const errc why : {errc::io, errc::busy, errc::deadlock}) {
    rounds = 0;
    CHECK(fails_with(failing(why), why));
    CHECK(rounds == 1);
    CHECK(locks.size() == 0);
    CHECK_FALSE(a.is_locked());
    CHECK_FALSE(b.is_locked());
  }
  CHECK(locks.retries() == 0);
}

TEST_CASE("room that cannot be had is an error of lock(), which leaves that lock") {
  reservation a;
  reservation b;
  lock_set locks;
  CHECK(locks.lock_all([&]() -> result<void> {
    PADDOCK_TRY_VOID(locks.lock(a, 1));
    CHECK(fails_with(locks.lock(b, UINT32_MAX), errc::out_of_memory));
    CHECK_FALSE(b.is_locked());
    CHECK(locks.size() == 1);
    return locks.lock(b, 1);
  }));
  CHECK(locks.size() == 2);
  locks.unlock_all();
  CHECK(fails_with(locks.lock_all(std::array{&a, &b}, UINT32_MAX), errc::out_of_memory));
  CHECK_FALSE(a.is_locked());
}

TEST_CASE("a deadline is for all locks of a set, and so is a stop") {
  reservation a;
  reservation b;
  resv_lock in_the_way;
  elsewhere([&] { in_the_way = *b.lock(); });
  lock_set hurried(duplicates::refused, deadline::in(30ms));
  const auto begin = monotonic_clock::now();
  CHECK(fails_with(hurried.lock_all(std::array{&a, &b}), errc::timed_out));
  CHECK(monotonic_clock::now() - begin >= 30ms);
  CHECK_FALSE(a.is_locked());
  CHECK(hurried.size() == 0);
  std::stop_source stop;
  lock_set stopped(duplicates::refused, deadline::never(), stop.get_token());
  std::thread stopper([&] {
    std::this_thread::sleep_for(20ms);
    stop.request_stop();
  });
  CHECK(fails_with(stopped.lock_all(std::array{&a, &b}), errc::canceled));
  stopper.join();
  CHECK_FALSE(a.is_locked());
}

// --- contention ----------------------------------------------------------------------------------------------------

TEST_CASE("the younger set lets go, waits for what was in the way, and begins anew") {
  contest c;
  lock_set younger;
  CHECK(c.lose(younger, [&](int) -> result<void> {
    CHECK(younger.size() == 1);
    CHECK(c.theirs.is_locked());
    PADDOCK_TRY_VOID(younger.lock(c.mine, 1));
    return younger.lock(c.theirs, 1);
  }));
  CHECK(younger.retries() == 1);
  CHECK(younger.size() == 2);
  CHECK(younger.held(c.mine).holds(c.mine));
  CHECK(younger.held(c.theirs).holds(c.theirs));
  CHECK(c.mine.add(younger.held(c.mine), make_fence(), usage::read));
  CHECK(c.theirs.add(younger.held(c.theirs), make_fence(), usage::read));
}

TEST_CASE("what was waited for is held, even when it is not asked for again") {
  contest c;
  lock_set younger;
  CHECK(c.lose(younger, [&](int) { return younger.lock(c.mine); }));
  CHECK(younger.size() == 2);
  CHECK(younger.held(c.theirs).holds(c.theirs));
  CHECK(fails_with(younger.lock(c.theirs), errc::already_locked));
  younger.unlock_all();
  CHECK_FALSE(c.theirs.is_locked());
  CHECK_FALSE(c.mine.is_locked());
  // Nothing of that is left in the set: both are locked anew.
  REQUIRE(younger.lock_all(std::array{&c.mine, &c.theirs}));
  CHECK(younger.size() == 2);
}

TEST_CASE("what was waited for may be named twice only where anything may") {
  for (const duplicates twice : {duplicates::refused, duplicates::ignored}) {
    contest c;
    lock_set younger(twice);
    const auto ended = c.lose(younger, [&](int) -> result<void> {
      PADDOCK_TRY_VOID(younger.lock(c.theirs, 1));
      return younger.lock(c.theirs, 1);
    });
    if (twice == duplicates::refused) {
      CHECK(fails_with(ended, errc::already_locked));
      CHECK_FALSE(c.theirs.is_locked());
    } else {
      CHECK(ended);
      CHECK(younger.size() == 1);
      CHECK(c.theirs.add(younger.held(c.theirs), make_fence(), usage::read));
      CHECK(c.theirs.add(younger.held(c.theirs), make_fence(), usage::read));
    }
  }
}

TEST_CASE("what was waited for is left when its room cannot be had, and the others stay where they are") {
  contest c;
  lock_set younger;
  constexpr std::uint32_t too_many = 1U << 25U;
  CHECK(c.lose(younger, [&](int) -> result<void> {
    PADDOCK_TRY_VOID(younger.lock(c.mine, 1));
    const resv_lock& proof = younger.held(c.mine);
    CHECK(fails_with(younger.lock(c.theirs, too_many), errc::out_of_memory));
    CHECK(younger.size() == 1);
    CHECK_FALSE(c.theirs.is_locked());
    CHECK_FALSE(younger.held(c.theirs));
    CHECK(&younger.held(c.mine) == &proof);
    return younger.lock(c.theirs, 1);
  }));
  CHECK(younger.size() == 2);
  CHECK(c.theirs.add(younger.held(c.theirs), make_fence(), usage::read));
  CHECK(c.mine.add(younger.held(c.mine), make_fence(), usage::read));
  younger.unlock_all();
  CHECK_FALSE(c.theirs.is_locked());
  CHECK_FALSE(c.mine.is_locked());
}

TEST_CASE("a set is told of a lock that its thread has without it") {
  for (const duplicates twice : {duplicates::refused, duplicates::ignored}) {
    reservation r;
    const auto lock = r.lock();
    lock_set locks(twice, shortly());
    CHECK(fails_with(locks.lock_all([&] { return locks.lock(r, 1); }), errc::already_locked));
  }
}

TEST_CASE("an error after contention ends it, with nothing locked") {
  contest c;
  lock_set younger;
  CHECK(fails_with(c.lose(younger, [](int) -> result<void> { return fail(errc::io, "test"); }), errc::io));
  CHECK(younger.size() == 0);
  CHECK_FALSE(c.theirs.is_locked());
  CHECK_FALSE(c.mine.is_locked());
}

TEST_CASE("a refused lock that was not passed on is told, and all is left") {
  reservation mine;
  reservation theirs;
  lock_set older;
  REQUIRE(older.lock_all([&] { return older.lock(theirs); }));
  elsewhere([&] {
    lock_set younger;
    int rounds = 0;
    CHECK(fails_with(younger.lock_all([&]() -> result<void> {
      ++rounds;
      PADDOCK_TRY_VOID(younger.lock(mine));
      CHECK(fails_with(younger.lock(theirs), errc::deadlock));
      return {};
    }),
                     errc::deadlock));
    CHECK(rounds == 1);
    CHECK(younger.size() == 0);
    CHECK_FALSE(mine.is_locked());
    // Unless there is something else to tell.
    CHECK(fails_with(younger.lock_all([&]() -> result<void> {
      PADDOCK_TRY_VOID(younger.lock(mine));
      CHECK(fails_with(younger.lock(theirs), errc::deadlock));
      return fail(errc::io, "test");
    }),
                     errc::io));
    // It is forgotten with that: what can go well does, and an error of the function is none of a lock.
    CHECK(younger.lock_all([&] { return younger.lock(mine); }));
    younger.unlock_all();
    CHECK(fails_with(younger.lock_all([]() -> result<void> { return fail(errc::deadlock, "test"); }), errc::deadlock));
    CHECK(younger.retries() == 0);
  });
}

TEST_CASE("a deadline ends the wait after a back-off, and so does a stop") {
  for (const bool by_stop : {false, true}) {
    reservation mine;
    reservation theirs;
    lock_set older;
    REQUIRE(older.lock_all([&] { return older.lock(theirs); }));
    elsewhere([&] {
      std::stop_source stop;
      lock_set younger(duplicates::refused, by_stop ? deadline::never() : shortly(), stop.get_token());
      std::thread stopper([&] {
        std::this_thread::sleep_for(20ms);
        if (by_stop) {
          stop.request_stop();
        }
      });
      CHECK(fails_with(younger.lock_all(std::array{&mine, &theirs}), by_stop ? errc::canceled : errc::timed_out));
      stopper.join();
      CHECK(younger.retries() == 1);
      CHECK(younger.size() == 0);
      CHECK_FALSE(mine.is_locked());
    });
    CHECK(older.held(theirs).holds(theirs));
  }
}

TEST_CASE("two sets in opposite orders both get through, again and again") {
  std::deque<reservation> all(80);  // More than fit into a set itself.
  std::uint64_t guarded = 0;
  std::atomic<std::uint64_t> succeeded{0};
  constexpr std::uint64_t rounds = 300;
  const auto lock_often = [&](bool backwards) {
    std::vector<reservation*> order(all.size());
    std::ranges::transform(all, order.begin(), [](reservation& each) { return &each; });
    if (backwards) {
      std::ranges::reverse(order);
    }
    for (std::uint64_t i = 0; i < rounds; ++i) {
      lock_set locks;
      if (locks.lock_all(order) && locks.size() == order.size()) {
        ++succeeded;
        ++guarded;
      }
    }
  };
  std::thread forwards([&] { lock_often(false); });
  elsewhere([&] { lock_often(true); });
  forwards.join();
  CHECK(succeeded == 2 * rounds);
  CHECK(guarded == 2 * rounds);
  CHECK(std::ranges::none_of(all, [](const reservation& r) { return r.is_locked(); }));
}

TEST_CASE("a set that holds locks is left before it is locked anew") {
  reservation a;
  reservation b;
  lock_set locks;
  REQUIRE(locks.lock(a));
  CHECK(fails_with(locks.lock_all(std::array{&b}), errc::invalid_argument));
  CHECK(a.is_locked());
  CHECK_FALSE(b.is_locked());
  locks.unlock_all();
  CHECK(locks.lock_all(std::array{&a, &b}));
}

TEST_CASE("what was refused before the set was left is forgotten with it") {
  reservation a;
  reservation b;
  acquire_context older;
  auto held = b.lock(older);
  REQUIRE(held);
  lock_set locks;
  REQUIRE(locks.lock(a));
  CHECK(fails_with(locks.lock(b), errc::deadlock));
  locks.unlock_all();
  CHECK(locks.lock_all(std::array{&a}));
  locks.unlock_all();
  // An error of the function's own that looks the same waits for nothing.
  CHECK(fails_with(locks.lock_all([]() -> result<void> { return fail(errc::deadlock, "its own"); }), errc::deadlock));
  CHECK(locks.retries() == 0);
}

}  // namespace paddock
