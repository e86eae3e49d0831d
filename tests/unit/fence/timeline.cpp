// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/timeline.hpp>

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <concepts>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

namespace {

using point = timeline_point;

unique_fd make_event() { return unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }
std::uint64_t take(const unique_fd& event) {
  std::uint64_t counted = 0;
  return ::read(event.get(), &counted, sizeof counted) == sizeof counted ? counted : 0;
}

template <class Each>
void with_every_policy(Each each) {
  each(hybrid_wait{});
  each(spin_wait{});
  each(futex_wait{});
  each(eventfd_wait{});
  each(polling_wait{});
}

}  // namespace

TEST_CASE("a timeline begins where it is told, and rises as the host signals") {
  const timeline t = *timeline::create(point(10));
  CHECK(t.signaled() == point(10));
  CHECK(t.submitted() == point(10));
  CHECK(t.signal(point(12)));
  CHECK_FALSE(t.signal(point(12)));
  CHECK_FALSE(t.signal(point(11)));
  CHECK(t.signaled() == point(12));
  CHECK(t.signal(point(UINT64_MAX)));
  CHECK(t.signaled() == point(UINT64_MAX));
}

TEST_CASE("a point is submitted with its fence, and signaled when that is complete") {
  const timeline t = *timeline::create();
  const fence_ptr work = make_fence();
  CHECK(t.wait(point(1), deadline::now()).error() == errc::not_submitted);
  CHECK(t.submit(point(1), work).has_value());
  CHECK(t.submitted() == point(1));
  CHECK(t.signaled() == point(0));
  CHECK(t.wait(point(1), deadline::now()) == wait_status::timed_out);
  CHECK(t.wait_submitted(point(1), deadline::now()) == wait_status::signaled);
  work->signal();
  CHECK(t.signaled() == point(1));
  CHECK(t.wait(point(1), deadline::now()) == wait_status::signaled);
}

TEST_CASE("a point without a fence, the point 0, and a chain are refused") {
  const timeline t = *timeline::create();
  CHECK(t.submit(point(0), make_fence()).error() == errc::invalid_argument);
  CHECK(t.submit(point(1), {}).error() == errc::invalid_argument);
  CHECK(t.submit(point(1), *fence_chain::create({}, make_fence(), 1)).error() == errc::invalid_argument);
  CHECK(t.submitted() == point(0));
  // Nothing is left pending by that.
  CHECK(t.signal(point(1)));
  CHECK(t.signaled() == point(1));
}

TEST_CASE("points are reached in order, in whatever order their fences complete") {
  const timeline t = *timeline::create();
  const auto work = make_fences(4);
  for (std::uint64_t i = 0; i < 4; ++i) {
    CHECK(t.submit(point(i + 1), work[i]).has_value());
  }
  work[2]->signal();
  work[1]->signal();
  CHECK(t.signaled() == point(0));
  work[0]->signal();
  CHECK(t.signaled() == point(3));
  work[3]->fail(EIO);
  CHECK(t.signaled() == point(4));
}

TEST_CASE("a gap is reached with the point above it") {
  const timeline t = *timeline::create();
  const auto work = make_fences(2);
  CHECK(t.submit(point(10), work[0]).has_value());
  CHECK(t.submit(point(20), work[1]).has_value());
  const user_fence five = *t.at(point(5));
  const user_fence eleven = *t.at(point(11));
  CHECK(t.wait(point(11), deadline::now()) == wait_status::timed_out);
  CHECK(t.wait(point(21), deadline::now()).error() == errc::not_submitted);
  work[0]->signal();
  CHECK(five.is_signaled());
  CHECK_FALSE(eleven.is_signaled());
  work[1]->signal();
  CHECK(eleven.is_signaled());
}

TEST_CASE("a point at or below one that was submitted still holds back those after it") {
  const timeline t = *timeline::create();
  const auto work = make_fences(3);
  CHECK(t.submit(point(5), work[0]).has_value());
  CHECK(t.submit(point(3), work[1]).has_value());
  CHECK(t.submit(point(6), work[2]).has_value());
  CHECK(t.submitted() == point(6));
  work[0]->signal();
  work[2]->signal();
  CHECK(t.signaled() == point(5));
  work[1]->signal();
  CHECK(t.signaled() == point(6));
}

