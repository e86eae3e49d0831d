// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/wait.hpp>

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include <paddock/fence/context.hpp>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;
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

template <class Each>
void with_every_policy(Each each) {
  each(hybrid_wait{});
  each(spin_wait{});
  each(futex_wait{});
  each(eventfd_wait{});
  each(polling_wait{});
  each(sleepy_wait{});
}

/// A range whose end is of another type than its beginning: the fences up to the first empty pointer.
struct before_null {
  struct sentinel {};
  struct iterator {
    using value_type = fence_ptr;
    using difference_type = std::ptrdiff_t;
    const fence_ptr& operator*() const noexcept { return *at; }
    iterator& operator++() noexcept {
      ++at;
      return *this;
    }
    iterator operator++(int) noexcept { return {at++}; }
    friend bool operator==(const iterator& i, sentinel) noexcept { return !*i.at; }
    const fence_ptr* at{nullptr};
  };
  [[nodiscard]] iterator begin() const noexcept { return {first}; }
  [[nodiscard]] static sentinel end() noexcept { return {}; }
  const fence_ptr* first;
};

}  // namespace

TEST_CASE("every wait policy tells signaled, failed and timed out apart", "[threads]") {
  with_every_policy([](auto policy) { check_policy<decltype(policy)>(); });
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

TEST_CASE("waiting for all ends with the last, and tells a failure", "[threads]") {
  with_every_policy([](auto policy) {
    CHECK(wait_all(std::vector<fence_ptr>(), deadline::now(), policy) == wait_status::signaled);
    const auto fences = make_fences(9);
    CHECK(wait_all(fences, deadline::now(), policy) == wait_status::timed_out);
    CHECK(wait_all(fences, deadline::in(2ms), policy) == wait_status::timed_out);
    for (std::size_t i = 0; i + 1 < fences.size(); ++i) {
      fences[i]->signal();
    }
    CHECK(wait_all(fences, deadline::in(2ms), policy) == wait_status::timed_out);
    std::thread signaler([&] {
      std::this_thread::sleep_for(2ms);
      fences[8]->signal();
    });
    CHECK(wait_all(fences, long_enough(), policy) == wait_status::signaled);
    signaler.join();
    CHECK(wait_all(fences, deadline::now(), policy) == wait_status::signaled);
    auto with_end = fences;
    with_end.emplace_back();
    CHECK(wait_all(before_null{with_end.data()}, deadline::now(), policy) == wait_status::signaled);

    const auto failing = make_fences(3);
    failing[1]->fail(EIO);
    CHECK(wait_all(failing, deadline::in(2ms), policy) == wait_status::timed_out);
    failing[0]->signal();
    failing[2]->signal();
    CHECK(wait_all(failing, deadline::now(), policy) == wait_status::failed);
  });
}

TEST_CASE("waiting for all asks each source at once") {
  static constexpr fence_ops ops{.enable_signaling = [](fence& f) noexcept {
    ++*static_cast<int*>(f.source());
    return true;
  }};
  int enabled = 0;
  const std::vector<fence_ptr> fences{make_fence(&ops, &enabled), make_fence(&ops, &enabled),
                                      make_fence(&ops, &enabled)};
  CHECK(wait_all(fences, deadline::in(1ms)) == wait_status::timed_out);
  CHECK(enabled == 3);
}

TEST_CASE("waiting takes pointers as well as references that are counted") {
  const auto fences = make_fences(2);
  fence* const raw[] = {fences[0].get(), fences[1].get()};
  fences[1]->fail(EIO);
  const auto first = wait_any(raw, deadline::now());
  CHECK(first->status == wait_status::failed);
  CHECK(first->index == 1);
  fences[0]->signal();
  CHECK(wait_all(raw, deadline::now()) == wait_status::failed);
}

TEST_CASE("waiting for any ends with the first, by every policy and for any number", "[threads]") {
  with_every_policy([](auto policy) {
    const auto none = wait_any(std::vector<fence_ptr>(), long_enough(), policy);
    CHECK(none->status == wait_status::timed_out);
    for (const std::size_t count : {1U, 8U, 9U, 200U}) {
      CAPTURE(count);
      for (const std::size_t which : {std::size_t{0}, count / 2, count - 1}) {
        const auto fences = make_fences(count);
        CHECK(wait_any(fences, deadline::now(), policy)->status == wait_status::timed_out);
        const deadline end = deadline::in(2ms);
        CHECK(wait_any(fences, end, policy)->status == wait_status::timed_out);
        CHECK(end.passed());
        std::thread signaler([&] {
          std::this_thread::sleep_for(1ms);
          fences[which]->fail(ENODEV);
        });
        const auto first = wait_any(fences, long_enough(), policy);
        signaler.join();
        CHECK(first->status == wait_status::failed);
        CHECK(first->index == which);
        CHECK(wait_any(fences, deadline::now(), policy)->index == which);
      }
    }
  });
}

TEST_CASE("waiting for any leaves no callback behind") {
  auto fences = make_fences(20);
  CHECK(wait_any(fences, deadline::in(1ms), futex_wait{})->status == wait_status::timed_out);
  // A callback that were still there would be called on a stack that is gone.
  for (const fence_ptr& each : fences) {
    CHECK(each->signal());
  }
}

TEST_CASE("a fence may stand in a range twice") {
  const fence_ptr f = make_fence();
  const fence_ptr twice[] = {f, f};
  CHECK(wait_any(twice, deadline::in(1ms))->status == wait_status::timed_out);
  std::thread signaler([&] { f->signal(); });
  const auto first = wait_any(twice, long_enough(), futex_wait{});
  signaler.join();
  CHECK(first->status == wait_status::signaled);
  CHECK(first->index == 0);
  CHECK(wait_all(twice, deadline::now()) == wait_status::signaled);
}

TEST_CASE("a source that is done when it is asked ends a wait for any") {
  static constexpr fence_ops done{.enable_signaling = [](fence&) noexcept { return false; }};
  for (const std::size_t which : {0U, 7U, 8U, 11U}) {
    auto fences = make_fences(12);
    fences[which] = make_fence(&done);
    const auto first = wait_any(fences, long_enough());
    CHECK(first->status == wait_status::signaled);
    CHECK(first->index == which);
  }
}

TEST_CASE("polling for any asks every source") {
  static constexpr fence_ops ops{.poll = [](fence& f) noexcept { return ++*static_cast<int*>(f.source()) == 5; }};
  int asked = 0;
  auto fences = make_fences(4);
  fences[2] = make_fence(&ops, &asked);
  CHECK(wait_any(fences, long_enough(), polling_wait{})->index == 2);
  CHECK(asked == 5);
}

TEST_CASE("several threads wait for any of the same fences while they complete", "[threads]") {
  for (int round = 0; round < 50; ++round) {
    const auto fences = make_fences(20);
    std::atomic<int> right{0};
    std::vector<std::thread> waiters;
    waiters.reserve(3);
    for (int i = 0; i < 3; ++i) {
      waiters.emplace_back([&] {
        const auto first = wait_any(fences, long_enough(), futex_wait{});
        right += first->status == wait_status::signaled && fences[first->index]->is_signaled() ? 1 : 0;
      });
    }
    for (std::size_t i = fences.size(); i-- > 0;) {
      fences[i]->signal();
    }
    for (std::thread& waiter : waiters) {
      waiter.join();
    }
    CHECK(right == 3);
  }
}
