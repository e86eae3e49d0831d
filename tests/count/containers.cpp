// SPDX-License-Identifier: BSL-1.0
// What fences made of fences cost, and timelines.
#include <string>
#include <vector>

#include <paddock/fence/array.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/timeline.hpp>
#include <paddock/fence/wait.hpp>

#include "catch.hpp"
#include "stepper.hpp"

using namespace paddock;
using namespace std::chrono_literals;
using paddock::test::cost;
using paddock::test::cost_of;
using paddock::test::counted;
using paddock::test::events;
using paddock::test::must;

namespace {

const fence_context queue("count", 1s);

std::vector<fence_ptr> make_fences(std::size_t size) {
  std::vector<fence_ptr> made;
  for (std::size_t i = 0; i < size; ++i) {
    made.push_back(*queue.create(fence_seqno(i + 1)));
  }
  return made;
}

void signal_all(const std::vector<fence_ptr>& fences) {
  for (const fence_ptr& each : fences) {
    each->signal(no_timestamp{});
  }
}

/// Locked instructions for each member more. So few that malloc finds room for the array in the thread's own cache:
/// further out it has locked instructions too.
template <class Measure>
double locked_per_member(Measure measure) {
  constexpr std::size_t few = 4;
  constexpr std::size_t many = 16;
  return static_cast<double>(measure(many).events.locked - measure(few).events.locked) /
         static_cast<double>(many - few);
}

}  // namespace

TEST_CASE("an array holds a reference to each member, in one allocation") {
  const auto create_and_drop = [](std::size_t size) {
    cost c = cost_of(("array, create and drop, of " + std::to_string(size)).c_str(), [size] {
      std::vector<fence_ptr> members = make_fences(size);
      signal_all(members);
      must(counted([](std::vector<fence_ptr>& of) { return fence_array::create(of).has_value(); }, members));
    });
    CHECK(c.events.allocations == 1);
    CHECK(c.events.frees == 1);
    CHECK(c.events.syscalls.empty());
    return c;
  };
  CHECK(locked_per_member(create_and_drop) == 2);
}

TEST_CASE("a member of an array costs three locked instructions: to add, to signal, to count") {
  struct watched {
    explicit watched(std::size_t size) : members(make_fences(size)), whole(*fence_array::create(members)) {}
    std::vector<fence_ptr> members;
    fence_ptr whole;
    fence_callback node{[](fence_callback&, const fence_outcome&) noexcept {}};
  };
  const auto watch_and_complete = [](std::size_t size) {
    cost c = cost_of(("array, watch and complete, of " + std::to_string(size)).c_str(), [size] {
      watched w(size);
      must(counted(
          [](watched& each) {
            each.whole->add_callback(each.node);
            signal_all(each.members);
            return each.whole->is_signaled();
          },
          w));
    });
    CHECK(c.events == events{.locked = c.events.locked});
    return c;
  };
  CHECK(locked_per_member(watch_and_complete) == 3);
}

TEST_CASE("a wait for several complete fences is loads alone") {
  const auto check = [](const char* name, bool (*wait_for_them)(std::vector<fence_ptr>&)) {
    const cost c = cost_of(name, [wait_for_them] {
      std::vector<fence_ptr> fences = make_fences(64);
      signal_all(fences);
      must(counted(wait_for_them, fences));
    });
    CHECK(c.events == events{});
    CHECK(c.instructions <= std::uint64_t{64} * 32);
  };
  check("wait_all of 64, complete",
        [](std::vector<fence_ptr>& of) { return wait_all(of, deadline::never()) == wait_status::signaled; });
  check("wait_any of 64, complete",
        [](std::vector<fence_ptr>& of) { return wait_any(of, deadline::never())->status == wait_status::signaled; });
}

TEST_CASE("a timeline is asked with a load, and signaled with one locked instruction") {
  const auto on_timeline = [](const char* name, bool (*operation)(timeline&)) {
    return cost_of(name, [operation] {
      timeline line = *timeline::create(timeline_point(5));
      must(counted(operation, line));
    });
  };
  const cost query = on_timeline("timeline, query", [](timeline& t) { return t.signaled() == timeline_point(5); });
  CHECK(query.events == events{});
  CHECK(query.instructions <= 6);
  CHECK(on_timeline("timeline, wait for a point that is signaled", [](timeline& t) {
          return t.wait(timeline_point(5), deadline::never()) == wait_status::signaled;
        }).events == events{});
  CHECK(on_timeline("timeline, signal", [](timeline& t) { return t.signal(timeline_point(6)); }).events ==
        events{.locked = 1});
  CHECK(on_timeline("timeline, signal too late", [](timeline& t) { return !t.signal(timeline_point(5)); }).events ==
        events{});
}
