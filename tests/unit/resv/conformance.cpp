// SPDX-License-Identifier: BSL-1.0
// The cases of the kernel's own suites for dma_resv (st-dma-resv) and drm_exec (drm_exec_test), by their numbers, and
// those that they leave out.
#include <paddock/resv/cursor.hpp>
#include <paddock/resv/lock_set.hpp>
#include <paddock/resv/reservation.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "reservations.hpp"

namespace paddock {

using test::add;
using test::all_usages;
using test::found;
using test::pending;
using test::release_count;

TEST_CASE("R1 sanitycheck") {
  reservation r;
  const auto lock = r.lock();
  REQUIRE(lock);
  CHECK(r.is_locked());
}

TEST_CASE("R2 signaling") {
  release_count freed;
  for (const usage as : all_usages) {
    reservation r;
    const fence_ptr f = freed.make();
    add(r, f, as);
    CHECK_FALSE(r.test_signaled(as));
    f->signal();
    CHECK(r.test_signaled(as));
  }
}

TEST_CASE("R3 for_each") {
  release_count freed;
  for (const usage as : all_usages) {
    reservation r;
    const fence_ptr f = freed.make();
    const auto lock = r.lock();
    REQUIRE(r.reserve(*lock, 1));
    REQUIRE(r.add(*lock, f, as));
    std::vector<found> seen;
    CHECK(r.for_each(*lock, as, [&](fence& each, usage of) { seen.push_back({&each, of}); }));
    CHECK(seen == std::vector<found>{{f.get(), as}});
  }
}

TEST_CASE("R4 for_each unlocked") {
  release_count freed;
  for (const usage as : all_usages) {
    reservation r;
    const fence_ptr f = freed.make();
    add(r, f, as);
    fence_cursor each(r, as);
    CHECK(each.next() == f);
    CHECK(each.is_restarted());
    CHECK(each.current_usage() == as);
    CHECK_FALSE(each.next());
    CHECK_FALSE(each.is_restarted());
  }
}

TEST_CASE("R5 get_fences") {
  release_count freed;
  for (const usage as : all_usages) {
    reservation r;
    fence_ptr f = freed.make();
    add(r, f, as);
    const fence* const which = f.get();
    auto taken = r.snapshot(as);
    REQUIRE(taken);
    f.reset();
    CHECK(taken->size() == 1);
    CHECK((*taken)[0].get() == which);
  }
  CHECK(freed.freed == 4);
}

TEST_CASE("R6 a query is for its usage and all that are stronger") {
  release_count freed;
  for (const usage as : all_usages) {
    reservation r;
    const fence_ptr f = freed.make();
    add(r, f, as);
    for (const usage upto : all_usages) {
      CHECK(r.test_signaled(upto) == (upto < as));
      CHECK(pending(r, upto).size() == (upto < as ? 0U : 1U));
      CHECK(r.snapshot(upto)->size() == (upto < as ? 0U : 1U));
    }
  }
}

TEST_CASE("R7 a reader does not wait for readers, a writer does") {
  release_count freed;
  reservation r;
  const fence_ptr f = freed.make();
  add(r, f, usage::read);
  CHECK(r.test_signaled(usage_for(access::read)));
  CHECK_FALSE(r.test_signaled(usage_for(access::write)));
  CHECK_FALSE(r.test_signaled(usage_for(access::read_write)));
}

TEST_CASE("R8 everybody waits for a writer") {
  release_count freed;
  reservation r;
  const fence_ptr f = freed.make();
  add(r, f, usage::write);
  CHECK_FALSE(r.test_signaled(usage_for(access::read)));
  CHECK_FALSE(r.test_signaled(usage_for(access::write)));
}

TEST_CASE("R12 a later fence of a context takes the place of an earlier one") {
  fence_context queue("queue", std::chrono::seconds(1));
  reservation r;
  const fence_ptr fifth = *queue.create(fence_seqno(5));
  const fence_ptr seventh = *queue.create(fence_seqno(7));
  add(r, fifth, usage::write);
  add(r, seventh, usage::write);
  CHECK(pending(r) == std::vector<found>{{seventh.get(), usage::write}});
  // An earlier one does not come back, but is not lost either: it is added beside.
  add(r, fifth, usage::write);
  CHECK(pending(r).size() == 2);
  fifth->signal();
  seventh->signal();
}

TEST_CASE("R13 a fence can be promoted, and not demoted") {
  release_count freed;
  reservation r;
  const fence_ptr f = freed.make();
  add(r, f, usage::read);
  add(r, f, usage::write);
  CHECK(pending(r) == std::vector<found>{{f.get(), usage::write}});
  add(r, f, usage::bookkeep);
  CHECK_FALSE(r.test_signaled(usage::write));
  f->signal();
}

TEST_CASE("R18 reserve(0)") {
  reservation r;
  const auto lock = r.lock();
  CHECK(r.reserve(*lock, 0).error() == errc::invalid_argument);
}

TEST_CASE("R19 room adds up, and lists grow") {
  release_count freed;
  reservation r;
  const auto lock = r.lock();
  REQUIRE(r.reserve(*lock, 1));
  REQUIRE(r.reserve(*lock, 1));
  std::vector<fence_ptr> fences;
  for (int i = 0; i < 2; ++i) {
    fences.push_back(freed.make());
    CHECK(r.add(*lock, fences.back(), usage::read));
  }
  CHECK(r.add(*lock, fences.back(), usage::read).error() == errc::not_reserved);
  fences[0]->signal();
  // The one that is done is dropped when the list grows.
  REQUIRE(r.reserve(*lock, 100));
  std::size_t kept = 0;
  CHECK(r.for_each(*lock, usage::bookkeep, [&](fence&, usage) { ++kept; }));
  CHECK(kept == 1);
  CHECK(r.collect(*lock) == 0U);
  fences[0].reset();
  CHECK(freed.freed == 1);
  fences[1]->signal();
}

TEST_CASE("R21 unlocked iteration while another thread adds until the list grows") {
  constexpr std::size_t added = 2000;
  reservation r;
  std::atomic<bool> over{false};
  std::atomic<std::size_t> so_far{0};
  std::atomic<bool> walking{false};
  std::vector<fence_ptr> fences = test::make_fences(added);
  bool all_added = true;  // No assertion while two threads run: Catch2 has one context for both.
  std::thread adder([&] {
    for (const fence_ptr& each : fences) {
      const auto lock = r.lock();
      all_added = all_added && lock && r.reserve(*lock, 1) && r.add(*lock, each, usage::read);
      ++so_far;
      while (!walking) {
        std::this_thread::yield();
      }
    }
    over = true;
  });
  bool live = true;
  std::size_t most = 0;
  std::size_t total = 0;
  std::size_t restarts = 0;
  for (bool last = false; !last;) {
    last = over;
    total = 0;
    fence_cursor each(r, usage::bookkeep);
    for (fence_ptr f = each.next(); f; f = each.next()) {
      if (each.is_restarted()) {
        restarts += total != 0 ? 1U : 0U;
        total = 0;
      }
      live = live && f->name() != nullptr && !f->is_signaled();
      if (++total == 1) {
        walking = true;
        // Here the list grows under the walk.
        for (const std::size_t enough = 2 * so_far + 16; so_far < enough && !over;) {
          std::this_thread::yield();
        }
      }
    }
    most = std::max(most, total);
  }
  adder.join();
  CHECK(all_added);
  CHECK(total == added);
  CHECK(most == added);
  CHECK(live);
  CHECK(restarts > 0);
  CHECK(pending(r).size() == added);
  for (const fence_ptr& each : fences) {
    each->signal();
  }
}

TEST_CASE("R23 resv copy") {
  release_count freed;
  reservation from;
  reservation to;
  std::vector<fence_ptr> fences;
  for (const usage as : all_usages) {
    fences.push_back(freed.make());
    add(from, fences.back(), as);
  }
  const fence_ptr gone = freed.make();
  add(to, gone, usage::write);
  fences[1]->signal();
  {
    const auto lock = to.lock();
    REQUIRE(to.copy(*lock, from));
  }
  CHECK(pending(to) == pending(from));
  CHECK(pending(to).size() == 3);
  for (const fence_ptr& each : fences) {
    each->signal();
  }
}

TEST_CASE("R25 wait") {
  release_count freed;
  reservation r;
  const fence_ptr f = freed.make();
  add(r, f, usage::read);
  CHECK(r.wait(usage::write, deadline::now()) == wait_status::signaled);
  CHECK(r.wait(usage::read, deadline::now()) == wait_status::timed_out);
  f->signal();
  CHECK(r.wait(usage::read, deadline::now()) == wait_status::signaled);
}

TEST_CASE("DE1 exec sanitycheck") {
  lock_set locks;
  CHECK(locks.lock_all([]() -> result<void> { return {}; }));
  CHECK(locks.size() == 0);
}

TEST_CASE("DE2 exec lock") {
  reservation r;
  {
    lock_set locks;
    REQUIRE(locks.lock_all([&] { return locks.lock(r); }));
    CHECK(r.is_locked());
    CHECK(locks.held(r).holds(r));
  }
  CHECK_FALSE(r.is_locked());
}

TEST_CASE("DE3 exec lock_unlock") {
  reservation r;
  lock_set locks;
  for (int i = 0; i < 2; ++i) {
    REQUIRE(locks.lock_all([&] { return locks.lock(r); }));
    locks.unlock_all();
    CHECK_FALSE(r.is_locked());
  }
}

TEST_CASE("DE4 exec duplicates") {
  reservation r;
  lock_set strict;
  const auto twice = [&](lock_set& locks) {
    return locks.lock_all([&]() -> result<void> {
      PADDOCK_TRY_VOID(locks.lock(r, 1));
      return locks.lock(r, 1);
    });
  };
  CHECK(twice(strict).error() == errc::already_locked);
  CHECK_FALSE(r.is_locked());
  lock_set lenient(duplicates::ignored);
  REQUIRE(twice(lenient));
  CHECK(lenient.size() == 1);
}

TEST_CASE("DE5 exec prepare") {
  release_count freed;
  reservation r;
  lock_set locks;
  REQUIRE(locks.lock_all([&] { return locks.lock(r, 1); }));
  const fence_ptr f = freed.make();
  CHECK(r.add(locks.held(r), f, usage::write));
  f->signal();
}

TEST_CASE("DE6 exec prepare_array") {
  release_count freed;
  std::array<reservation, 2> two;
  lock_set locks;
  REQUIRE(locks.lock_all(two, 1));
  CHECK(locks.size() == 2);
  for (reservation& each : two) {
    const fence_ptr f = freed.make();
    CHECK(each.add(locks.held(each), f, usage::write));
    f->signal();
  }
}

TEST_CASE("DE7 exec multiple_loops") {
  lock_set first;
  CHECK(first.lock_all([]() -> result<void> { return {}; }));
  lock_set second;
  CHECK(second.lock_all([]() -> result<void> { return {}; }));
}

}  // namespace paddock