TEST_CASE("what the host signals while points are pending is reached with the last of them") {
  const timeline t = *timeline::create();
  const auto work = make_fences(2);
  CHECK(t.submit(point(1), work[0]).has_value());
  CHECK(t.submit(point(2), work[1]).has_value());
  CHECK(t.signal(point(7)));
  CHECK(t.submitted() == point(7));
  CHECK(t.signaled() == point(0));
  const fence_ptr seven = *t.fence_at(point(7));
  work[1]->signal();
  CHECK(t.signaled() == point(0));
  CHECK_FALSE(seven->is_signaled());
  work[0]->signal();
  CHECK(t.signaled() == point(7));
  CHECK(seven->is_signaled());
  CHECK(t.signal(point(8)));
  CHECK(t.signaled() == point(8));
}

TEST_CASE("the fence at a point completes when the point is reached") {
  const timeline t = *timeline::create(point(2));
  const auto work = make_fences(3);
  CHECK(*t.fence_at(point(2)) == stub_fence());
  CHECK(*t.fence_at(point(0)) == stub_fence());
  CHECK(t.fence_at(point(3)).error() == errc::not_submitted);
  CHECK(t.submit(point(10), work[0]).has_value());
  CHECK(t.submit(point(20), work[1]).has_value());
  const fence_ptr ten = *t.fence_at(point(3));
  const fence_ptr twenty = *t.fence_at(point(11));
  CHECK(ten->seqno() == 10);
  CHECK(twenty->seqno() == 20);
  work[1]->fail(ENODEV);
  CHECK_FALSE(twenty->is_signaled());
  int error = 0;
  for_each_leaf(twenty, [&](fence& leaf) { error = leaf.sys_errno() != 0 ? leaf.sys_errno() : error; });
  CHECK(error == ENODEV);
  work[0]->signal();
  CHECK(ten->is_signaled());
  CHECK(twenty->is_signaled());
}

TEST_CASE("a fence at a point has been enabled, and completes without being asked") {
  const timeline t = *timeline::create();
  const fence_ptr work = make_fence();
  CHECK(t.submit(point(1), work).has_value());
  const fence_ptr one = *t.fence_at(point(1));
  work->signal();
  CHECK(one->is_signaled());
}

TEST_CASE("a point to wait for completes at its stage, and at once where that is past") {
  const timeline t = *timeline::create(point(1));
  CHECK((*t.at(point(1))).is_signaled());
  CHECK((*t.at(point(0), point_stage::submitted)).is_signaled());
  const user_fence submitted = *t.at(point(2), point_stage::submitted);
  const user_fence signaled = *t.at(point(2), point_stage::signaled);
  const user_fence later = *t.at(point(3), point_stage::submitted);
  const fence_ptr work = make_fence();
  CHECK(t.submit(point(2), work).has_value());
  CHECK(submitted.is_signaled());
  CHECK_FALSE(signaled.is_signaled());
  CHECK_FALSE(later.is_signaled());
  CHECK((*t.at(point(2), point_stage::submitted)).is_signaled());
  work->signal();
  CHECK(signaled.is_signaled());
  CHECK_FALSE(later.is_signaled());
  t.signal(point(3));
  CHECK(later.is_signaled());
}

TEST_CASE("when the last handle goes, points that nobody will reach fail with EDEADLK") {
  fence_ptr work = make_fence();
  user_fence one;
  user_fence two;
  counting_callback node;
  {
    timeline t = *timeline::create();
    const timeline other = t;
    t = *timeline::create();
    CHECK(other.submit(point(1), work).has_value());
    one = *other.at(point(1));
    two = *other.at(point(2));
    two.add_callback(node);
  }
  // The link that is pending keeps the timeline.
  CHECK_FALSE(one.is_signaled());
  CHECK_FALSE(two.is_signaled());
  work->signal();
  CHECK(one.status() == wait_status::signaled);
  CHECK(node.seen.sys_errno == EDEADLK);
}

TEST_CASE("a timeline keeps none of the fences that are complete, save the last") {
  release_count freed;
  {
    const timeline t = *timeline::create();
    for (std::uint64_t i = 1; i <= 100; ++i) {
      const fence_ptr work = freed.make();
      CHECK(t.submit(point(i), work).has_value());
      work->signal();
    }
    CHECK(freed.freed >= 99);
  }
  CHECK(freed.freed == 100);
}

