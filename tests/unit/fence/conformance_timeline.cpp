// SPDX-License-Identifier: BSL-1.0
// What the tests of the kernel's timeline syncobjs ask (IGT syncobj_timeline: ST…, TS-…, TM-…; syncobj_eventfd: SE…;
// Vulkan's timeline semaphores: VK…), as far as it needs no kernel. A wait for a point that is not submitted is
// errc::not_submitted, where the kernel says EINVAL; reset does not exist.
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include <paddock/fence/eventfd.hpp>
#include <paddock/fence/timeline.hpp>
#include <paddock/fence/user_fence.hpp>
#include <paddock/fence/wait.hpp>

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

/// How a wait for several points ended.
const std::string refused = "not submitted";
const std::string late = "timed out";
std::string done(std::size_t first) { return "point " + std::to_string(first); }

/// What is waited for: the fences of submitted points; points, submitted or not; or only that they are submitted.
enum class wanted { submitted_points, for_submit, available };
using enum wanted;

/// Timelines with a point of theirs each, in the states of the set from left to right, the last one repeated: U is
/// unsubmitted, S submitted, G signaled.
class timelines {
 public:
  timelines(const std::string& states, std::size_t count) : work_(make_fences(count)) {
    random_numbers random;
    for (std::size_t i = 0; i < count; ++i) {
      handles_.push_back(*timeline::create());
      points_.emplace_back(i % 2 == 0 ? 1 + random.below(UINT64_C(1) << 40U) : 1);
      const char state = states[std::min(i, states.size() - 1)];
      if (state == 'S') {
        CHECK(handles_[i].submit(points_[i], work_[i]).has_value());
      } else if (state == 'G') {
        CHECK(handles_[i].signal(points_[i]));
      }
    }
  }
  timelines(const timelines&) = delete;
  timelines& operator=(const timelines&) = delete;
  ~timelines() {
    for (const fence_ptr& each : work_) {
      each->signal();
    }
  }
  /// The fences to wait for; empty when a point is not submitted, and that is asked for.
  [[nodiscard]] std::vector<fence_ptr> fences(wanted what) const {
    std::vector<fence_ptr> all;
    for (std::size_t i = 0; i < handles_.size(); ++i) {
      if (what == submitted_points) {
        auto each = handles_[i].fence_at(points_[i]);
        if (!each) {
          CHECK(each.error() == errc::not_submitted);
          return {};
        }
        all.push_back(*std::move(each));
      } else {
        // Nobody has promised these points, so that they are waited for under a bound.
        const point_stage stage = what == for_submit ? point_stage::signaled : point_stage::submitted;
        all.push_back(*bounded(*handles_[i].at(points_[i], stage), long_enough()));
      }
    }
    return all;
  }

 private:
  std::vector<fence_ptr> work_;
  std::vector<timeline> handles_;
  std::vector<point> points_;
};

std::string any_of(wanted what, const std::string& states, std::size_t count = 5) {
  const timelines all(states, count);
  const auto fences = all.fences(what);
  if (fences.empty()) {
    return refused;
  }
  const auto first = wait_any(fences, shortly());
  CHECK(first->status != wait_status::failed);
  return first->status == wait_status::signaled ? done(first->index) : late;
}
/// The kernel numbers the first point of a wait for all 0.
std::string all_of(wanted what, const std::string& states, std::size_t count = 5) {
  const timelines all(states, count);
  const auto fences = all.fences(what);
  if (fences.empty()) {
    return refused;
  }
  const auto ended = wait_all(fences, shortly());
  CHECK(ended != wait_status::failed);
  return ended == wait_status::signaled ? done(0) : late;
}

}  // namespace

TEST_CASE("ST18 signal") {
  const timeline t = *timeline::create();
  CHECK(t.wait(point(1), deadline::now()).error() == errc::not_submitted);
  CHECK(t.wait_for_submit(point(1), deadline::now()) == wait_status::timed_out);
  CHECK(t.signal(point(1)));
  CHECK(t.wait(point(1), deadline::now()) == wait_status::signaled);
  CHECK(t.wait_for_submit(point(1), deadline::now()) == wait_status::signaled);
}

