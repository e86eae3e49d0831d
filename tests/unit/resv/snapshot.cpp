// SPDX-License-Identifier: BSL-1.0
#include <paddock/resv/snapshot.hpp>

#include <algorithm>
#include <memory>
#include <utility>

#include "reservations.hpp"

namespace paddock {

using test::add;
using test::make_fence;
using test::make_fences;
using test::release_count;

TEST_CASE("a snapshot has what is pending up to the usage, however many") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{8}, std::size_t{9}, std::size_t{100}}) {
    reservation r;
    const auto fences = make_fences(size);
    for (const fence_ptr& f : fences) {
      add(r, f, usage::write);
    }
    const fence_ptr other = make_fence();
    add(r, other, usage::read);
    const fence_ptr done = make_fence();
    add(r, done, usage::write);
    done->signal();
    const auto taken = r.snapshot(usage::write);
    REQUIRE(taken);
    CHECK(taken->size() == size);
    CHECK(taken->empty() == (size == 0));
    CHECK(std::equal(taken->begin(), taken->end(), fences.begin(), fences.end()));
    CHECK(std::equal(fences.begin(), fences.end(), taken->fences().begin(), taken->fences().end()));
    for (std::size_t i = 0; i < taken->size(); ++i) {
      CHECK((*taken)[i] == fences[i]);
    }
  }
}

TEST_CASE("a snapshot holds a reference to each fence, and gives all of them back") {
  for (const std::size_t size : {std::size_t{3}, std::size_t{20}}) {
    release_count freed;
    auto r = std::make_unique<reservation>();
    for (std::size_t i = 0; i < size; ++i) {
      add(*r, freed.make(), usage::read);
    }
    {
      auto taken = r->snapshot(usage::read);
      REQUIRE(taken);
      for (const fence_ptr& f : *taken) {
        f->signal();
      }
      r.reset();
      CHECK(freed.freed == 0);
      const fence_snapshot moved = std::move(*taken);
      CHECK(moved.size() == size);
      CHECK(taken->empty());  // NOLINT(bugprone-use-after-move): what is checked.
      CHECK(freed.freed == 0);
    }
    CHECK(freed.freed == static_cast<int>(size));
  }
}

TEST_CASE("assigning over a snapshot drops what it had") {
  release_count freed;
  reservation few;
  reservation many;
  for (int i = 0; i < 3; ++i) {
    add(few, freed.make(), usage::read);
  }
  for (int i = 0; i < 20; ++i) {
    add(many, freed.make(), usage::read);
  }
  fence_snapshot taken = *few.snapshot(usage::read);
  taken = *many.snapshot(usage::read);
  CHECK(taken.size() == 20);
  taken = *few.snapshot(usage::read);
  CHECK(taken.size() == 3);
  taken = fence_snapshot();
  CHECK(taken.empty());
  {
    const auto lock = many.lock();
    REQUIRE(many.copy(*lock, few));
    CHECK(many.collect(*lock) == 0U);
  }
  CHECK(freed.freed == 20);
}

}  // namespace paddock
