// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/stub.hpp>

#include <paddock/fence/wait.hpp>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

TEST_CASE("the stub has always been signaled, and is one") {
  const fence_ptr f = stub_fence();
  CHECK(f->status() == wait_status::signaled);
  CHECK(f == stub_fence());
  CHECK(f->context() == 0);
  CHECK(f->timestamp() == monotonic_clock::time_point());
  CHECK_FALSE(f->signal());
  CHECK_FALSE(f->fail(EIO));
  CHECK(f->sys_errno() == 0);
  counting_callback node;
  CHECK(f->add_callback(node) == add_outcome::already_signaled);
  CHECK(wait(*f, deadline::now()) == wait_status::signaled);
}

TEST_CASE("a stub of one's own has the time and the error that it was made with") {
  const auto when = monotonic_clock::time_point(5s);
  const fence_ptr done = *stub_fence(when);
  CHECK(done->status() == wait_status::signaled);
  CHECK(done->timestamp() == when);
  CHECK(done != stub_fence());

  const fence_ptr failed = *stub_fence(fence_outcome{ENODEV, when});
  CHECK(failed->status() == wait_status::failed);
  CHECK(failed->error() == errc::no_device);
  CHECK(failed->timestamp() <= when);
  CHECK(failed->timestamp() > when - 256ns);
  CHECK((*stub_fence(fence_outcome{5000, when}))->sys_errno() == EIO);
}
