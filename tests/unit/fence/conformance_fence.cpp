// SPDX-License-Identifier: BSL-1.0
// What the kernel's own tests ask of a dma_fence (F1..F11, drivers/dma-buf/st-dma-fence.c), what its code promises
// beyond them (F13..F23), and adversarial cases (X…). Where paddock differs from the kernel on purpose, the test says
// so.
#include <pthread.h>

#include <barrier>
#include <chrono>
#include <csignal>
#include <limits>
#include <thread>
#include <vector>

#include <paddock/fence/merge.hpp>
#include <paddock/fence/stub.hpp>
#include <paddock/fence/timeline.hpp>
#include <paddock/fence/wait.hpp>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

TEST_CASE("F1 sanitycheck") {
  release_count freed;
  fence_ptr f = freed.make();
  f->enable_signaling();
  f->signal();
  f.reset();
  CHECK(freed.freed == 1);
}

TEST_CASE("F2 signaling") {
  // The kernel detaches a signaled fence from its operations; ours has to outlive the fence instead.
  static constexpr fence_ops ops{.poll = [](fence& f) noexcept { return ++*static_cast<int*>(f.source()) > 1; }};
  int asked = 0;
  const fence_ptr f = make_fence(&ops, &asked);
  f->enable_signaling();
  CHECK_FALSE(f->is_signaled());
  CHECK_FALSE(f->poll());
  CHECK(f->signal());
  CHECK(f->is_signaled());
  CHECK(f->poll());
  CHECK(asked == 1);
}

TEST_CASE("F3 add_callback") {
  const fence_ptr f = make_fence();
  counting_callback node;
  CHECK(f->add_callback(node) == add_outcome::added);
  f->signal();
  CHECK(node.runs == 1);
}

TEST_CASE("F5 rm_callback") {
  const fence_ptr f = make_fence();
  counting_callback node;
  f->add_callback(node);
  CHECK(f->remove_callback(node) == remove_outcome::removed);
  f->signal();
  CHECK(node.runs == 0);
}

TEST_CASE("F7 status") {
  const fence_ptr f = make_fence();
  CHECK(f->status() == wait_status::timed_out);
  f->signal();
  CHECK(f->status() == wait_status::signaled);
}

TEST_CASE("F8 error") {
  // The kernel stores an error before it signals; here they are one step, so that no half of it is ever seen.
  const fence_ptr f = make_fence();
  CHECK(f->sys_errno() == 0);
  f->fail(EIO);
  CHECK(f->status() == wait_status::failed);
  CHECK(f->sys_errno() == EIO);
}

TEST_CASE("F9 wait") {
  const fence_ptr f = make_fence();
  CHECK(wait(*f, deadline::now()) == wait_status::timed_out);
  f->signal();
  CHECK(wait(*f, deadline::now()) == wait_status::signaled);
}

TEST_CASE("F10 wait_timeout") {
  const fence_ptr f = make_fence();
  CHECK(wait(*f, deadline::in(1ms)) == wait_status::timed_out);
  std::thread timer([&] {
    std::this_thread::sleep_for(1ms);
    f->signal();
  });
  CHECK(wait(*f, long_enough()) == wait_status::signaled);
  timer.join();
}

TEST_CASE("F11 stub") {
  std::vector<fence_ptr> taken;
  for (int i = 0; i < 64; ++i) {
    taken.push_back(stub_fence());
    CHECK(taken.back()->is_signaled());
  }
  taken.clear();
  CHECK(stub_fence()->is_signaled());
}

TEST_CASE("F13 a callback that was removed is added again") {
  const fence_ptr f = make_fence();
  counting_callback node;
  f->add_callback(node);
  f->remove_callback(node);
  CHECK(f->add_callback(node) == add_outcome::added);
  f->signal();
  CHECK(node.runs == 1);
}

TEST_CASE("F16 a callback removes another one of the same fence") {
  // A deadlock in the kernel. Here one that has not run yet does not run, and one that has is told.
  const fence_ptr f = make_fence();
  counting_callback earlier;
  counting_callback later;
  remove_outcome of_earlier = remove_outcome::removed;
  remove_outcome of_later = remove_outcome::ran;
  calling_callback remover([&]() noexcept {
    of_earlier = f->remove_callback(earlier);
    of_later = f->remove_callback(later);
  });
  f->add_callback(earlier);
  f->add_callback(remover);
  f->add_callback(later);
  f->signal();
  CHECK(of_earlier == remove_outcome::ran);
  CHECK(of_later == remove_outcome::removed);
  CHECK(earlier.runs == 1);
  CHECK(later.runs == 0);
}

