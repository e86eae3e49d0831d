// SPDX-License-Identifier: BSL-1.0
// What reservations promise of their costs while nobody is in the way.
#include <paddock/resv/reservation.hpp>

#include <array>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include <paddock/fence/context.hpp>
#include <paddock/resv/lock_set.hpp>

#include "catch.hpp"
#include "stepper.hpp"

using namespace paddock;
using namespace std::chrono_literals;
using paddock::test::cost;
using paddock::test::cost_of;
using paddock::test::counted;
using paddock::test::events;
using paddock::test::must;

namespace {

fence_ptr make_fence() {
  // Each of a context of its own, so that none takes another one's place.
  fence_context own("count", 1s);
  return *own.create();
}

/// A reservation with four pending fences.
struct four_pending {
  four_pending() {
    const auto lock = r.lock();
    must(r.reserve(*lock, 4).has_value());
    for (int i = 0; i < 4; ++i) {
      must(r.add(*lock, make_fence(), usage::write).has_value());
    }
  }
  reservation r;
  std::optional<fence_snapshot> taken;
};

}  // namespace

TEST_CASE("a reservation is locked with one locked instruction, and left with none") {
  const cost alone = cost_of("lock and unlock", [] {
    reservation r;
    must(counted([](reservation& each) { return each.lock().has_value(); }, r));
  });
  CHECK(alone.events == events{.locked = 1});
  const cost by_context = cost_of("lock and unlock by a context", [] {
    struct {
      reservation r;
      acquire_context context;
    } both;
    must(counted([](decltype(both)& each) { return each.r.lock(each.context).has_value(); }, both));
  });
  CHECK(by_context.events == events{.locked = 1});
  const cost tried = cost_of("try_lock and unlock", [] {
    reservation r;
    must(counted([](reservation& each) { return each.try_lock().has_value(); }, r));
  });
  CHECK(tried.events == events{.locked = 1});
  const cost refused = cost_of("try_lock of one that is locked", [] {
    reservation r;
    const auto lock = r.lock();
    must(!counted([](reservation& each) { return each.try_lock().has_value(); }, r));
  });
  CHECK(refused.events == events{.locked = 1});
  const cost left_with_work = cost_of("lock and unlock, where work is left for holders", [] {
    reservation r;
    {
      const auto lock = r.lock();
      must(r.expect_left_work(*lock).has_value());
    }
    must(counted([](reservation& each) { return each.lock().has_value(); }, r));
  });
  // The fence: an instruction that is locked, or one that is called so.
  CHECK(left_with_work.events.locked + left_with_work.events.fences == 2);
  CHECK(left_with_work.events.syscalls.empty());
}

TEST_CASE("a set costs one locked instruction for each reservation, and nothing else") {
  const cost c = cost_of("lock_set of 4, lock and unlock", [] {
    std::array<reservation, 4> all;
    must(counted(
        [](std::array<reservation, 4>& each) {
          lock_set locks;
          return locks.lock_all(each).has_value();
        },
        all));
  });
  CHECK(c.events == events{.locked = 4});
  const cost sixteen = cost_of("lock_set of 16, lock and unlock", [] {
    std::array<reservation, 16> all;
    must(counted(
        [](std::array<reservation, 16>& each) {
          lock_set locks;
          return locks.lock_all(each).has_value();
        },
        all));
  });
  CHECK(sixteen.events == events{.locked = 16});
}

TEST_CASE("room on a warm reservation and a fence in it cost nothing but plain stores") {
  struct warm {
    reservation r;
    resv_lock lock{*r.lock()};
    fence_ptr added{make_fence()};
  };
  const auto reserve_and_add = [](warm& w) {
    return w.r.reserve(w.lock, 1).has_value() && w.r.add(w.lock, std::move(w.added), usage::write).has_value();
  };
  const cost into_free = cost_of("reserve and add, into a free slot", [reserve_and_add] {
    warm w;
    must(w.r.reserve(w.lock, 1).has_value());
    must(w.r.add(w.lock, make_fence(), usage::write).has_value());
    must(counted(reserve_and_add, w));
  });
  CHECK(into_free.events == events{});
  const cost into_done = cost_of("reserve and add, in the place of one that is done", [reserve_and_add] {
    warm w;
    const fence_ptr done = make_fence();
    must(w.r.reserve(w.lock, 1).has_value());
    must(w.r.add(w.lock, done, usage::write).has_value());
    done->signal();
    must(counted(reserve_and_add, w));
  });
  CHECK(into_done.events == events{});
}

TEST_CASE("a look at four fences is loads and stores of the thread's own line") {
  const cost look = cost_of("test_signaled of 4", [] {
    four_pending four;
    must(!four.r.test_signaled(usage::write));
    must(!counted([](four_pending& f) { return f.r.test_signaled(usage::write); }, four));
  });
  CHECK(look.events == events{});
  const cost all_done = cost_of("test_signaled of 4, done", [] {
    four_pending four;
    four.r.for_each(usage::write, [](fence& f, usage) { f.signal(); });
    must(counted([](four_pending& f) { return f.r.test_signaled(usage::write); }, four));
  });
  CHECK(all_done.events == events{});
  const cost visit = cost_of("for_each of 4", [] {
    four_pending four;
    must(!four.r.test_signaled(usage::write));
    must(counted(
        [](four_pending& f) {
          int seen = 0;
          f.r.for_each(usage::write, [&](fence&, usage) { ++seen; });
          return seen == 4;
        },
        four));
  });
  CHECK(visit.events == events{});
}

TEST_CASE("a snapshot costs a locked instruction a fence to take, and one to drop") {
  const cost take = cost_of("snapshot of 4, take", [] {
    four_pending four;
    must(!four.r.test_signaled(usage::write));
    must(counted(
        [](four_pending& f) {
          f.taken.emplace(*f.r.snapshot(usage::write));
          return f.taken->size() == 4;
        },
        four));
  });
  CHECK(take.events == events{.locked = 4});
  const cost drop = cost_of("snapshot of 4, drop", [] {
    four_pending four;
    four.taken.emplace(*four.r.snapshot(usage::write));
    counted([](four_pending& f) { f.taken.reset(); }, four);
  });
  CHECK(drop.events == events{.locked = 4});
}

TEST_CASE("a guard has no locked instruction, and makes the looks inside it cheaper") {
  const cost guard = cost_of("resv_guard", [] {
    four_pending four;
    must(!four.r.test_signaled(usage::write));
    counted([](four_pending& f) { const resv_guard inside(f.r); }, four);
  });
  CHECK(guard.events == events{});
  const auto look = [](four_pending& f) { return f.r.test_signaled(usage::kernel); };
  const cost outside = cost_of("test_signaled of 4, for another usage", [look] {
    four_pending four;
    must(four.r.test_signaled(usage::kernel));
    must(counted(look, four));
  });
  const cost inside = cost_of("the same inside a guard", [look] {
    four_pending four;
    const resv_guard guarded(four.r);
    must(counted(look, four));
  });
  CHECK(inside.events == events{});
  CHECK(inside.instructions < outside.instructions);
}
