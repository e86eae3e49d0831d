// SPDX-License-Identifier: BSL-1.0
// Bridges over eventfds, which every host has; kernel fences are in tests/vm/cases/kernel_bridge.cpp.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <iterator>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <paddock/kernel/bridged_event.hpp>
#include <paddock/kernel/fence_bridge.hpp>

#include "catch.hpp"
#include "processes.hpp"

namespace paddock::kernel {

namespace {

using namespace std::chrono_literals;
using test::threads;
constexpr auto done = wait_status::signaled;
constexpr auto late = wait_status::timed_out;

template <class T>
errc code_of(const result<T>& answer) {
  return answer ? errc{} : answer.error().code;
}
/// Without those that linger of an earlier case, and with ThreadSanitizer's own, which comes with the first one.
std::ptrdiff_t threads_at_rest() {
  std::thread([] {}).join();
  std::this_thread::sleep_for(150ms);
  return threads();
}
template <class Done>
bool comes_true(Done done_yet) {
  for (int i = 0; i < 1000 && !done_yet(); ++i) {
    std::this_thread::sleep_for(10ms);
  }
  return done_yet();
}
unique_fd make_event(int flags = EFD_NONBLOCK) { return unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | flags)); }
void add_one(borrowed_fd event) {
  const std::uint64_t one = 1;
  REQUIRE(::write(event.get(), &one, sizeof one) == sizeof one);
}
bool is_readable(borrowed_fd fd, int timeout_ms = 0) {
  pollfd entry{fd.get(), POLLIN, 0};
  return ::poll(&entry, 1, timeout_ms) == 1;
}

/// Runs `What` when its fence completes.
template <class What>
struct calling final : fence_callback {
  explicit calling(What what) : fence_callback(&run), what_(std::move(what)) {}
  calling(const calling&) = delete;
  calling& operator=(const calling&) = delete;
  ~calling() { retire(); }
  static void run(fence_callback& node, const fence_outcome& outcome) noexcept {
    static_cast<calling&>(node).what_(outcome);
  }
  What what_;
};

}  // namespace

TEST_CASE("bridge: an event completes once it was written to, and is taken") {
  for (const bool own_loop : {false, true}) {
    const auto bridge = own_loop ? fence_bridge::for_event_loop() : fence_bridge::create();
    REQUIRE(bridge);
    const unique_fd event = make_event();
    const auto watched = bridged_event::watch(*bridge, *unique_fd::dup(event));
    REQUIRE(watched);
    CHECK(wait(watched->fence(), deadline::in(10ms)) == late);
    add_one(event);
    if (own_loop) {
      CHECK(is_readable(bridge->fd(), 5000));
      CHECK_FALSE(watched->fence().is_signaled());
      CHECK(bridge->dispatch() == 1U);
    }
    CHECK(wait(watched->fence(), deadline::in(10s)) == done);
    CHECK_FALSE(is_readable(event));
    watched->cancel();
    CHECK(watched->fence().sys_errno() == 0);  // It was complete.
  }
}

TEST_CASE("bridge: an event loop is told 64 at a time") {
  const auto bridge = fence_bridge::for_event_loop();
  std::vector<bridged_event> all;
  for (int i = 0; i < 100; ++i) {
    auto event = make_event();
    add_one(event);
    all.push_back(*bridged_event::watch(*bridge, std::move(event)));
  }
  CHECK(bridge->dispatch() == 64U);
  CHECK(bridge->dispatch() == 36U);
  CHECK(bridge->dispatch() == 0U);
  CHECK_FALSE(is_readable(bridge->fd()));
}

TEST_CASE("bridge: what was taken back is not looked at, whoever else has the event") {
  const auto bridge = fence_bridge::for_event_loop();
  const unique_fd event = make_event();
  auto canceled = bridged_event::watch(*bridge, *unique_fd::dup(event));
  auto dropped = bridged_event::watch(*bridge, *unique_fd::dup(event));
  const user_fence of_dropped = dropped->fence();
  canceled->cancel(ENODEV);
  CHECK(canceled->fence().sys_errno() == ENODEV);
  dropped = fail(errc::canceled, "dropped");
  CHECK(of_dropped.sys_errno() == ECANCELED);
  add_one(event);
  CHECK_FALSE(is_readable(bridge->fd()));
  CHECK(bridge->dispatch() == 0U);
  CHECK(is_readable(event));  // Nobody has taken the count.
}

