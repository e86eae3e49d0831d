// SPDX-License-Identifier: BSL-1.0
#include <paddock/resv/cursor.hpp>

#include <memory>

#include "reservations.hpp"

namespace paddock {

using test::add;
using test::all_usages;
using test::make_fence;
using test::make_fences;
using test::release_count;

TEST_CASE("a walk ends with an empty pointer, at once where there is nothing") {
  reservation r;
  fence_cursor nothing(r, usage::bookkeep);
  CHECK_FALSE(nothing.next());
  const fence_ptr f = make_fence();
  add(r, f, usage::read);
  fence_cursor each(r, usage::bookkeep);
  CHECK(each.next() == f);
  CHECK(each.is_restarted());
  CHECK_FALSE(each.next());
  CHECK_FALSE(each.is_restarted());
  CHECK_FALSE(each.next());
  f->signal();
}

TEST_CASE("a walk gives what is pending up to its usage, with its usage") {
  for (const usage upto : all_usages) {
    reservation r;
    const auto fences = make_fences(all_usages.size());
    for (const usage as : all_usages) {
      add(r, fences[static_cast<std::size_t>(as)], as);
    }
    fences[1]->signal();
    fence_cursor each(r, upto);
    for (const usage as : all_usages) {
      if (as <= upto && as != usage::write) {
        CHECK(each.next() == fences[static_cast<std::size_t>(as)]);
        CHECK(each.current_usage() == as);
        CHECK(each.is_restarted() == (as == usage::kernel));
      }
    }
    CHECK_FALSE(each.next());
  }
}

TEST_CASE("what completes during a walk is left out, what takes a place behind it is missed") {
  reservation r;
  const auto fences = make_fences(3);
  for (const fence_ptr& f : fences) {
    add(r, f, usage::read);
  }
  fence_cursor each(r, usage::read);
  CHECK(each.next() == fences[0]);
  fences[0]->signal();
  fences[1]->signal();
  const fence_ptr late = make_fence();
  add(r, late, usage::read);  // In the place of the first.
  CHECK(each.next() == fences[2]);
  CHECK_FALSE(each.is_restarted());
  CHECK_FALSE(each.next());
}

TEST_CASE("a walk begins anew, and says so, when the list was rebuilt") {
  reservation r;
  const auto fences = make_fences(9);
  for (std::size_t i = 0; i < 4; ++i) {
    add(r, fences[i], usage::read);
  }
  fence_cursor each(r, usage::read);
  CHECK(each.next() == fences[0]);
  CHECK(each.next() == fences[1]);
  CHECK_FALSE(each.is_restarted());
  add(r, fences[4], usage::read);  // Which four slots do not hold.
  CHECK(each.next() == fences[0]);
  CHECK(each.is_restarted());
  for (std::size_t i = 1; i < 5; ++i) {
    CHECK(each.next() == fences[i]);
    CHECK_FALSE(each.is_restarted());
  }
  CHECK_FALSE(each.next());
  // Also at its end, and by a copy.
  {
    const auto lock = r.lock();
    REQUIRE(r.copy(*lock, r));
  }
  CHECK(each.next() == fences[0]);
  CHECK(each.is_restarted());
  // And to nothing.
  {
    const reservation empty;
    const auto lock = r.lock();
    REQUIRE(r.copy(*lock, empty));
  }
  CHECK_FALSE(each.next());
  CHECK(each.is_restarted());
}

TEST_CASE("what a walk has given stays when the reservation lets go of it") {
  release_count freed;
  auto r = std::make_unique<reservation>();
  add(*r, freed.make(), usage::read);
  fence_ptr kept;
  {
    fence_cursor each(*r, usage::read);
    kept = each.next();
  }
  REQUIRE(kept);
  kept->signal();
  r.reset();
  CHECK(freed.freed == 0);
  kept.reset();
  CHECK(freed.freed == 1);
}

}  // namespace paddock
