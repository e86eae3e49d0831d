// SPDX-License-Identifier: BSL-1.0
#include <paddock/base/time.hpp>

#include "catch.hpp"

using namespace paddock;
using namespace std::chrono_literals;

TEST_CASE("a deadline in the future has time left, one in the past has none") {
  CHECK(deadline::in(1h).remaining() > 59min);
  CHECK_FALSE(deadline::in(1h).passed());
  CHECK(deadline::in(-1s).remaining() == 0ns);
  CHECK(deadline::in(-1s).passed());
}

TEST_CASE("now asks once, never waits for ever") {
  CHECK(deadline::now().passed());
  CHECK(deadline::now().remaining() == 0ns);
  CHECK(deadline::never().is_never());
  CHECK_FALSE(deadline::never().passed());
  CHECK(deadline::never().remaining() == std::chrono::nanoseconds::max());
}

TEST_CASE("a span too long for the clock means never") {
  CHECK(deadline::in(std::chrono::nanoseconds::max()).is_never());
  CHECK(deadline::in(std::chrono::seconds::max()).is_never());
  CHECK(deadline::in(std::chrono::hours::max()).is_never());
  CHECK(deadline::in(std::chrono::hours::min()).passed());
  CHECK(deadline::at(monotonic_clock::time_point(-1s)).is_poll());
}

TEST_CASE("the absolute timespec splits seconds and nanoseconds") {
  const deadline d = deadline::at(monotonic_clock::time_point(3s + 5ns));
  CHECK(d.to_timespec().tv_sec == 3);
  CHECK(d.to_timespec().tv_nsec == 5);
  CHECK(d.nanoseconds() == 3'000'000'005);
}