TEST_CASE("bridge: what cannot be watched is refused, and an error of the file is one of the fence") {
  const auto bridge = fence_bridge::for_event_loop();
  CHECK(code_of(bridged_event::watch(*bridge, unique_fd())) == errc::bad_fd);
  CHECK(code_of(bridged_event::watch(*bridge, *detail::open("/", O_RDONLY, "open"))) == errc::permission);
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  auto reading = unique_fd::adopt(ends[0]);
  const auto watched = bridged_event::watch(*bridge, unique_fd::adopt(ends[1]));
  REQUIRE(watched);
  reading.reset();  // POLLERR for who writes.
  CHECK(bridge->dispatch() == 1U);
  CHECK(watched->fence().sys_errno() == EIO);
}

TEST_CASE("bridge: two who watch one event that blocks are both told") {
  const auto bridge = fence_bridge::create();
  const unique_fd event = make_event(0);
  const auto one = bridged_event::watch(*bridge, *unique_fd::dup(event));
  const auto two = bridged_event::watch(*bridge, *unique_fd::dup(event));
  add_one(event);
  CHECK(wait(one->fence(), deadline::in(5s)) == done);
  // One of them finds the count taken, and must not wait for more in the thread that tells everybody.
  const auto other = bridged_event::watch(*bridge, make_event());
  const unique_fd third = make_event();
  const auto last = bridged_event::watch(*bridge, *unique_fd::dup(third));
  add_one(third);
  const bool is_told = wait(last->fence(), deadline::in(5s)) == done;
  CHECK(is_told);
  if (!is_told) {
    add_one(event);  // So that the thread can end.
  }
}

TEST_CASE("bridge: a callback may drop its event, another event and the bridge") {
  std::optional<fence_bridge> bridge = *fence_bridge::for_event_loop();
  std::vector<std::optional<bridged_event>> events;
  for (int i = 0; i < 3; ++i) {
    auto event = make_event();
    add_one(event);
    events.emplace_back(*bridged_event::watch(*bridge, std::move(event)));
  }
  int runs = 0;
  calling drop([&](const fence_outcome&) noexcept {
    ++runs;
    events.clear();
    bridge.reset();
  });
  REQUIRE(events[0]->fence().add_callback(drop) == add_outcome::added);
  const auto told = bridge->dispatch();
  CHECK(told == 1U);
  CHECK(runs == 1);
}

TEST_CASE("bridge: copies are one bridge") {
  auto first = fence_bridge::for_event_loop();
  auto second = *first;
  const unique_fd event = make_event();
  const auto watched = bridged_event::watch(*first, *unique_fd::dup(event));
  first = fail(errc::canceled, "the other one stays");
  CHECK_FALSE(watched->fence().is_signaled());
  add_one(event);
  CHECK(second.dispatch() == 1U);
  CHECK(watched->fence().status() == done);
}

TEST_CASE("bridge: a thread is there while something is pending, again and again") {
  const auto before = threads_at_rest();
  const auto bridge = fence_bridge::create();
  for (int round = 0; round < 3; ++round) {
    CHECK(comes_true([&] { return threads() == before; }));
    const unique_fd event = make_event();
    const auto watched = bridged_event::watch(*bridge, *unique_fd::dup(event));
    const auto canceled = bridged_event::watch(*bridge, make_event());
    CHECK(threads() == before + 1);  // One for all.
    canceled->cancel();
    std::this_thread::sleep_for(120ms);  // Longer than it lingers.
    CHECK(threads() == before + 1);
    add_one(event);
    CHECK(wait(watched->fence(), deadline::in(10s)) == done);
  }
  CHECK(comes_true([&] { return threads() == before; }));
}

TEST_CASE("bridge: its thread goes on when the last handle went") {
  const auto before = threads_at_rest();
  const unique_fd event = make_event();
  auto bridge = fence_bridge::create();
  auto watched = bridged_event::watch(*bridge, *unique_fd::dup(event));
  bridge = fail(errc::canceled, "the handle goes");
  std::this_thread::sleep_for(120ms);
  add_one(event);
  CHECK(wait(watched->fence(), deadline::in(10s)) == done);
  CHECK(comes_true([&] { return threads() == before; }));
}