TEST_CASE("a point of one timeline is transferred to another") {
  const timeline source = *timeline::create();
  const timeline t = *timeline::create();
  const auto work = make_fences(2);
  CHECK(t.transfer(point(1), source, point(1)).error() == errc::not_submitted);
  CHECK(source.submit(point(1), work[0]).has_value());
  CHECK(source.submit(point(2), work[1]).has_value());
  CHECK(t.transfer(point(0), source, point(2)).error() == errc::invalid_argument);
  CHECK(t.transfer(point(7), source, point(2)).has_value());
  CHECK(t.submitted() == point(7));
  work[1]->signal();
  CHECK(t.signaled() == point(0));
  work[0]->signal();
  CHECK(t.signaled() == point(7));
  CHECK(t.transfer(point(8), source, point(1)).has_value());
  CHECK(t.signaled() == point(8));
  CHECK(t.transfer(point(9), t, point(8)).has_value());
  CHECK(t.signaled() == point(9));
}

TEST_CASE("an eventfd counts the points that are reached, and may be closed meanwhile") {
  const timeline t = *timeline::create();
  unique_fd event = make_event();
  const unique_fd watched = *unique_fd::dup(event);
  const fence_ptr work = make_fence();
  CHECK(t.notify(event, point(1)).has_value());
  CHECK(t.notify(event, point(1), point_stage::submitted).has_value());
  CHECK(t.notify(event, point(2)).has_value());
  CHECK(t.notify(event, point(3)).has_value());
  CHECK(take(watched) == 0);
  CHECK(t.submit(point(1), work).has_value());
  CHECK(take(watched) == 1);
  event.reset();
  work->signal();
  CHECK(take(watched) == 1);
  t.signal(point(3));
  CHECK(take(watched) == 2);
  CHECK(t.notify(watched, point(2)).has_value());
  CHECK(take(watched) == 1);
  CHECK(t.notify(borrowed_fd(), point(9)).error() == errc::bad_fd);
}

TEST_CASE("a wish reaches what the newest point waits for") {
  static constexpr fence_ops ops{.set_deadline = [](fence& f, deadline wish) noexcept {
    static_cast<std::vector<deadline>*>(f.source())->push_back(wish);
  }};
  std::vector<deadline> wishes;
  const timeline t = *timeline::create();
  const deadline wish = deadline::in(1s);
  t.set_deadline(wish);
  const fence_ptr first = make_fence(&ops, &wishes);
  const fence_ptr second = make_fence(&ops, &wishes);
  CHECK(t.submit(point(1), first).has_value());
  CHECK(t.submit(point(2), second).has_value());
  t.set_deadline(wish);
  CHECK(wishes == std::vector<deadline>{wish, wish});
  first->signal();
  second->signal();
}

TEST_CASE("a release point signals when it is dropped, once, and moves") {
  static_assert(!std::copy_constructible<release_point> && !std::is_copy_assignable_v<release_point>);
  const timeline t = *timeline::create();
  {
    release_point first = t.release_at(point(1));
    CHECK(first.point() == point(1));
    release_point moved = std::move(first);
    CHECK(first.point() == point(0));  // NOLINT(bugprone-use-after-move): what a moved-from one is, is the test.
    { const release_point dropped = std::move(first); }
    CHECK(t.signaled() == point(0));
  }
  CHECK(t.signaled() == point(1));
  {
    release_point second = t.release_at(point(2));
    second = t.release_at(point(3));
    CHECK(t.signaled() == point(2));
    release_point& same = second;
    second = std::move(same);
    CHECK(t.signaled() == point(2));
    CHECK(second.point() == point(3));
    second.signal();
    CHECK(second.point() == point(0));
    CHECK(t.signaled() == point(3));
  }
  CHECK(t.signaled() == point(3));
  // It keeps the timeline.
  user_fence four;
  {
    std::unique_ptr<release_point> last;
    {
      const timeline gone = *timeline::create();
      four = *gone.at(point(4));
      last = std::make_unique<release_point>(gone.release_at(point(4)));
    }
    CHECK_FALSE(four.is_signaled());
  }
  CHECK(four.status() == wait_status::signaled);
}

