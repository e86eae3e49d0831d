// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/user_fence.hpp>

#include <algorithm>
#include <concepts>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

// Nothing that takes a fence takes one without the promise.
static_assert(!std::convertible_to<user_fence, fence_ptr> && !std::constructible_from<fence_ptr, user_fence>);
static_assert(!std::convertible_to<user_fence, fence&> && !std::convertible_to<user_fence, fence*>);
static_assert(!std::constructible_from<user_fence, fence_ptr>);

TEST_CASE("a user fence is signaled or failed by its owner, once") {
  const user_fence none;
  CHECK_FALSE(none);
  const user_fence f = *user_fence::create("mine");
  CHECK(f);
  CHECK(f.status() == wait_status::timed_out);
  counting_callback node;
  CHECK(f.add_callback(node) == add_outcome::added);
  CHECK(wait(f, deadline::in(1ms)) == wait_status::timed_out);
  const user_fence same = f;
  CHECK(same.signal());
  CHECK_FALSE(f.signal());
  CHECK_FALSE(f.fail(EIO));
  CHECK(f.is_signaled());
  CHECK(node.runs == 1);
  CHECK(wait(f, deadline::now()) == wait_status::signaled);

  const user_fence failed = *user_fence::create("mine");
  counting_callback removed;
  failed.add_callback(removed);
  CHECK(failed.remove_callback(removed) == remove_outcome::removed);
  CHECK(failed.fail(errc::no_device));
  CHECK(failed.sys_errno() == ENODEV);
  CHECK(failed.error() == errc::no_device);
  CHECK(failed.outcome().sys_errno == ENODEV);
  CHECK(removed.runs == 0);
}

TEST_CASE("a user fence that is dropped while pending fails with EDEADLK") {
  counting_callback node;
  user_fence f = *user_fence::create("mine");
  f.add_callback(node);
  f = {};
  CHECK(node.seen.sys_errno == EDEADLK);
}

TEST_CASE("a bounded fence ends as the user fence does") {
  for (const int why : {0, EIO}) {
    for (const bool before : {true, false}) {
      const user_fence f = *user_fence::create("mine");
      const auto end = [&] { why == 0 ? f.signal() : f.fail(why); };
      if (before) {
        end();
      }
      const fence_ptr promise = *bounded(f, long_enough());
      CHECK(promise->is_signaled() == before);
      if (!before) {
        end();
      }
      CHECK(promise->is_signaled());
      CHECK(promise->sys_errno() == why);
      CHECK(promise->timestamp() == f.outcome().timestamp);
    }
  }
}

TEST_CASE("a bounded fence ends with ETIME at its deadline, not before and not much later") {
  const user_fence f = *user_fence::create("mine");
  const deadline end = deadline::in(50ms);
  const fence_ptr promise = *bounded(f, end);
  CHECK(wait(*promise, long_enough()) == wait_status::failed);
  CHECK(monotonic_clock::now() >= end.time());
  CHECK(promise->sys_errno() == ETIME);
  CHECK(promise->timestamp() >= end.time() - 256ns);
  CHECK(promise->timestamp() < end.time() + 5s);
  CHECK_FALSE(f.is_signaled());
  CHECK(f.signal());
  CHECK(promise->sys_errno() == ETIME);
}

TEST_CASE("a bound of now has passed") {
  const user_fence f = *user_fence::create("mine");
  const fence_ptr promise = *bounded(f, deadline::now());
  CHECK(wait(*promise, long_enough()) == wait_status::failed);
  CHECK(promise->sys_errno() == ETIME);
}