TEST_CASE("F17 an error after the signal") {
  const fence_ptr f = make_fence();
  f->signal();
  CHECK_FALSE(f->fail(EIO));
  CHECK(f->status() == wait_status::signaled);
}

TEST_CASE("F18 an error that is none") {
  // The kernel warns; here the fence fails with EIO, since what was meant is no success.
  for (const int why : {0, -5, 4096, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()}) {
    const fence_ptr f = make_fence();
    f->fail(why);
    CHECK(f->sys_errno() == EIO);
  }
  const fence_ptr last = make_fence();
  last->fail(4095);
  CHECK(last->sys_errno() == 4095);
}

TEST_CASE("F20 two signals with different times") {
  const fence_ptr f = make_fence();
  CHECK(f->signal(monotonic_clock::time_point(7s)));
  CHECK_FALSE(f->signal(monotonic_clock::time_point(5s)));
  CHECK(f->timestamp() == monotonic_clock::time_point(7s));
}

TEST_CASE("F21 a wait with a negative timeout") {
  // EINVAL in the kernel. Here a deadline that has passed asks once.
  const fence_ptr f = make_fence();
  CHECK(wait(*f, deadline::in(-5s)) == wait_status::timed_out);
  CHECK(wait(*f, deadline::at(monotonic_clock::time_point(-5s)), futex_wait{}) == wait_status::timed_out);
}

TEST_CASE("F23 a wait that a signal interrupts", "[threads]") {
  // There are no interruptible waits: a wait goes on until the completion or the deadline.
  struct sigaction ignore {};
  ignore.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &ignore, nullptr);
  const fence_ptr f = make_fence();
  std::atomic<bool> done{false};
  const pthread_t waiter = ::pthread_self();
  std::thread storm([&] {
    for (int i = 0; i < 50; ++i) {
      ::pthread_kill(waiter, SIGUSR1);
      std::this_thread::sleep_for(1ms);
    }
    done = true;
    f->signal();
  });
  const deadline brief = deadline::in(10ms);
  CHECK(wait(*f, brief, futex_wait{}) == wait_status::timed_out);
  CHECK(brief.passed());
  CHECK(wait(*f, long_enough(), futex_wait{}) == wait_status::signaled);
  CHECK(done);
  storm.join();
}

TEST_CASE("X1 callbacks come and go in eight threads while another signals", "[threads]") {
  constexpr int rounds = 500;
  constexpr int threads = 8;
  fence_ptr f;
  std::atomic<int> wrong{0};
  std::barrier ready(threads + 1);
  std::vector<std::thread> adders;
  adders.reserve(threads);
  for (int t = 0; t < threads; ++t) {
    adders.emplace_back([&] {
      for (int round = 0; round < rounds; ++round) {
        ready.arrive_and_wait();
        counting_callback kept;
        counting_callback removed;
        const bool kept_added = f->add_callback(kept) == add_outcome::added;
        for (int i = 0; i < 10; ++i) {
          const int before = removed.runs;
          if (f->add_callback(removed) == add_outcome::already_signaled) {
            break;
          }
          const bool ran = f->remove_callback(removed) == remove_outcome::ran;
          wrong += removed.runs == before + (ran ? 1 : 0) ? 0 : 1;
        }
        const int settled = removed.runs;
        ready.arrive_and_wait();
        wrong += kept.runs == (kept_added ? 1 : 0) && removed.runs == settled ? 0 : 1;
      }
    });
  }
  for (int round = 0; round < rounds; ++round) {
    f = make_fence();
    ready.arrive_and_wait();
    f->signal();
    ready.arrive_and_wait();
  }
  for (std::thread& adder : adders) {
    adder.join();
  }
  CHECK(wrong == 0);
}