TEST_CASE("callbacks of a point may submit, signal and drop the timeline") {
  const fence_ptr work = make_fence();
  auto t = std::make_unique<timeline>(*timeline::create());
  const user_fence one = *t->at(point(1));
  const user_fence two = *t->at(point(2));
  const user_fence three = *t->at(point(3));
  calling_callback on_one([&]() noexcept { static_cast<void>(t->submit(point(2), work)); });
  calling_callback on_two([&]() noexcept {
    t->signal(point(3));
    t.reset();
  });
  one.add_callback(on_one);
  two.add_callback(on_two);
  t->signal(point(1));
  CHECK_FALSE(two.is_signaled());
  work->signal();
  CHECK_FALSE(t);
  CHECK(three.is_signaled());
}

TEST_CASE("points whose callbacks each signal the next take constant stack") {
  struct relay : fence_callback {
    explicit relay(const timeline& of) noexcept : fence_callback(&run), on(of) {}
    relay(const relay&) = delete;
    relay& operator=(const relay&) = delete;
    ~relay() { retire(); }
    static void run(fence_callback& node, const fence_outcome&) noexcept {
      auto& self = static_cast<relay&>(node);
      if (self.due < 100'000) {
        self.wait_for_next();
        self.on.signal(point(self.due));
      }
    }
    void wait_for_next() noexcept {
      user_fence next = *on.at(point(++due));
      next.add_callback(*this);
      std::swap(waits_for, next);
    }
    const timeline& on;
    std::uint64_t due{0};
    user_fence waits_for;
  };
  const timeline t = *timeline::create();
  relay node(t);
  node.wait_for_next();
  on_a_small_stack([&] { t.signal(point(1)); });
  CHECK(t.signaled() == point(100'000));
}

TEST_CASE("every wait policy waits for each stage of a point", "[threads]") {
  with_every_policy([](auto policy) {
    const timeline t = *timeline::create();
    CHECK(t.wait(point(1), shortly(), policy).error() == errc::not_submitted);
    CHECK(t.wait_for_submit(point(1), shortly(), policy) == wait_status::timed_out);
    CHECK(t.wait_submitted(point(1), shortly(), policy) == wait_status::timed_out);
    CHECK(t.wait_for_submit(point(1), deadline::now(), policy) == wait_status::timed_out);
    const fence_ptr work = make_fence();
    std::thread submitter([&] {
      std::this_thread::sleep_for(5ms);
      static_cast<void>(t.submit(point(1), work));
    });
    CHECK(t.wait_submitted(point(1), long_enough(), policy) == wait_status::signaled);
    submitter.join();
    CHECK(t.wait(point(1), shortly(), policy) == wait_status::timed_out);
    std::thread signaler([&] {
      std::this_thread::sleep_for(5ms);
      work->signal();
    });
    CHECK(t.wait(point(1), long_enough(), policy) == wait_status::signaled);
    signaler.join();
    std::thread host([&] {
      std::this_thread::sleep_for(5ms);
      t.signal(point(2));
    });
    CHECK(t.wait_for_submit(point(2), long_enough(), policy) == wait_status::signaled);
    host.join();
    CHECK(t.wait(point(2), deadline::never(), policy) == wait_status::signaled);
  });
}

TEST_CASE("a thread that sleeps sees a jump of exactly 2^32", "[threads]") {
  for (const std::uint64_t jump : {UINT64_C(1) << 32U, UINT64_C(1) << 33U}) {
    const timeline t = *timeline::create();
    std::atomic<bool> begun{false};
    result<wait_status> ended = wait_status::timed_out;
    std::thread sleeper([&] {
      begun = true;
      ended = t.wait_for_submit(point(1), long_enough(), futex_wait{});
    });
    while (!begun) {
      std::this_thread::yield();
    }
    std::this_thread::sleep_for(20ms);
    t.signal(point(jump));
    sleeper.join();
    CHECK(ended == wait_status::signaled);
  }
}

TEST_CASE("threads submit, signal and wait on one timeline with every policy", "[threads]") {
  constexpr std::uint64_t rounds = 1000;
  release_count freed;  // The timeline drops the last fences.
  const timeline t = *timeline::create();
  std::atomic<std::uint64_t> next{1};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  threads.reserve(2);
  // Two threads that submit and complete points of their own, out of order between them.
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      fence_ptr before;
      for (std::uint64_t due = next++; due <= rounds; due = next++) {
        fence_ptr work = freed.make();
        wrong += t.submit(point(due), work).has_value() ? 0 : 1;
        if (before) {
          before->signal();
        }
        before = std::move(work);
      }
      if (before) {
        before->signal();
      }
    });
  }
  with_every_policy([&](auto policy) {
    threads.emplace_back([&, policy] {
      for (std::uint64_t due = 1; due <= rounds; due += 1 + due % 13) {
        const auto ended = t.wait_for_submit(point(due), long_enough(), policy);
        wrong += ended == wait_status::signaled && t.signaled().value() >= due ? 0 : 1;
      }
    });
  });
  // Points, eventfds and fences come and go meanwhile.
  const unique_fd event = make_event();
  std::uint64_t notified = 0;
  for (std::uint64_t due = 1; due <= rounds; due += 7) {
    const user_fence reached = *t.at(point(due));
    const user_fence given_up = *t.at(point(due + 3));
    notified += t.notify(event, point(due)).has_value() ? 1U : 0U;
    if (auto promised = t.fence_at(point(due)); promised.has_value()) {
      wrong += wait(**promised, long_enough()) == wait_status::signaled ? 0 : 1;
    }
    wrong += wait(reached, long_enough()) == wait_status::signaled ? 0 : 1;
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(wrong == 0);
  CHECK(t.signaled() == point(rounds));
  CHECK(take(event) == notified);
  CHECK(freed.freed >= static_cast<int>(rounds) - 1);
}

