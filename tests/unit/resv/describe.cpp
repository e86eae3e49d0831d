// SPDX-License-Identifier: BSL-1.0
#include <paddock/resv/describe.hpp>

#include "reservations.hpp"

namespace paddock {

using test::add;
using test::make_fence;

TEST_CASE("an empty reservation is described by its lock alone") {
  reservation r;
  CHECK(describe(r) == "unlocked");
  const auto lock = r.lock();
  CHECK(describe(r) == "locked");
}

TEST_CASE("a reservation is described with its pending fences, one a line") {
  reservation r;
  const fence_ptr job = make_fence();
  const fence_ptr move = make_fence();
  const fence_ptr done = make_fence();
  add(r, job, usage::read);
  add(r, move, usage::kernel);
  add(r, done, usage::write);
  done->signal();
  CHECK(describe(r) == "unlocked\n  read: " + describe(*job) + "\n  kernel: " + describe(*move));
  job->signal();
  move->signal();
  CHECK(describe(r) == "unlocked");
}

}  // namespace paddock
