// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/timestamp.hpp>

#include <thread>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

TEST_CASE("a fence takes its time from the clock") {
  const auto before = monotonic_clock::now();
  const fence_ptr done = make_fence();
  done->signal();
  const fence_ptr failed = make_fence();
  failed->fail(EIO);
  const auto after = monotonic_clock::now();
  CHECK(done->timestamp() >= before);
  CHECK(done->timestamp() <= after);
  CHECK(failed->timestamp() > before - 256ns);
  CHECK(failed->timestamp() <= after);
}

TEST_CASE("a time from the processor's counter is close to that of the clock") {
  static_cast<void>(detail::time_of_ticks(detail::read_ticks()));  // Begins the line.
  std::this_thread::sleep_for(20ms);
  const auto before = monotonic_clock::now();
  const fence_ptr f = make_fence();
  f->signal(tsc_timestamp{});
  const auto after = monotonic_clock::now();
  CHECK(f->timestamp() > before - 50us);
  CHECK(f->timestamp() < after + 50us);
  std::this_thread::sleep_for(20ms);
  CHECK(f->timestamp() > before - 50us);
  CHECK(f->timestamp() < after + 50us);

  const fence_ptr failed = make_fence();
  failed->fail(EIO, tsc_timestamp{});
  CHECK(failed->timestamp() > before);
}

TEST_CASE("a fence that takes no time has none") {
  const fence_ptr done = make_fence();
  done->signal(no_timestamp{});
  CHECK(done->timestamp() == monotonic_clock::time_point());
  CHECK(done->status() == wait_status::signaled);
  const fence_ptr failed = make_fence();
  failed->fail(EIO, no_timestamp{});
  CHECK(failed->timestamp() == monotonic_clock::time_point());
  CHECK(failed->sys_errno() == EIO);
}

TEST_CASE("a given time is kept to the nanosecond, and one before the clock began is none") {
  const auto when = monotonic_clock::time_point(123456789ns);
  const fence_ptr done = make_fence();
  done->signal(when);
  CHECK(done->timestamp() == when);
  const fence_ptr negative = make_fence();
  negative->signal(monotonic_clock::time_point(-5ns));
  CHECK(negative->timestamp() == monotonic_clock::time_point());
  CHECK(negative->status() == wait_status::signaled);
}

TEST_CASE("the time of an error is kept in steps of 256 ns, and is never later") {
  for (const auto given : {0ns, 1ns, 255ns, 256ns, 257ns, 123456789ns}) {
    const fence_ptr f = make_fence();
    f->fail(ECANCELED, given_timestamp(monotonic_clock::time_point(given)));
    CHECK(f->timestamp().time_since_epoch() == given / 256 * 256);
    CHECK(f->sys_errno() == ECANCELED);
  }
  const fence_ptr beyond = make_fence();
  beyond->fail(ECANCELED, given_timestamp(monotonic_clock::time_point::max()));
  CHECK(beyond->sys_errno() == ECANCELED);
  CHECK(beyond->timestamp() > monotonic_clock::time_point(std::chrono::hours(24 * 365 * 9)));
}

TEST_CASE("every errno of the kernel keeps its value beside the time") {
  for (int why = 1; why <= 4095; ++why) {
    const fence_ptr f = make_fence();
    f->fail(why);
    if (f->sys_errno() != why) {
      CHECK(f->sys_errno() == why);
    }
  }
}

TEST_CASE("the first completion's time is the one that stays") {
  const fence_ptr f = make_fence();
  CHECK(f->signal(monotonic_clock::time_point(1s)));
  CHECK_FALSE(f->signal(monotonic_clock::time_point(2s)));
  CHECK_FALSE(f->fail(EIO, given_timestamp(monotonic_clock::time_point(3s))));
  CHECK(f->outcome().timestamp == monotonic_clock::time_point(1s));
}