TEST_CASE("the host signals while another thread submits, and nothing is lost", "[threads]") {
  for (int round = 0; round < 500; ++round) {
    const timeline t = *timeline::create();
    const fence_ptr work = make_fence();
    const user_fence three = *t.at(point(3));
    std::thread host([&] { t.signal(point(3)); });
    CHECK(t.submit(point(2), work).has_value());
    work->signal();
    host.join();
    CHECK(three.is_signaled());
    CHECK(t.signaled() == point(3));
  }
}

TEST_CASE("a point that is signaled while another thread serves the waiters is not lost", "[threads]") {
  for (const point_stage stage : {point_stage::signaled, point_stage::submitted}) {
    const timeline t = *timeline::create();
    const user_fence one = *t.at(point(1));
    const user_fence two = *t.at(point(2), stage);
    // The newest waiter is looked at first: `two` has been found not due when the callback of `one` runs.
    calling_callback meanwhile([&]() noexcept { std::thread([&] { t.signal(point(2)); }).join(); });
    one.add_callback(meanwhile);
    t.signal(point(1));
    CHECK(two.is_signaled());
  }
}

TEST_CASE("polling asks the source of the point, whatever the points above it wait for") {
  static constexpr fence_ops ops{.poll = [](fence&) noexcept { return true; }};
  const timeline t = *timeline::create();
  const fence_ptr above = make_fence();
  CHECK(t.submit(point(1), make_fence(&ops)).has_value());
  CHECK(t.submit(point(2), above).has_value());
  CHECK(t.wait(point(1), deadline::in(2s), polling_wait{}) == wait_status::signaled);
  above->signal();
}

TEST_CASE("signal says that a point had been signaled, also while one above it is pending") {
  const timeline t = *timeline::create(point(10));
  const fence_ptr work = make_fence();
  CHECK(t.submit(point(20), work).has_value());
  CHECK_FALSE(t.signal(point(5)));
  CHECK_FALSE(t.signal(point(10)));
  work->signal();
}

TEST_CASE("the highest of all points waits for what is pending, as any other") {
  for (const bool submitted : {false, true}) {
    const timeline t = *timeline::create();
    const fence_ptr work = make_fence();
    CHECK(t.submit(point(submitted ? UINT64_MAX : 5), work).has_value());
    t.signal(point(UINT64_MAX));
    t.signal(point(7));
    CHECK(t.signaled() == point(0));
    work->signal();
    CHECK(t.signaled() == point(UINT64_MAX));
  }
}

TEST_CASE("an eventfd is registered while its point is signaled in another thread", "[threads]") {
  const timeline t = *timeline::create();
  const unique_fd event = make_event();
  std::atomic<bool> stop{false};
  std::thread signaler([&] {
    for (std::uint64_t i = 1; !stop; ++i) {
      t.signal(point(i));
    }
  });
  std::uint64_t registered = 0;
  for (int i = 0; i < 20'000; ++i) {
    registered += t.notify(event, point(t.signaled().value() + 1)).has_value() ? 1U : 0U;
  }
  stop = true;
  signaler.join();
  t.signal(point(UINT64_MAX));
  CHECK(take(event) == registered);
}