TEST_CASE("bridge: whether it was canceled or told first, it ends once, from many threads") {
  const auto bridge = fence_bridge::create();
  constexpr int rounds = 500;
  std::atomic<int> signaled{0};
  std::atomic<int> canceled{0};
  std::atomic<int> wrong{0};
  const auto work = [&](unsigned seed) {
    for (int round = 0; round < rounds; ++round) {
      const auto event = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      auto watched = bridged_event::watch(*bridge, *unique_fd::dup(event));
      if (!watched) {
        ++wrong;
        continue;
      }
      std::atomic<int> runs{0};
      const user_fence fence = watched->fence();
      calling count([&](const fence_outcome&) noexcept { ++runs; });
      const auto added = fence.add_callback(count);
      const std::uint64_t one = 1;
      wrong += ::write(event.get(), &one, sizeof one) == sizeof one && added == add_outcome::added ? 0 : 1;
      seed = seed * 1103515245U + 12345U;
      for (unsigned spin = (seed >> 16U) % 4000U; spin != 0; --spin) {
        detail::spin_pause();
      }
      if (seed % 2U == 0) {
        watched->cancel();
      } else {
        watched = fail(errc::canceled, "dropped");
      }
      static_cast<void>(fence.remove_callback(count));
      wrong += runs == 1 ? 0 : 1;
      ++(fence.sys_errno() == 0 ? signaled : canceled);
    }
  };
  std::vector<std::thread> workers;
  workers.reserve(3);
  for (unsigned i = 0; i < 4; ++i) {
    workers.emplace_back(work, i + 1);
  }
  for (std::thread& each : workers) {
    each.join();
  }
  CHECK(wrong == 0);
  CHECK(signaled + canceled == 4 * rounds);
}

TEST_CASE("bridge: events come and go while its thread ends and starts") {
  const auto before = threads_at_rest();
  const auto bridge = fence_bridge::create();
  std::atomic<int> untold{0};
  const auto work = [&](int shift) {
    for (int round = 0; round < 6; ++round) {
      std::this_thread::sleep_for(48ms + std::chrono::milliseconds(shift + round));  // About as long as it lingers.
      const auto event = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      const auto watched = bridged_event::watch(*bridge, *unique_fd::dup(event));
      const std::uint64_t one = 1;
      const bool is_told = watched && ::write(event.get(), &one, sizeof one) == sizeof one &&
                           wait(watched->fence(), deadline::in(10s)) == done;
      untold += is_told ? 0 : 1;
    }
  };
  std::vector<std::thread> workers;
  workers.reserve(3);
  for (int i = 0; i < 3; ++i) {
    workers.emplace_back(work, i);
  }
  for (std::thread& each : workers) {
    each.join();
  }
  CHECK(untold == 0);
  CHECK(comes_true([&] { return threads() == before; }));
}

TEST_CASE("bridge: at the descriptor limit there is no bridge") {
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none = before;
  const int next = ::dup(0);
  ::close(next);
  none.rlim_cur = static_cast<rlim_t>(next);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const auto refused = fence_bridge::create();
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(code_of(refused) == errc::limit_reached);
  CHECK(fence_bridge::create());
}

TEST_CASE("bridge: a forked child harms nothing that its parent watches") {
  const auto bridge = fence_bridge::for_event_loop();
  const unique_fd event = make_event();
  auto watched = bridged_event::watch(*bridge, *unique_fd::dup(event));
  REQUIRE(watched);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // The set of descriptors is one for both.
    const auto stranger = unique_fd::adopt(::eventfd(1, EFD_CLOEXEC));
    const bool is_refused = !bridged_event::watch(*bridge, *unique_fd::dup(stranger));
    add_one(event);
    const bool is_told = bridge->dispatch() == 1U;
    watched = fail(errc::canceled, "dropped");
    ::_exit(is_refused && !is_told ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(bridge->dispatch() == 1U);
  CHECK(watched->fence().status() == done);
}

}  // namespace paddock::kernel
