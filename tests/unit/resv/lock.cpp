// SPDX-License-Identifier: BSL-1.0
// The lock of a reservation, alone and among others.
#include <paddock/resv/reservation.hpp>

#include <sched.h>

#include <atomic>
#include <stop_token>
#include <thread>
#include <utility>

#include "reservations.hpp"

namespace paddock {

using namespace std::chrono_literals;
using test::elsewhere;
using test::eventually;
using test::fails_with;
using test::long_enough;
using test::make_fence;
using test::shortly;

namespace {

/// Takes one in another thread, by a context that is younger than all that have locked something before.
class holder {
 public:
  explicit holder(reservation& r)
      : thread_([this, &r] {
          acquire_context context;
          const auto lock = r.lock(context);
          held_ = true;
          while (!over_) {
            std::this_thread::sleep_for(1ms);
          }
        }) {
    REQUIRE(eventually([this] { return held_.load(); }));
  }
  holder(const holder&) = delete;
  holder& operator=(const holder&) = delete;
  ~holder() { let_go(); }
  void let_go() {
    over_ = true;
    if (thread_.joinable()) {
      thread_.join();
    }
  }

 private:
  std::atomic<bool> held_{false};
  std::atomic<bool> over_{false};
  std::thread thread_;
};

}  // namespace

// --- one
// --------------------------------------------------------------------------------------------------------------

TEST_CASE("a lock is held until it is left or goes") {
  reservation r;
  reservation other;
  CHECK_FALSE(r.is_locked());
  {
    auto lock = r.lock();
    REQUIRE(lock);
    CHECK(r.is_locked());
    CHECK(*lock);
    CHECK(lock->holds(r));
    CHECK_FALSE(lock->holds(other));
    lock->unlock();
    CHECK_FALSE(r.is_locked());
    CHECK_FALSE(*lock);
    CHECK_FALSE(lock->holds(r));
    lock->unlock();  // Which does nothing.
    CHECK(r.try_lock());
    CHECK_FALSE(r.is_locked());
    *lock = *r.lock();
    CHECK(r.is_locked());
  }
  CHECK_FALSE(r.is_locked());
}

TEST_CASE("a lock that is moved has one holder, and what is assigned over is left") {
  reservation a;
  reservation b;
  acquire_context context;
  auto first = a.lock(context);
  auto second = b.lock(context);
  REQUIRE(second);
  CHECK(context.held() == 2);
  resv_lock moved = std::move(*first);
  CHECK_FALSE(*first);  // NOLINT(bugprone-use-after-move): what is checked.
  CHECK(moved.holds(a));
  moved = std::move(*second);
  CHECK_FALSE(a.is_locked());
  CHECK(moved.holds(b));
  CHECK(context.held() == 1);
  resv_lock& itself = moved;
  moved = std::move(itself);
  CHECK(moved.holds(b));
  moved = resv_lock();
  CHECK_FALSE(b.is_locked());
  CHECK(context.held() == 0);
}

TEST_CASE("one that is locked is busy, for every thread") {
  reservation r;
  const auto lock = r.try_lock();
  REQUIRE(lock);
  CHECK(fails_with(r.try_lock(), errc::busy));
  elsewhere([&] { CHECK(fails_with(r.try_lock(), errc::busy)); });
  CHECK(lock->holds(r));
}

TEST_CASE("a thread that has the lock is told so instead of waiting for itself") {
  reservation r;
  const auto lock = r.lock();
  CHECK(fails_with(r.lock(), errc::deadlock));
  CHECK(fails_with(r.lock(long_enough()), errc::deadlock));
}

TEST_CASE("a thread that has the lock is told so when it asks with a context") {
  reservation r;
  const auto lock = r.lock();
  acquire_context context;
  CHECK(fails_with(r.lock(context, long_enough()), errc::already_locked));
  CHECK(context.held() == 0);
  // Another thread is made to wait.
  elsewhere([&] {
    acquire_context other;
    CHECK(fails_with(r.lock(other, shortly()), errc::timed_out));
  });
}

TEST_CASE("a context that has the lock is told so, in whichever thread") {
  reservation r;
  acquire_context context;
  const auto lock = r.lock(context);
  CHECK(fails_with(r.lock(context), errc::already_locked));
  elsewhere([&] { CHECK(fails_with(r.lock(context, long_enough()), errc::already_locked)); });
  CHECK(context.held() == 1);
}

TEST_CASE("who waits for a lock gets it when it is left, and sees what its holder did") {
  reservation r;
  int guarded = 0;
  auto lock = r.lock();
  std::thread waiter([&] {
    const auto mine = r.lock();
    CHECK(mine);
    CHECK(guarded == 1);
    guarded = 2;
  });
  std::this_thread::sleep_for(20ms);
  guarded = 1;
  lock->unlock();
  waiter.join();
  CHECK(guarded == 2);
}

TEST_CASE("a lock that does not come is given up at the deadline, not before") {
  reservation r;
  const holder other(r);
  acquire_context context;
  const auto begin = monotonic_clock::now();
  CHECK(fails_with(r.lock(deadline::in(30ms)), errc::timed_out));
  CHECK(monotonic_clock::now() - begin >= 30ms);
  CHECK(fails_with(r.lock(context, deadline::in(30ms)), errc::timed_out));
  CHECK(monotonic_clock::now() - begin >= 60ms);
  CHECK(fails_with(r.lock(deadline::now()), errc::timed_out));
  CHECK(context.held() == 0);
}

TEST_CASE("a lock that is free is taken, however late it is") {
  reservation r;
  std::stop_source stop;
  stop.request_stop();
  CHECK(r.lock(deadline::now(), stop.get_token()));
}

TEST_CASE("a stop that was requested ends a wait before it begins, one that comes ends it then") {
  reservation r;
  const holder other(r);
  std::stop_source early;
  early.request_stop();
  CHECK(fails_with(r.lock(deadline::never(), early.get_token()), errc::canceled));
  acquire_context context;
  CHECK(fails_with(r.lock(context, deadline::never(), early.get_token()), errc::canceled));
  std::stop_source late;
  std::thread stopper([&] {
    std::this_thread::sleep_for(20ms);
    late.request_stop();
  });
  CHECK(fails_with(r.lock(deadline::never(), late.get_token()), errc::canceled));
  stopper.join();
  // One that is never requested changes nothing.
  std::stop_source never;
  CHECK(fails_with(r.lock(shortly(), never.get_token()), errc::timed_out));
}

TEST_CASE("a stop for one that waits leaves the others waiting") {
  reservation r;
  holder other(r);
  std::stop_source stop;
  std::atomic<bool> got{false};
  std::thread patient([&] {
    const auto mine = r.lock();
    got = mine.has_value();
  });
  std::thread stopped([&] { CHECK(fails_with(r.lock(deadline::never(), stop.get_token()), errc::canceled)); });
  std::this_thread::sleep_for(20ms);
  stop.request_stop();
  stopped.join();
  CHECK_FALSE(got);
  other.let_go();
  patient.join();
  CHECK(got);
}

TEST_CASE("a lock is handed to another thread, with its room") {
  reservation r;
  const fence_ptr f = make_fence();
  acquire_context context;
  for (const bool with_context : {false, true}) {
    auto lock = with_context ? r.lock(context) : r.lock();
    REQUIRE(r.reserve(*lock, 1));
    std::thread other([&r, &f, mine = std::move(*lock)]() mutable {
      CHECK(r.add(mine, f, usage::read));
      mine.unlock();
    });
    other.join();
    CHECK_FALSE(r.is_locked());
    CHECK(context.held() == 0);
  }
}

// --- several
// ----------------------------------------------------------------------------------------------------------

TEST_CASE("a context that holds something is told to let go when an older one is in the way, by age") {
  reservation a;
  reservation b;
  reservation first;
  acquire_context older;
  acquire_context younger;
  // The age of a context is that of its first lock. The younger one comes to both reservations first.
  first.lock(older)->unlock();
  auto held_by_younger = a.lock(younger);
  auto held_by_older = b.lock(older);
  REQUIRE(held_by_older);
  CHECK(fails_with(b.lock(younger, long_enough()), errc::deadlock));
  CHECK(younger.held() == 1);
  // The older one waits for the younger one.
  CHECK(fails_with(a.lock(older, shortly()), errc::timed_out));
  CHECK(older.held() == 1);
  // And gets it.
  std::thread patient([&] {
    const auto both = a.lock(older, long_enough());
    CHECK(both);
    CHECK(older.held() == 2);
  });
  std::this_thread::sleep_for(10ms);
  held_by_younger->unlock();
  patient.join();
}

TEST_CASE("a context keeps its age over all that it locks and leaves") {
  reservation a;
  reservation b;
  acquire_context older;
  acquire_context younger;
  a.lock(older)->unlock();
  a.lock(younger)->unlock();
  for (int i = 0; i < 3; ++i) {
    const auto held_by_younger = a.lock(younger);
    const auto held_by_older = b.lock(older);
    CHECK(fails_with(b.lock(younger, long_enough()), errc::deadlock));
    CHECK(fails_with(a.lock(older, deadline::now()), errc::timed_out));
  }
}

TEST_CASE("a context that holds nothing waits, however old the other one is") {
  reservation r;
  reservation first;
  acquire_context older;
  acquire_context younger;
  auto lock = r.lock(older);
  CHECK(fails_with(r.lock(younger, shortly()), errc::timed_out));
  std::thread patient([&] { CHECK(r.lock(younger, long_enough())); });
  std::this_thread::sleep_for(10ms);
  lock->unlock();
  patient.join();
}

TEST_CASE("a context waits for who has one lock without a context") {
  reservation a;
  reservation b;
  acquire_context context;
  const auto held = a.lock(context);
  auto lock = b.lock();
  std::thread patient([&] { CHECK(b.lock(context, long_enough())); });
  std::this_thread::sleep_for(10ms);
  lock->unlock();
  patient.join();
}

TEST_CASE("who waits is told to let go when an older context gets the lock meanwhile") {
  for (int round = 0; round < 10; ++round) {
    reservation a;
    reservation b;
    acquire_context older;
    acquire_context younger;
    a.lock(older)->unlock();
    const auto held = a.lock(younger);
    auto in_the_way = b.lock();
    std::atomic<bool> over{false};
    bool let_go = false;
    bool told = false;
    std::thread waiter([&] {
      const auto ended = b.lock(younger, long_enough());  // Left at once, if it is the younger one that gets it first.
      let_go = ended.has_value() || ended.error() == errc::deadlock;
      over = true;
    });
    std::thread winner([&] {
      const auto mine = b.lock(older, long_enough());
      told = mine && eventually([&] { return over.load(); });
    });
    std::this_thread::sleep_for(5ms);
    in_the_way->unlock();
    waiter.join();
    winner.join();
    CHECK(let_go);
    CHECK(told);
  }
}

TEST_CASE("who waits for a lock that is kept for an older context lets go when that one has it") {
  // Both threads on one processor, where the one that the lock is kept for does not run before this one sleeps.
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(::sched_getcpu()), &one);
  REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
  reservation wanted;
  reservation held;
  acquire_context older;
  acquire_context younger;
  wanted.lock(older)->unlock();
  auto held_by_younger = held.lock(younger);
  resv_lock in_the_way = std::move(*wanted.try_lock());
  bool got_both = false;
  std::thread patient([&] {
    const sched_param none{};
    ::sched_setscheduler(0, SCHED_IDLE, &none);
    const auto first = wanted.lock(older, long_enough());
    const auto second = held.lock(older, long_enough());
    got_both = first && second;
  });
  for (const deadline until = long_enough(); in_the_way && !until.passed();) {
    std::this_thread::sleep_for(1ms);  // It goes to sleep once more, and is overtaken once more.
    in_the_way.unlock();
    if (auto again = wanted.try_lock(); again) {
      in_the_way = std::move(*again);
    }
  }
  // Now the lock is free, and is kept for who was overtaken too often.
  const bool was_kept = !in_the_way;
  const auto ended = wanted.lock(younger, deadline::in(30s));
  held_by_younger->unlock();
  in_the_way.unlock();
  patient.join();
  REQUIRE(was_kept);
  CHECK(fails_with(ended, errc::deadlock));
  CHECK(got_both);
}

TEST_CASE("a context that is renewed is the youngest") {
  reservation a;
  reservation b;
  acquire_context first;
  REQUIRE(a.lock(first));
  acquire_context second;
  const auto held = b.lock(second);
  REQUIRE(held);
  {
    const auto mine = a.lock(first);
    CHECK(fails_with(b.lock(first, shortly()), errc::timed_out));  // The older one waits.
  }
  first.renew();
  const auto mine = a.lock(first);
  CHECK(fails_with(b.lock(first, shortly()), errc::deadlock));
}

}  // namespace paddock