TEST_CASE("bounds end in their order, whatever order they were made in") {
  const user_fence f = *user_fence::create("mine");
  std::vector<fence_ptr> promises;
  auto start = monotonic_clock::now();
  do {  // Again where a busy machine took until the first bound.
    promises.clear();
    start = monotonic_clock::now();
    for (const auto after : {150ms, 50ms, 100ms, 20ms}) {
      promises.push_back(*bounded(f, deadline::at(start + after)));
    }
  } while (monotonic_clock::now() >= start + 20ms);
  for (const fence_ptr& each : promises) {
    CHECK(wait(*each, long_enough()) == wait_status::failed);
  }
  CHECK(promises[3]->timestamp() <= promises[1]->timestamp());
  CHECK(promises[1]->timestamp() <= promises[2]->timestamp());
  CHECK(promises[2]->timestamp() <= promises[0]->timestamp());
  CHECK(promises[3]->timestamp() < start + 150ms + 5s);
}

TEST_CASE("a fence is bounded by a time, and there has to be one") {
  CHECK(bounded(user_fence(), long_enough()).error() == errc::invalid_argument);
  CHECK(bounded(*user_fence::create("mine"), deadline::never()).error() == errc::invalid_argument);
}

TEST_CASE("after its deadline a bounded fence leaves the user fence alone") {
  counting_callback gone;
  user_fence f = *user_fence::create("mine");
  f.add_callback(gone);
  fence_ptr promise = *bounded(f, deadline::in(5ms));
  CHECK(wait(*promise, long_enough()) == wait_status::failed);
  promise.reset();
  // The last reference of the user fence is the one below, as soon as the clock has let go of the promise.
  f = {};
  CHECK(eventually([&] { return gone.runs == 1; }));
  CHECK(gone.seen.sys_errno == EDEADLK);
}

TEST_CASE("a bounded fence that was dropped still ends, and then lets go of the user fence") {
  for (const bool signaled : {true, false}) {
    counting_callback node;
    user_fence f = *user_fence::create("mine");
    fence_ptr promise = *bounded(f, signaled ? long_enough() : deadline::in(20ms));
    if (promise->add_callback(node) == add_outcome::already_signaled) {
      continue;  // A busy machine.
    }
    promise.reset();
    if (signaled) {
      f.signal();
    }
    CHECK(eventually([&] { return node.runs == 1; }));
    CHECK(node.seen.sys_errno == (signaled ? 0 : ETIME));
  }
}

TEST_CASE("a user fence completes at the moment of its bound", "[threads]") {
  for (int round = 0; round < 500; ++round) {
    const user_fence f = *user_fence::create("mine");
    const deadline end = deadline::in(200us);
    fence_ptr promise = *bounded(f, end);
    counting_callback node;
    const bool added = promise->add_callback(node) == add_outcome::added;
    std::thread signaler([&] {
      while (!end.passed()) {
      }
      f.signal();
    });
    promise.reset();
    signaler.join();
    CHECK(eventually([&] { return node.runs == (added ? 1 : 0); }));
    CHECK((node.seen.sys_errno == 0 || node.seen.sys_errno == ETIME));
  }
}

TEST_CASE("a thousand bounds of four threads end, each once", "[threads]") {
  constexpr std::size_t each = 250;
  std::vector<counting_callback> nodes(4 * each);
  std::atomic<std::size_t> added{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < each; ++i) {
        const user_fence f = *user_fence::create("mine");
        const fence_ptr promise = *bounded(f, deadline::in(std::chrono::microseconds(i * 37 % 3000)));
        added += promise->add_callback(nodes[t * each + i]) == add_outcome::added ? 1U : 0U;
        if (i % 2 == 0) {
          f.signal();
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(eventually([&] {
    return static_cast<std::size_t>(std::count_if(
               nodes.begin(), nodes.end(), [](const counting_callback& node) { return node.runs == 1; })) == added;
  }));
}

TEST_CASE("a bound near the end of the clock is one") {
  const user_fence f = *user_fence::create("mine");
  const fence_ptr promise = *bounded(f, deadline::at(monotonic_clock::time_point::max() - 1ns));
  std::this_thread::sleep_for(10ms);
  f.signal();
  CHECK(promise->status() == wait_status::signaled);
}
