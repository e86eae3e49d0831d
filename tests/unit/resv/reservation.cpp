// SPDX-License-Identifier: BSL-1.0
// The fences of a reservation; its lock has lock.cpp.
#include <paddock/resv/cursor.hpp>
#include <paddock/resv/reservation.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "reservations.hpp"

namespace paddock {

using namespace std::chrono_literals;
using test::add;
using test::all_usages;
using test::collect;
using test::elsewhere;
using test::eventually;
using test::fails_with;
using test::found;
using test::make_fence;
using test::make_fences;
using test::pending;
using test::release_count;

namespace {

/// What each function that takes a proof says to one that proves nothing here.
void check_wrong_lock(reservation& r, const resv_lock& proof) {
  const reservation other;
  const auto before = pending(r);
  release_count freed;
  CHECK(fails_with(r.reserve(proof, 1), errc::wrong_lock));
  CHECK(fails_with(r.add(proof, freed.make(), usage::read), errc::wrong_lock));
  CHECK(fails_with(r.commit(proof, freed.make(), access::write), errc::wrong_lock));
  CHECK(freed.freed == 2);
  const fence_ptr by = freed.make();
  for (const found& each : before) {
    CHECK(fails_with(r.replace(proof, each.which->context(), by, usage::read), errc::wrong_lock));
  }
  CHECK(fails_with(r.dependencies(proof, access::write), errc::wrong_lock));
  CHECK(fails_with(r.copy(proof, other), errc::wrong_lock));
  int visited = 0;
  CHECK(fails_with(r.for_each(proof, usage::bookkeep, [&](fence&, usage) { ++visited; }), errc::wrong_lock));
  CHECK(visited == 0);
  CHECK(fails_with(r.collect(proof), errc::wrong_lock));
  // The proof counts before the arguments do.
  CHECK(fails_with(r.reserve(proof, 0), errc::wrong_lock));
  CHECK(fails_with(r.add(proof, fence_ptr(), usage::read), errc::wrong_lock));
  CHECK(pending(r) == before);
}

/// All that the list has, those that are done included.
std::vector<found> owned(const reservation& r, const resv_lock& proof, usage upto = usage::bookkeep) {
  std::vector<found> all;
  CHECK(r.for_each(proof, upto, [&](fence& f, usage as) { all.push_back({&f, as}); }));
  return all;
}

fence_ptr make_array_of_all() { return *fence_array::create(make_fences(2)); }
fence_ptr make_chain() { return *fence_chain::create(fence_ptr(), make_fence(), 1); }

}  // namespace

// --- proofs
// -----------------------------------------------------------------------------------------------------------

TEST_CASE("only the lock of this very reservation lets anybody change it") {
  reservation r;
  reservation other;
  const fence_ptr f = make_fence();
  add(r, f, usage::read);
  const auto others = other.lock();
  REQUIRE(others);
  check_wrong_lock(r, *others);
  check_wrong_lock(r, resv_lock());
  auto unlocked = r.lock();
  REQUIRE(unlocked);
  unlocked->unlock();
  check_wrong_lock(r, *unlocked);
  auto moved = r.lock();
  REQUIRE(moved);
  const resv_lock held = std::move(*moved);
  check_wrong_lock(r, *moved);  // NOLINT(bugprone-use-after-move): what is checked.
  check_wrong_lock(r, *others);
  CHECK(r.reserve(held, 1));
  f->signal();
}

// --- room
// -------------------------------------------------------------------------------------------------------------

TEST_CASE("without room nothing is added, and what is refused is not leaked") {
  release_count freed;
  reservation r;
  const auto lock = r.lock();
  CHECK(fails_with(r.add(*lock, freed.make(), usage::read), errc::not_reserved));
  CHECK(fails_with(r.commit(*lock, freed.make(), access::read), errc::not_reserved));
  CHECK(freed.freed == 2);
  REQUIRE(r.reserve(*lock, 2));
  CHECK(r.add(*lock, freed.make(), usage::read));
  CHECK(r.commit(*lock, freed.make(), access::read));
  CHECK(fails_with(r.add(*lock, freed.make(), usage::read), errc::not_reserved));
  CHECK(pending(r).size() == 2);
  CHECK(freed.freed == 3);
}

TEST_CASE("room ends with the lock, and moves with it") {
  reservation r;
  const fence_ptr f = make_fence();
  {
    auto lock = r.lock();
    REQUIRE(r.reserve(*lock, 3));
    resv_lock moved = std::move(*lock);
    CHECK(r.add(moved, f, usage::read));
    resv_lock assigned;
    assigned = std::move(moved);
    CHECK(r.add(assigned, f, usage::read));
  }
  const auto lock = r.lock();
  CHECK(fails_with(r.add(*lock, f, usage::read), errc::not_reserved));
  f->signal();
}

TEST_CASE("a fence that takes another one's place uses up its room too") {
  reservation r;
  const fence_ptr f = make_fence();
  const auto lock = r.lock();
  REQUIRE(r.reserve(*lock, 2));
  CHECK(r.add(*lock, f, usage::read));
  CHECK(r.add(*lock, f, usage::read));
  CHECK(pending(r).size() == 1);
  CHECK(fails_with(r.add(*lock, f, usage::read), errc::not_reserved));
  f->signal();
}

TEST_CASE("room that no memory could hold is refused, and the room from before stays") {
  reservation r;
  const auto fences = make_fences(2);
  const auto lock = r.lock();
  REQUIRE(r.reserve(*lock, 1));
  CHECK(fails_with(r.reserve(*lock, UINT32_MAX), errc::out_of_memory));
  CHECK(r.add(*lock, fences[0], usage::read));
  CHECK(fails_with(r.add(*lock, fences[1], usage::read), errc::not_reserved));
  fences[0]->signal();
}

// --- add, commit
// ------------------------------------------------------------------------------------------------------

TEST_CASE("a container and an empty pointer are not added, and leave the room") {
  reservation r;
  const auto lock = r.lock();
  REQUIRE(r.reserve(*lock, 1));
  CHECK(fails_with(r.reserve(*lock, 0), errc::invalid_argument));
  CHECK(fails_with(r.add(*lock, fence_ptr(), usage::read), errc::invalid_argument));
  CHECK(fails_with(r.add(*lock, make_array_of_all(), usage::read), errc::invalid_argument));
  CHECK(fails_with(r.add(*lock, make_chain(), usage::read), errc::invalid_argument));
  CHECK(fails_with(r.commit(*lock, make_chain(), access::read), errc::invalid_argument));
  CHECK(fails_with(r.replace(*lock, 1, fence_ptr(), usage::read), errc::invalid_argument));
  CHECK(fails_with(r.replace(*lock, 1, make_array_of_all(), usage::read), errc::invalid_argument));
  CHECK(pending(r).empty());
  // An array of any stands for no other fences, so it is none.
  CHECK(r.add(*lock, *fence_array::create(make_fences(2), array_mode::any), usage::read));
  CHECK(pending(r).size() == 1);
}

TEST_CASE("a fence gets a stronger usage, never a weaker one") {
  for (const usage before : all_usages) {
    for (const usage after : all_usages) {
      reservation r;
      const fence_ptr f = make_fence();
      add(r, f, before);
      add(r, f, after);
      if (after <= before) {
        CHECK(pending(r) == std::vector<found>{{f.get(), after}});
      } else {
        CHECK(pending(r) == std::vector<found>{{f.get(), before}, {f.get(), after}});
      }
      f->signal();
    }
  }
}

TEST_CASE("of one context a later fence takes the place of one with the same or a weaker usage") {
  for (const auto order : {fence_context::seqno_order::never_wraps, fence_context::seqno_order::wraps_at_32_bits}) {
    const bool wraps = order == fence_context::seqno_order::wraps_at_32_bits;
    fence_context queue("queue", 1s, order);
    const fence_ptr early = *queue.create(fence_seqno(wraps ? 0xffff'fffeU : 1));
    const fence_ptr late = *queue.create(fence_seqno(wraps ? 1U : 0xffff'fffeU));
    for (const usage before : all_usages) {
      for (const usage after : all_usages) {
        reservation r;
        const auto others = make_fences(2);
        add(r, others[0], usage::write);
        add(r, early, before);
        add(r, others[1], usage::bookkeep);
        add(r, late, after);
        std::vector<found> expected{
            {others[0].get(), usage::write}, {early.get(), before}, {others[1].get(), usage::bookkeep}};
        if (after <= before) {
          expected[1] = {late.get(), after};
        } else {
          expected.push_back({late.get(), after});
        }
        CHECK(pending(r) == expected);
        // An earlier one never takes a later one's place.
        add(r, early, usage::kernel);
        CHECK(std::ranges::count(pending(r), found{early.get(), usage::kernel}) == 1);
        CHECK(std::ranges::count(pending(r), found{late.get(), after}) == 1);
        for (const fence_ptr& each : others) {
          each->signal();
        }
      }
    }
    early->signal();
    late->signal();
  }
}

TEST_CASE("a fence takes the place of one that is done, and lets the others be") {
  release_count freed;
  reservation r;
  const fence_ptr first = make_fence();
  add(r, first, usage::read);
  fence_ptr done = freed.make();
  add(r, done, usage::kernel);
  const fence_ptr third = make_fence();
  add(r, third, usage::read);
  done->signal();
  done.reset();
  const fence_ptr late = make_fence();
  add(r, late, usage::bookkeep);
  CHECK(pending(r) ==
        std::vector<found>{{first.get(), usage::read}, {late.get(), usage::bookkeep}, {third.get(), usage::read}});
  CHECK(collect(r) == 0);
  CHECK(freed.freed == 1);
}

TEST_CASE("commit adds a reader as a reader, and who writes as a writer") {
  reservation r;
  const auto jobs = make_fences(3);
  const auto lock = r.lock();
  REQUIRE(r.reserve(*lock, 3));
  CHECK(r.commit(*lock, jobs[0], access::read));
  CHECK(r.commit(*lock, jobs[1], access::write));
  CHECK(r.commit(*lock, jobs[2], access::read_write));
  CHECK(pending(r) ==
        std::vector<found>{{jobs[0].get(), usage::read}, {jobs[1].get(), usage::write}, {jobs[2].get(), usage::write}});
}

TEST_CASE("a list grows as it must, and loses nothing") {
  reservation r;
  const auto fences = make_fences(1000);
  std::vector<found> expected;
  for (const fence_ptr& f : fences) {
    add(r, f, usage::read);
    expected.push_back({f.get(), usage::read});
  }
  CHECK(pending(r) == expected);
}

// --- replace
// ----------------------------------------------------------------------------------------------------------

TEST_CASE("replace puts one fence in the place of all of a context, done or not, whatever its usage") {
  release_count freed;
  fence_context queue("queue", 1s);
  reservation r;
  const fence_ptr other = make_fence();
  fence_ptr strong = *queue.create(fence_seqno(1), &release_count::ops, &freed);
  fence_ptr weak = *queue.create(fence_seqno(2), &release_count::ops, &freed);
  add(r, strong, usage::kernel);
  add(r, other, usage::write);
  add(r, weak, usage::read);
  fence_ptr by = freed.make();
  const fence* const which = by.get();
  {
    const auto lock = r.lock();
    REQUIRE(r.replace(*lock, queue.id(), by, usage::bookkeep));  // Which takes no room.
    CHECK(owned(r, *lock) ==
          std::vector<found>{{which, usage::bookkeep}, {other.get(), usage::write}, {which, usage::bookkeep}});
    REQUIRE(r.replace(*lock, queue.id(), other, usage::bookkeep));  // Nothing is of that context any more.
    CHECK(std::ranges::count(owned(r, *lock), found{which, usage::bookkeep}) == 2);
  }
  strong.reset();
  weak.reset();
  CHECK(collect(r) == 0);
  CHECK(freed.freed == 2);
  by->signal();
  by.reset();
  CHECK(freed.freed == 2);
  {
    const auto lock = r.lock();
    REQUIRE(r.copy(*lock, reservation()));
  }
  CHECK(collect(r) == 0);
  CHECK(freed.freed == 3);
}

TEST_CASE("replace in an empty reservation is none") {
  reservation r;
  const auto lock = r.lock();
  CHECK(r.replace(*lock, 7, make_fence(), usage::read));
  CHECK(pending(r).empty());
}

// --- copy
// -------------------------------------------------------------------------------------------------------------

TEST_CASE("copy takes what is pending, with its usage, in place of what was there") {
  release_count freed;
  reservation from;
  reservation to;
  std::vector<fence_ptr> fences;
  for (const usage as : all_usages) {
    fences.push_back(freed.make());
    add(from, fences.back(), as);
    add(to, freed.make(), as);
  }
  fences[2]->signal();
  // The other one need not be locked, and may be, by another thread too.
  const auto others = from.lock();
  elsewhere([&] {
    const auto lock = to.lock();
    REQUIRE(to.copy(*lock, from));
    CHECK(owned(to, *lock) == std::vector<found>{{fences[0].get(), usage::kernel},
                                                 {fences[1].get(), usage::write},
                                                 {fences[3].get(), usage::bookkeep}});
    CHECK(to.collect(*lock) == 0U);
  });
  CHECK(freed.freed == 4);
  CHECK(owned(from, *others).size() == 4);
}

TEST_CASE("copied onto itself a reservation keeps what is pending") {
  release_count freed;
  reservation r;
  fence_ptr done = freed.make();
  const fence_ptr kept = freed.make();
  add(r, done, usage::write);
  add(r, kept, usage::read);
  done->signal();
  done.reset();
  const auto lock = r.lock();
  REQUIRE(r.copy(*lock, r));
  CHECK(owned(r, *lock) == std::vector<found>{{kept.get(), usage::read}});
  CHECK(r.collect(*lock) == 0U);
  CHECK(freed.freed == 1);
  kept->signal();
}

TEST_CASE("copy leaves the room that was reserved") {
  reservation from;
  reservation to;
  const auto fences = make_fences(8);
  for (const fence_ptr& f : fences) {
    add(from, f, usage::read);
  }
  const auto lock = to.lock();
  REQUIRE(to.reserve(*lock, 8));
  REQUIRE(to.copy(*lock, from));
  for (const fence_ptr& f : make_fences(8)) {
    CHECK(to.add(*lock, f, usage::write));
  }
  CHECK(pending(to).size() == 16);
}

// --- what is freed, and when
// ------------------------------------------------------------------------------------------

TEST_CASE("a reservation drops its fences with itself, and does not wait for them") {
  release_count freed;
  {
    reservation r;
    const fence_ptr kept = freed.make();
    add(r, kept, usage::read);
    add(r, freed.make(), usage::read);
    {
      const resv_guard inside(r);
      const auto lock = r.lock();
      REQUIRE(r.copy(*lock, r));
    }
  }
  CHECK(freed.freed == 2);
}

TEST_CASE("at most 64 fences, and one job a context, outlive their end") {
  release_count freed;
  fence_context queue("queue", 1s);
  reservation r;
  const reservation empty;
  const auto check = [&](const char* how, auto put) {
    INFO(how);
    int most = 0;
    const int before = freed.freed;
    for (int made = 1; made <= 1000; ++made) {
      fence_ptr f = *queue.create(&release_count::ops, &freed);
      const auto lock = r.lock();
      REQUIRE(put(*lock, f));
      f->signal();
      f.reset();
      most = std::max(most, made - (freed.freed - before));
    }
    CHECK(most > 1);  // Or this shows nothing.
    CHECK(most <= 64 + 2);
    const auto lock = r.lock();
    REQUIRE(r.copy(*lock, empty));
    CHECK(r.collect(*lock) == 0U);
  };
  check("add", [&](const resv_lock& lock, const fence_ptr& f) -> result<void> {
    PADDOCK_TRY_VOID(r.reserve(lock, 1));
    return r.add(lock, f, usage::read);
  });
  add(r, make_fence(), usage::read);
  add(r, *queue.create(), usage::read);
  check("replace",
        [&](const resv_lock& lock, const fence_ptr& f) { return r.replace(lock, queue.id(), f, usage::read); });
  check("copy", [&](const resv_lock& lock, const fence_ptr& f) {
    reservation from;
    add(from, f, usage::read);
    return r.copy(lock, from);
  });
}

TEST_CASE("what a guard may see is not freed, and is freed after it") {
  release_count freed;
  reservation r;
  fence_ptr old = freed.make();
  add(r, old, usage::read);
  {
    const resv_guard inside(r);
    fence* seen = nullptr;
    r.for_each(usage::read, [&](fence& f, usage) { seen = &f; });
    REQUIRE(seen == old.get());
    old->signal();
    old.reset();
    elsewhere([&] {
      add(r, make_fence(), usage::read);  // In its place.
      CHECK(collect(r) == 1);
      CHECK(collect(r) == 1);
    });
    // A guard inside a guard, and a look, end without ending the outer one.
    {
      const resv_guard again(r);
      CHECK(r.test_signaled(usage::write));
    }
    elsewhere([&] { CHECK(collect(r) == 1); });
    CHECK(freed.freed == 0);
    CHECK(seen->is_signaled());
    // So for its own thread.
    CHECK(collect(r) == 1);
  }
  CHECK(collect(r) == 0);
  CHECK(freed.freed == 1);
}

TEST_CASE("a guard that begins after a fence was dropped does not keep it") {
  release_count freed;
  reservation r;
  fence_ptr old = freed.make();
  add(r, old, usage::read);
  old->signal();
  old.reset();
  std::barrier step(2);
  std::thread late;
  {
    const resv_guard inside(r);
    add(r, make_fence(), usage::read);
    CHECK(collect(r) == 1);
    late = std::thread([&] {
      const resv_guard later(r);
      step.arrive_and_wait();
      step.arrive_and_wait();
    });
    step.arrive_and_wait();
  }
  CHECK(collect(r) == 0);
  CHECK(freed.freed == 1);
  step.arrive_and_wait();
  late.join();
}

TEST_CASE("a guard in any thread keeps what its thread may see, threads come and go") {
  for (int round = 0; round < 20; ++round) {
    release_count freed;
    reservation r;
    add(r, freed.make(), usage::read);
    std::barrier step(3);
    const auto read = [&] {
      const resv_guard inside(r);
      step.arrive_and_wait();
      step.arrive_and_wait();
    };
    std::thread one(read);
    std::thread two(read);
    step.arrive_and_wait();
    {
      const auto lock = r.lock();
      REQUIRE(r.copy(*lock, reservation()));
    }
    CHECK(collect(r) == 2);  // The fence and the block.
    CHECK(freed.freed == 0);
    step.arrive_and_wait();
    one.join();
    two.join();
    CHECK(collect(r) == 0);
    CHECK(freed.freed == 1);
  }
}

TEST_CASE("a release operation may look at the reservation that its fence left") {
  struct asking {
    reservation r;
    bool was_locked{false};
    int freed{0};
  } state;
  static constexpr fence_ops ops{.release = [](fence& f) noexcept {
    auto& s = *static_cast<asking*>(f.source());
    s.was_locked = s.r.is_locked();
    CHECK(s.r.test_signaled(usage::kernel));
    ++s.freed;
  }};
  fence_ptr f = make_fence(&ops, &state);
  add(state.r, f, usage::read);
  f->signal();
  f.reset();
  add(state.r, make_fence(), usage::read);
  CHECK(collect(state.r) == 0);
  CHECK(state.freed == 1);
  CHECK(state.was_locked);
}

TEST_CASE("what runs while a reservation is destroyed may look at it") {
  struct asking {
    const reservation* r{nullptr};
    int freed{0};
  } state;
  static constexpr fence_ops ops{.release = [](fence& f) noexcept {
    auto& s = *static_cast<asking*>(f.source());
    CHECK(s.r->test_signaled(usage::bookkeep));
    CHECK(s.r->snapshot(usage::bookkeep)->size() == 0);
    CHECK_FALSE(fence_cursor(*s.r, usage::bookkeep).next());
    ++s.freed;
  }};
  constexpr int jobs = 3;
  {
    reservation r;
    state.r = &r;
    for (int i = 0; i < jobs; ++i) {
      add(r, make_fence(&ops, &state), usage::read);
    }
  }
  CHECK(state.freed == jobs);
}

TEST_CASE("what runs while a fence is dropped may add, reserve and collect") {
  struct asking {
    reservation r;
    const resv_lock* proof{nullptr};
    int freed{0};
  } state;
  static constexpr fence_ops ops{.release = [](fence& f) noexcept {
    auto& s = *static_cast<asking*>(f.source());
    ++s.freed;
    CHECK(s.r.collect(*s.proof));
    CHECK(s.r.reserve(*s.proof, 1));
    const fence_ptr done = make_fence();
    done->signal();
    CHECK(s.r.add(*s.proof, done, usage::read));
    CHECK(s.r.collect(*s.proof));
  }};
  const auto lock = state.r.lock();
  state.proof = &*lock;
  constexpr int jobs = 10;
  for (int i = 0; i < jobs; ++i) {
    REQUIRE(state.r.reserve(*lock, 1));
    const fence_ptr f = make_fence(&ops, &state);
    f->signal();
    REQUIRE(state.r.add(*lock, f, usage::read));
  }
  for (int i = 0; i < 100 && state.freed < jobs; ++i) {
    const fence_ptr pending = make_fence();
    REQUIRE(state.r.reserve(*lock, 1));
    REQUIRE(state.r.add(*lock, pending, usage::read));
    pending->signal();
    CHECK(state.r.collect(*lock));
  }
  CHECK(state.freed == jobs);
}

// --- looks
// ------------------------------------------------------------------------------------------------------------

TEST_CASE("with the lock all fences are visited, until the visitor has enough") {
  reservation r;
  const auto fences = make_fences(3);
  add(r, fences[0], usage::read);
  add(r, fences[1], usage::kernel);
  add(r, fences[2], usage::bookkeep);
  fences[1]->signal();
  const auto lock = r.lock();
  CHECK(owned(r, *lock, usage::read) ==
        std::vector<found>{{fences[0].get(), usage::read}, {fences[1].get(), usage::kernel}});
  int visits = 0;
  CHECK(r.for_each(*lock, usage::bookkeep, [&](fence&, usage) { return ++visits < 2; }));
  CHECK(visits == 2);
}

TEST_CASE("without the lock what is pending is visited, until the visitor has enough") {
  reservation r;
  const auto fences = make_fences(4);
  for (const usage as : all_usages) {
    add(r, fences[static_cast<std::size_t>(as)], as);
  }
  fences[1]->signal();
  int visits = 0;
  r.for_each(usage::bookkeep, [&](fence& f, usage as) {
    CHECK(&f == fences[static_cast<std::size_t>(as)].get());
    return ++visits < 2;
  });
  CHECK(visits == 2);
  CHECK(pending(r, usage::read) ==
        std::vector<found>{{fences[0].get(), usage::kernel}, {fences[2].get(), usage::read}});
}

TEST_CASE("looks need no lock, and are not held up by one") {
  reservation r;
  const fence_ptr f = make_fence();
  add(r, f, usage::read);
  const auto lock = r.lock();
  elsewhere([&] {
    CHECK_FALSE(r.test_signaled(usage::read));
    CHECK(pending(r).size() == 1);
    CHECK(r.snapshot(usage::read)->size() == 1);
    CHECK(*r.singleton(usage::read) == f);
    CHECK(r.wait(usage::read, deadline::now()) == wait_status::timed_out);
    r.set_deadline(usage::read, deadline::now());
  });
  f->signal();
  CHECK(r.test_signaled(usage::read));
}

TEST_CASE("a singleton of nothing is complete, of one is that one, of several an array") {
  reservation r;
  const auto complete = r.singleton(usage::bookkeep);
  REQUIRE(complete);
  CHECK((*complete)->is_signaled());
  const auto fences = make_fences(3);
  add(r, fences[0], usage::write);
  CHECK(*r.singleton(usage::write) == fences[0]);
  CHECK((*r.singleton(usage::kernel))->is_signaled());
  add(r, fences[1], usage::write);
  add(r, fences[2], usage::bookkeep);
  const auto both = r.singleton(usage::read);
  REQUIRE(both);
  REQUIRE((*both)->is_array());
  {
    reservation other;
    const auto lock = other.lock();
    REQUIRE(other.reserve(*lock, 1));
    CHECK(fails_with(other.add(*lock, *both, usage::read), errc::invalid_argument));
  }
  (*both)->enable_signaling();
  fences[0]->signal();
  CHECK_FALSE((*both)->is_signaled());
  fences[1]->signal();
  CHECK((*both)->is_signaled());
  CHECK(*r.singleton(usage::bookkeep) == fences[2]);
  fences[2]->signal();
  CHECK((*r.singleton(usage::bookkeep))->is_signaled());
}

TEST_CASE("a reader depends on writers, a writer on readers too") {
  reservation r;
  const auto fences = make_fences(4);
  add(r, fences[3], usage::bookkeep);
  for (const access how : {access::read, access::write, access::read_write}) {
    CHECK((*r.dependencies(how))->is_signaled());
  }
  add(r, fences[2], usage::read);
  CHECK((*r.dependencies(access::read))->is_signaled());
  CHECK(*r.dependencies(access::write) == fences[2]);
  CHECK(*r.dependencies(access::read_write) == fences[2]);
  fences[2]->signal();
  add(r, fences[1], usage::write);
  CHECK(*r.dependencies(access::read) == fences[1]);
  CHECK(*r.dependencies(access::write) == fences[1]);
  fences[1]->signal();
  add(r, fences[0], usage::kernel);
  CHECK(*r.dependencies(access::read) == fences[0]);
  fences[0]->signal();
  CHECK((*r.dependencies(access::write))->is_signaled());
}

// --- waits
// ------------------------------------------------------------------------------------------------------------

namespace {

/// Knows when somebody has begun to wait for its fence, by whichever policy.
struct watched {
  fence_ptr on{make_fence(&ops, this)};
  std::atomic<bool> waited_for{false};

  /// Ends the fence by `how`, in the middle of a wait for it.
  template <class How>
  void end(How how) {
    static_cast<void>(eventually([this] { return waited_for.load(); }));
    how(*on);
  }
  static bool note(fence& f) noexcept { return static_cast<watched*>(f.source())->waited_for = true; }
  static constexpr fence_ops ops{.enable_signaling = &note, .poll = [](fence& f) noexcept { return !note(f); }};
};

template <class Policy>
void check_wait(Policy policy) {
  reservation r;
  CHECK(r.wait(usage::bookkeep, deadline::never(), policy) == wait_status::signaled);
  std::array<watched, 3> jobs;
  add(r, jobs[0].on, usage::write);
  add(r, jobs[1].on, usage::read);
  add(r, jobs[2].on, usage::bookkeep);
  CHECK(r.wait(usage::kernel, deadline::never(), policy) == wait_status::signaled);
  const auto begin = monotonic_clock::now();
  CHECK(r.wait(usage::read, deadline::in(20ms), policy) == wait_status::timed_out);
  CHECK(monotonic_clock::now() - begin >= 20ms);
  std::thread first([&] {
    std::this_thread::sleep_for(5ms);
    jobs[0].on->signal();
    jobs[1].end([](fence& f) { f.signal(); });
  });
  CHECK(r.wait(usage::read, test::long_enough(), policy) == wait_status::signaled);
  CHECK(jobs[1].on->is_signaled());
  first.join();
  CHECK_FALSE(r.test_signaled(usage::bookkeep));
  std::thread second([&] { jobs[2].end([](fence& f) { f.fail(errc::io); }); });
  CHECK(r.wait(usage::bookkeep, test::long_enough(), policy) == wait_status::signaled);  // A failure is an end, too.
  second.join();
  CHECK(r.wait(usage::bookkeep, deadline::now(), policy) == wait_status::signaled);  // Nothing is pending.
}

}  // namespace

TEST_CASE("a wait ends when all is done, with an error that it saw, or at its deadline, by every policy") {
  check_wait(hybrid_wait{});
  check_wait(spin_wait{});
  check_wait(futex_wait{});
  check_wait(eventfd_wait{});
  check_wait(polling_wait{});
}

TEST_CASE("a deadline is for a whole wait, not for each fence") {
  reservation r;
  const auto fences = make_fences(3);
  for (const fence_ptr& f : fences) {
    add(r, f, usage::read);
  }
  std::thread signaler([&] {
    for (const fence_ptr& f : fences) {
      std::this_thread::sleep_for(80ms);
      f->signal();
    }
  });
  CHECK(r.wait(usage::read, deadline::in(120ms)) == wait_status::timed_out);
  signaler.join();
}

TEST_CASE("a wish reaches the sources of what is pending up to its usage") {
  struct wishes {
    int heard{0};
    deadline last{deadline::never()};
  };
  static constexpr fence_ops ops{.set_deadline = [](fence& f, deadline wish) noexcept {
    auto& w = *static_cast<wishes*>(f.source());
    ++w.heard;
    w.last = wish;
  }};
  std::array<wishes, 4> all;
  reservation r;
  std::vector<fence_ptr> fences;
  for (const usage as : all_usages) {
    fences.push_back(make_fence(&ops, &all[static_cast<std::size_t>(as)]));
    add(r, fences.back(), as);
  }
  fences[1]->signal();
  const deadline wish = deadline::in(1s);
  r.set_deadline(usage::read, wish);
  CHECK(all[0].heard == 1);
  CHECK(all[0].last == wish);
  CHECK(all[1].heard == 0);
  CHECK(all[2].heard == 1);
  CHECK(all[3].heard == 0);
}

TEST_CASE("a fence that takes its own place keeps the stronger usage") {
  reservation r;
  const fence_ptr f = make_fence();
  add(r, f, usage::write);
  const auto lock = r.lock();
  REQUIRE(r.replace(*lock, f->context(), f, usage::bookkeep));
  CHECK(pending(r) == std::vector<found>{{f.get(), usage::write}});
  REQUIRE(r.replace(*lock, f->context(), f, usage::kernel));
  CHECK(pending(r) == std::vector<found>{{f.get(), usage::kernel}});
  f->signal();
}

TEST_CASE("who visits under the lock may change the list: what is walked over is there to its end") {
  release_count freed;
  reservation r;
  const auto lock = r.lock();
  REQUIRE(r.reserve(*lock, 4));
  std::vector<fence_ptr> fences;
  for (int i = 0; i < 4; ++i) {
    fences.push_back(freed.make());
    REQUIRE(r.add(*lock, fences.back(), usage::read));
  }
  std::size_t visited = 0;
  CHECK(r.for_each(*lock, usage::bookkeep, [&](fence& f, usage) {
    if (++visited == 1) {
      for (const fence_ptr& each : fences) {
        each->signal();
      }
      fences.clear();
      CHECK(r.reserve(*lock, 100));  // Another list, without what is done.
      CHECK(r.collect(*lock) != 0U);
    }
    CHECK(f.is_signaled());
    CHECK(freed.freed == 0);
  }));
  CHECK(visited == 4);
  CHECK(r.collect(*lock) == 0U);
  CHECK(freed.freed == 4);
}

}  // namespace paddock
