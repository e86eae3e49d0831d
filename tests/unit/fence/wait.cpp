// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/wait.hpp>

#include <thread>

#include <paddock/fence/context.hpp>

#include "catch.hpp"

using namespace paddock;
using namespace std::chrono_literals;

namespace {

fence_context context("wait", 1s);

// A policy of a user's own, found by argument-dependent lookup.
struct sleepy_wait {
  using axis = hybrid_wait::axis;
};
result<wait_status> wait_for(fence& f, deadline until, sleepy_wait) noexcept {
  while (!f.is_signaled() && !until.passed()) {
    std::this_thread::sleep_for(1ms);
  }
  return f.status();
}

static_assert(wait_policy<sleepy_wait> && wait_policy<hybrid_wait> && !wait_policy<int>);

template <class Policy>
void check_policy() {
  const fence_ptr pending = *context.create();
  CHECK(wait(*pending, deadline::in(2ms), Policy{}) == wait_status::timed_out);
  CHECK(wait(*pending, deadline::now(), Policy{}) == wait_status::timed_out);
  CHECK(wait(*pending, deadline::at(monotonic_clock::time_point(-1s)), Policy{}) == wait_status::timed_out);

  const fence_ptr failing = *context.create();
  failing->fail(EIO);
  CHECK(wait(*failing, deadline::never(), Policy{}) == wait_status::failed);

  for (const auto delay : {0us, 100us, 5000us}) {
    const fence_ptr f = *context.create();
    std::thread signaler([copy = f, delay] {
      std::this_thread::sleep_for(delay);
      copy->signal();
    });
    CHECK(wait(*f, deadline::in(10s), Policy{}) == wait_status::signaled);
    signaler.join();
  }
}

}  // namespace

TEST_CASE("every wait policy tells signaled, failed and timed out apart", "[threads]") {
  check_policy<hybrid_wait>();
  check_policy<spin_wait>();
  check_policy<futex_wait>();
  check_policy<eventfd_wait>();
  check_policy<polling_wait>();
  check_policy<sleepy_wait>();
}

TEST_CASE("polling signals what it waits for") {
  static constexpr fence_ops ops{.poll = [](fence& f) noexcept { return ++*static_cast<int*>(f.source()) == 5; }};
  int asked = 0;
  const fence_ptr f = *context.create(&ops, &asked);
  CHECK(wait(*f, deadline::in(10s), polling_wait{}) == wait_status::signaled);
  CHECK(asked == 5);
}

TEST_CASE("a waiter may free the fence as soon as its wait returns", "[threads]") {
  for (int round = 0; round < 500; ++round) {
    fence_ptr f = *context.create();
    std::thread signaler([copy = f]() mutable {
      fence& raw = *copy;
      raw.signal();
    });
    CHECK(wait(*f, deadline::never(), futex_wait{}) == wait_status::signaled);
    f.reset();
    signaler.join();
  }
}