TEST_CASE("ST20 host-signal-points") {
  const timeline t = *timeline::create();
  random_numbers random;
  std::uint64_t value = 0;
  for (int i = 0; i < 100; ++i) {
    value += 1 + random.below(1'000'000'007);
    CHECK(t.signal(point(value)));
    CHECK(t.signaled() == point(value));
    CHECK(t.wait_for_submit(point(value), deadline::now()) == wait_status::signaled);
    CHECK(t.wait(point(value - 1), deadline::now()) == wait_status::signaled);
  }
}

TEST_CASE("ST29 wait-delayed-signal", "[threads]") {
  const timeline t = *timeline::create();
  const fence_ptr work = make_fence();
  CHECK(t.submit(point(1), work).has_value());
  std::thread signaler([&] {
    std::this_thread::sleep_for(10ms);
    work->signal();
  });
  CHECK(t.wait(point(1), long_enough()) == wait_status::signaled);
  signaler.join();
}

TEST_CASE("ST30 wait-for-submit-delayed-submit", "[threads]") {
  const timeline t = *timeline::create();
  std::thread submitter([&] {
    std::this_thread::sleep_for(10ms);
    static_cast<void>(t.submit(point(1), stub_fence()));
  });
  CHECK(t.wait_for_submit(point(1), long_enough()) == wait_status::signaled);
  submitter.join();
}

TEST_CASE("ST31 wait-all-delayed-signal", "[threads]") {
  const timeline t = *timeline::create();
  const fence_ptr work = make_fence();
  CHECK(t.submit(point(1), work).has_value());
  const fence_ptr all[] = {*t.fence_at(point(1)), stub_fence()};
  std::thread signaler([&] {
    std::this_thread::sleep_for(10ms);
    work->signal();
  });
  CHECK(wait_all(all, long_enough()) == wait_status::signaled);
  signaler.join();
}

TEST_CASE("ST32 wait-all-for-submit-delayed-submit", "[threads]") {
  const timeline t = *timeline::create();
  const fence_ptr all[] = {*bounded(*t.at(point(1)), long_enough()), stub_fence()};
  std::thread submitter([&] {
    std::this_thread::sleep_for(10ms);
    static_cast<void>(t.submit(point(1), stub_fence()));
  });
  CHECK(wait_all(all, long_enough()) == wait_status::signaled);
  submitter.join();
}

// One point. A: all; F: also one that is not submitted yet; V: only that it is submitted, which includes F.
TEST_CASE("TS-0-U") { CHECK(any_of(submitted_points, "U", 1) == refused); }
TEST_CASE("TS-A-U") { CHECK(all_of(submitted_points, "U", 1) == refused); }
TEST_CASE("TS-0-S") { CHECK(any_of(submitted_points, "S", 1) == late); }
TEST_CASE("TS-A-S") { CHECK(all_of(submitted_points, "S", 1) == late); }
TEST_CASE("TS-F-S") { CHECK(any_of(for_submit, "S", 1) == late); }
TEST_CASE("TS-AF-S") { CHECK(all_of(for_submit, "S", 1) == late); }
TEST_CASE("TS-0-G") { CHECK(any_of(submitted_points, "G", 1) == done(0)); }
TEST_CASE("TS-A-G") { CHECK(all_of(submitted_points, "G", 1) == done(0)); }
TEST_CASE("TS-F-G") { CHECK(any_of(for_submit, "G", 1) == done(0)); }
TEST_CASE("TS-AF-G") { CHECK(all_of(for_submit, "G", 1) == done(0)); }
TEST_CASE("TS-V-G") { CHECK(any_of(available, "G", 1) == done(0)); }
TEST_CASE("TS-AV-G") { CHECK(all_of(available, "G", 1) == done(0)); }
TEST_CASE("TS-FV-G") { CHECK(any_of(available, "G", 1) == done(0)); }
TEST_CASE("TS-AFV-G") { CHECK(all_of(available, "G", 1) == done(0)); }

// Five points of as many timelines. In the kernel half of these are binary.
TEST_CASE("TM-ANY-0-U") { CHECK(any_of(submitted_points, "U") == refused); }
TEST_CASE("TM-ANY-0-S") { CHECK(any_of(submitted_points, "S") == late); }
TEST_CASE("TM-ANY-0-US") { CHECK(any_of(submitted_points, "US") == refused); }
TEST_CASE("TM-ANY-0-G") { CHECK(any_of(submitted_points, "G") == done(0)); }
TEST_CASE("TM-ANY-0-SG") { CHECK(any_of(submitted_points, "SG") == done(1)); }
TEST_CASE("TM-ALL-0-U") { CHECK(all_of(submitted_points, "U") == refused); }
TEST_CASE("TM-ALL-0-S") { CHECK(all_of(submitted_points, "S") == late); }
TEST_CASE("TM-ALL-0-US") { CHECK(all_of(submitted_points, "US") == refused); }
TEST_CASE("TM-ALL-0-G") { CHECK(all_of(submitted_points, "G") == done(0)); }
TEST_CASE("TM-ALL-0-UG") { CHECK(all_of(submitted_points, "UG") == refused); }
TEST_CASE("TM-ANY-F-U") { CHECK(any_of(for_submit, "U") == late); }
TEST_CASE("TM-ANY-F-S") { CHECK(any_of(for_submit, "S") == late); }
TEST_CASE("TM-ANY-F-US") { CHECK(any_of(for_submit, "US") == late); }
TEST_CASE("TM-ANY-F-G") { CHECK(any_of(for_submit, "G") == done(0)); }
TEST_CASE("TM-ANY-F-SG") { CHECK(any_of(for_submit, "SG") == done(1)); }
TEST_CASE("TM-ANY-F-USG") { CHECK(any_of(for_submit, "USG") == done(2)); }
TEST_CASE("TM-ALL-F-U") { CHECK(all_of(for_submit, "U") == late); }
TEST_CASE("TM-ALL-F-S") { CHECK(all_of(for_submit, "S") == late); }
TEST_CASE("TM-ALL-F-US") { CHECK(all_of(for_submit, "US") == late); }
TEST_CASE("TM-ALL-F-G") { CHECK(all_of(for_submit, "G") == done(0)); }
TEST_CASE("TM-ALL-F-SG") { CHECK(all_of(for_submit, "SG") == late); }
TEST_CASE("TM-ANY-V-U") { CHECK(any_of(available, "U") == late); }
TEST_CASE("TM-ANY-V-G") { CHECK(any_of(available, "G") == done(0)); }
TEST_CASE("TM-ANY-V-SG") { CHECK(any_of(available, "SG") == done(0)); }
TEST_CASE("TM-ALL-V-U") { CHECK(all_of(available, "U") == late); }
TEST_CASE("TM-ALL-V-S") { CHECK(all_of(available, "S") == done(0)); }
TEST_CASE("TM-ALL-V-G") { CHECK(all_of(available, "G") == done(0)); }
TEST_CASE("TM-ANY-FV-U") { CHECK(any_of(available, "U") == late); }
TEST_CASE("TM-ANY-FV-S") { CHECK(any_of(available, "S") == done(0)); }
TEST_CASE("TM-ANY-FV-G") { CHECK(any_of(available, "G") == done(0)); }
TEST_CASE("TM-ANY-FV-SG") { CHECK(any_of(available, "SG") == done(0)); }
TEST_CASE("TM-ALL-FV-U") { CHECK(all_of(available, "U") == late); }
TEST_CASE("TM-ALL-FV-G") { CHECK(all_of(available, "G") == done(0)); }

TEST_CASE("SE5 binary-wait") {
  // A binary syncobj is a fence; one that exists is submitted.
  const unique_fd event = make_event();
  const fence_ptr f = make_fence();
  eventfd_callback node(event);
  CHECK(f->add_callback(node) == add_outcome::added);
  CHECK(take(event) == 0);
  f->signal();
  CHECK(take(event) == 1);
}

TEST_CASE("SE6 timeline-wait") {
  const timeline t = *timeline::create();
  const unique_fd plain = make_event();
  const unique_fd available = make_event();
  const fence_ptr work = make_fence();
  CHECK(t.submit(point(1), work).has_value());
  CHECK(t.notify(plain, point(1)).has_value());
  CHECK(t.notify(available, point(1), point_stage::submitted).has_value());
  CHECK(take(plain) == 0);
  CHECK(take(available) == 1);
  work->signal();
  CHECK(take(plain) == 1);
  CHECK(take(available) == 0);
}

TEST_CASE("SE9 binary-wait-signaled") {
  // The kernel writes the eventfd; here the caller is told instead, as for every callback.
  const unique_fd event = make_event();
  const fence_ptr f = make_fence();
  f->signal();
  eventfd_callback node(event);
  CHECK(f->add_callback(node) == add_outcome::already_signaled);
  CHECK(take(event) == 0);
}

TEST_CASE("SE10 timeline-wait-signaled") {
  const timeline t = *timeline::create();
  const unique_fd plain = make_event();
  const unique_fd available = make_event();
  CHECK(t.signal(point(1)));
  CHECK(t.notify(plain, point(1)).has_value());
  CHECK(t.notify(available, point(1), point_stage::submitted).has_value());
  CHECK(take(plain) == 1);
  CHECK(take(available) == 1);
}

TEST_CASE("SE16 the eventfd is closed before the completion") {
  const timeline t = *timeline::create();
  unique_fd event = make_event();
  CHECK(t.notify(event, point(1)).has_value());
  event.reset();
  CHECK(t.signal(point(1)));
}

TEST_CASE("VK7 max_difference_value") {
  for (const std::uint64_t begin : {UINT64_C(0), UINT64_C(1), UINT64_C(0xffff'ffff)}) {
    for (const std::uint64_t jump : {UINT64_C(0x7fff'ffff), UINT64_C(1) << 32U, UINT64_C(0x7fff'ffff'ffff'ffff)}) {
      const timeline t = *timeline::create(point(begin));
      const user_fence before = *t.at(point(begin + jump));
      const user_fence after = *t.at(point(begin + jump + 1));
      CHECK(t.signal(point(begin + jump)));
      CHECK(t.wait(point(begin + jump), deadline::now()) == wait_status::signaled);
      CHECK(before.is_signaled());
      CHECK_FALSE(after.is_signaled());
      CHECK(t.wait(point(begin + jump + 1), deadline::now()).error() == errc::not_submitted);
    }
  }
}

TEST_CASE("VK8 a lesser value") {
  const timeline t = *timeline::create(point(10));
  for (const std::uint64_t value : {9U, 10U}) {
    const fence_ptr fences[] = {*t.fence_at(point(value)), *bounded(*t.at(point(value)), long_enough())};
    CHECK(wait_all(fences, deadline::now()) == wait_status::signaled);
    CHECK(wait_any(fences, deadline::now())->index == 0);
  }
}

TEST_CASE("VK9 wait_before_signal", "[threads]") {
  const timeline t = *timeline::create();
  result<wait_status> ended = wait_status::timed_out;
  std::thread waiter([&] { ended = t.wait_for_submit(point(5), long_enough(), futex_wait{}); });
  std::this_thread::sleep_for(10ms);
  CHECK(t.signal(point(5)));
  waiter.join();
  CHECK(ended == wait_status::signaled);
}

TEST_CASE("X17 three registrations on one eventfd lose no count", "[threads]") {
  const timeline t = *timeline::create();
  const unique_fd event = make_event();
  constexpr std::uint64_t rounds = 1000;
  std::thread signaler([&] {
    for (std::uint64_t i = 1; i <= rounds; ++i) {
      t.signal(point(i));
    }
  });
  std::uint64_t counted = 0;
  for (std::uint64_t i = 1; i <= rounds; ++i) {
    for (int registration = 0; registration < 3; ++registration) {
      if (!t.notify(event, point(i))) {
        --counted;
      }
    }
    if (i % 16 == 0) {
      counted += take(event);
    }
  }
  signaler.join();
  counted += take(event);
  CHECK(counted == 3 * rounds);
}