TEST_CASE("X3 the last put against signal", "[threads]") {
  // There is no get-if-not-zero: nobody has a pointer without a reference.
  constexpr int rounds = 3000;
  release_count freed;
  fence_ptr mine;
  fence_ptr theirs;
  std::barrier ready(2);
  std::thread signaler([&] {
    for (int round = 0; round < rounds; ++round) {
      ready.arrive_and_wait();
      theirs->signal();
      theirs.reset();
      ready.arrive_and_wait();
    }
  });
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    counting_callback node;
    mine = freed.make();
    theirs = mine;
    mine->add_callback(node);
    ready.arrive_and_wait();
    mine.reset();
    ready.arrive_and_wait();
    wrong += node.runs == 1 && node.seen.sys_errno == 0 ? 0 : 1;
  }
  signaler.join();
  CHECK(wrong == 0);
  CHECK(freed.freed == rounds);
}

TEST_CASE("X16 who sees the completion sees the data", "[threads]") {
  constexpr std::size_t rounds = 65536;
  const auto fences = make_fences(rounds);
  std::vector<std::size_t> payload(rounds, 0);  // Plain, on purpose.
  std::thread producer([&] {
    for (std::size_t i = 0; i < rounds; ++i) {
      payload[i] = i + 1;
      fences[i]->signal(no_timestamp{});
    }
  });
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < rounds; ++i) {
    const auto ended = i % 2 == 0 ? wait(*fences[i], long_enough()) : wait(*fences[i], long_enough(), futex_wait{});
    wrong += ended == wait_status::signaled && payload[i] == i + 1 ? 0U : 1U;
  }
  producer.join();
  CHECK(wrong == 0);
}

TEST_CASE("X26 a fence that is destroyed unsignaled ends its waiters", "[threads]") {
  auto t = std::make_unique<timeline>(*timeline::create());
  const user_fence never = *t->at(timeline_point(1));
  result<wait_status> ended = wait_status::timed_out;
  std::thread waiter([&] { ended = wait(never, long_enough(), futex_wait{}); });
  std::this_thread::sleep_for(5ms);
  t.reset();
  waiter.join();
  CHECK(ended == wait_status::failed);
  CHECK(never.sys_errno() == EDEADLK);
}

TEST_CASE("X34 durations that no clock holds") {
  using seconds = std::chrono::duration<double>;
  CHECK(deadline::in(std::chrono::hours::max()).is_never());
  CHECK(deadline::in(std::chrono::hours::min()).passed());
  CHECK(deadline::in(seconds(std::numeric_limits<double>::infinity())).is_never());
  CHECK(deadline::in(seconds(-std::numeric_limits<double>::infinity())).passed());
  CHECK(deadline::in(seconds(std::numeric_limits<double>::quiet_NaN())).nanoseconds() >= 0);
  const fence_ptr done = make_fence();
  done->signal();
  CHECK(wait(*done, deadline::in(std::chrono::hours::max())) == wait_status::signaled);
  const fence_ptr pending = make_fence();
  CHECK(wait(*pending, deadline::in(std::chrono::hours::min()), futex_wait{}) == wait_status::timed_out);
}

TEST_CASE("X36 numbers around the wrap are compared and merged") {
  fence_context ring("ring", 1s, fence_context::seqno_order::wraps_at_32_bits);
  std::vector<fence_ptr> around;
  for (std::uint64_t i = 0; i < 5; ++i) {
    around.push_back(*ring.create(fence_seqno((UINT64_C(0xffff'fffe) + i) & 0xffff'ffff)));
  }
  for (std::size_t i = 1; i < around.size(); ++i) {
    CHECK(around[i]->is_later_than(*around[i - 1]));
    CHECK_FALSE(around[i - 1]->is_later_than(*around[i]));
  }
  CHECK(*merge(around) == around.back());
  // A distance of exactly 2^31 is undecided; any answer is one of the two.
  const fence_ptr low = *ring.create(fence_seqno(0));
  const fence_ptr far = *ring.create(fence_seqno(0x8000'0000));
  const fence_ptr merged = *merge({low, far});
  CHECK((merged == low || merged == far));
}

TEST_CASE("X43 a merge of merges keeps only what is pending") {
  release_count freed;
  fence_context context("queue", 1s);
  fence_ptr all = freed.make();
  constexpr int rounds = 200'000;
  for (int i = 0; i < rounds; ++i) {
    all = *merge({all, *context.create(&release_count::ops, &freed)});
  }
  CHECK(freed.freed == rounds - 1);
  all.reset();
  CHECK(freed.freed == rounds + 1);
}
