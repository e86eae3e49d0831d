// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/array.hpp>

#include <barrier>
#include <thread>
#include <vector>

#include <paddock/fence/wait.hpp>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

namespace {

fence_ptr array_of(const std::vector<fence_ptr>& members, array_mode mode = array_mode::all) {
  return std::move(*fence_array::create(members, mode));
}

}  // namespace

TEST_CASE("an array of all completes with its last member") {
  for (const std::size_t size : {1U, 2U, 7U}) {
    const auto members = make_fences(size);
    const fence_ptr array = array_of(members);
    counting_callback node;
    CHECK(array->add_callback(node) == add_outcome::added);
    for (std::size_t i = 0; i < size; ++i) {
      CHECK(node.runs == 0);
      CHECK_FALSE(array->is_signaled());
      members[(i + 3) % size]->signal();
    }
    CHECK(node.runs == 1);
    CHECK(array->status() == wait_status::signaled);
    CHECK(array->timestamp() == members[2 % size]->timestamp());
  }
}

TEST_CASE("an array of any completes with its first member, and with its error and time") {
  for (const int why : {0, ENODEV}) {
    const auto members = make_fences(3);
    const fence_ptr array = array_of(members, array_mode::any);
    counting_callback node;
    array->add_callback(node);
    CHECK_FALSE(array->is_signaled());
    why == 0 ? members[1]->signal() : members[1]->fail(why);
    CHECK(node.runs == 1);
    CHECK(array->sys_errno() == why);
    CHECK(array->timestamp() == members[1]->timestamp());
    members[0]->fail(EIO);
    members[2]->signal();
    CHECK(node.runs == 1);
    CHECK(array->sys_errno() == why);
  }
}

TEST_CASE("an array of all fails with the first error that came, when all are complete") {
  const auto members = make_fences(4);
  const fence_ptr array = array_of(members);
  array->enable_signaling();
  members[3]->signal();
  members[2]->fail(ENODEV);
  members[0]->fail(EIO);
  CHECK_FALSE(array->is_signaled());
  members[1]->signal();
  CHECK(array->sys_errno() == ENODEV);
}

TEST_CASE("an array has a member, and none that is empty or a container") {
  CHECK(fence_array::create({}).error() == errc::invalid_argument);
  const std::vector<fence_ptr> with_empty{make_fence(), fence_ptr()};
  CHECK(fence_array::create(with_empty).error() == errc::invalid_argument);
  const std::vector<fence_ptr> with_array{make_fence(), array_of(make_fences(1))};
  CHECK(fence_array::create(with_array).error() == errc::invalid_argument);
}

TEST_CASE("an array tells its members, and whether they are of one context") {
  fence_context context("one", 1s);
  const std::vector<fence_ptr> members{*context.create(), *context.create()};
  const fence_ptr array = array_of(members);
  CHECK(array->is_array());
  CHECK(array->is_container());
  CHECK_FALSE(array->is_chain());
  CHECK(fence_array::from(*members[0]) == nullptr);
  const fence_array* const same = fence_array::from(*array);
  REQUIRE(same == array.get());
  CHECK(same->size() == 2);
  CHECK(&(*same)[0] == members[0].get());
  CHECK(&(*same)[1] == members[1].get());
  CHECK(same->all_of_context(context.id()));
  CHECK(array->context() != context.id());
  CHECK_FALSE(fence_array::from(*array_of({members[0], make_fence()}))->all_of_context(context.id()));
}

TEST_CASE("an array over members that are complete is told so by enable and by poll") {
  for (const array_mode mode : {array_mode::all, array_mode::any}) {
    for (const bool by_poll : {false, true}) {
      const auto members = make_fences(3);
      members[0]->signal();
      members[1]->fail(EIO);
      if (mode == array_mode::all) {
        members[2]->signal();
      }
      const fence_ptr array = array_of(members, mode);
      CHECK_FALSE(array->is_signaled());
      by_poll ? static_cast<void>(array->poll()) : array->enable_signaling();
      CHECK(array->is_signaled());
      CHECK(array->sys_errno() == (mode == array_mode::all ? EIO : 0));
    }
  }
}

TEST_CASE("polling an array asks its members' sources") {
  static constexpr fence_ops ops{.poll = [](fence& f) noexcept { return *static_cast<bool*>(f.source()); }};
  bool first_done = false;
  bool second_done = false;
  const std::vector<fence_ptr> members{make_fence(&ops, &first_done), make_fence(&ops, &second_done)};
  const fence_ptr all = array_of(members);
  const fence_ptr any = array_of(members, array_mode::any);
  CHECK_FALSE(all->poll());
  CHECK_FALSE(any->poll());
  second_done = true;
  CHECK_FALSE(all->poll());
  CHECK(any->poll());
  first_done = true;
  CHECK(all->poll());
}

TEST_CASE("interest in an array is interest in each of its members, and a wish for each") {
  struct source {
    int enabled{0};
    deadline wish{deadline::never()};
  };
  static constexpr fence_ops ops{
      .enable_signaling =
          [](fence& f) noexcept {
            ++static_cast<source*>(f.source())->enabled;
            return true;
          },
      .set_deadline = [](fence& f, deadline wish) noexcept { static_cast<source*>(f.source())->wish = wish; }};
  source first;
  source second;
  const std::vector<fence_ptr> members{make_fence(&ops, &first), make_fence(&ops, &second)};
  const fence_ptr array = array_of(members);
  const deadline wish = deadline::in(1s);
  array->set_deadline(wish);
  CHECK(first.wish == wish);
  CHECK(second.wish == wish);
  CHECK(first.enabled == 0);
  array->enable_signaling();
  array->enable_signaling();
  CHECK(first.enabled == 1);
  CHECK(second.enabled == 1);
  members[0]->signal();
  members[1]->signal();
}

TEST_CASE("a member that is found complete while callbacks are added completes an array of any") {
  static constexpr fence_ops done{.enable_signaling = [](fence&) noexcept { return false; }};
  release_count freed;
  const fence_ptr before = make_fence();
  const fence_ptr after = make_fence();
  fence_ptr array = array_of({before, freed.make(), make_fence(&done), after}, array_mode::any);
  array->enable_signaling();
  CHECK(array->status() == wait_status::signaled);
  array.reset();
  CHECK(freed.freed == 1);
}

TEST_CASE("an array that nobody was interested in gives its members back when it is dropped") {
  release_count freed;
  const fence_ptr kept = make_fence();
  fence_ptr array = array_of({freed.make(), kept, freed.make()});
  CHECK(freed.freed == 0);
  array.reset();
  CHECK(freed.freed == 2);
  CHECK_FALSE(kept->is_signaled());
}

TEST_CASE("an array of all lives until its members are complete, though nobody holds it") {
  release_count freed;
  fence_ptr first = freed.make();
  fence_ptr second = freed.make();
  fence_ptr array = array_of({first, second});
  counting_callback node;
  array->add_callback(node);
  array.reset();
  first->signal();
  CHECK(node.runs == 0);
  second->signal();
  CHECK(node.runs == 1);
  first.reset();
  second.reset();
  CHECK(freed.freed == 2);
}

TEST_CASE("an array of any takes its other callbacks back when the first member is done") {
  for (const bool dropped_first : {true, false}) {
    release_count freed;
    const fence_ptr pending = make_fence();
    const fence_ptr other = make_fence();
    fence_ptr member = freed.make();
    fence_ptr array = array_of({pending, member, other}, array_mode::any);
    array->enable_signaling();
    fence& raw = *member;
    member.reset();
    if (dropped_first) {
      array.reset();
    }
    CHECK(freed.freed == 0);
    raw.signal();
    array.reset();
    // What was the array's is gone, although two of its members are pending.
    CHECK(freed.freed == 1);
    CHECK_FALSE(pending->is_signaled());
    CHECK(pending->signal());
    CHECK(other->signal());
  }
}

TEST_CASE("a callback of an array may drop it") {
  for (const array_mode mode : {array_mode::all, array_mode::any}) {
    release_count freed;
    fence_ptr member = freed.make();
    fence_ptr array = array_of({member}, mode);
    fence& raw = *member;
    member.reset();
    calling_callback node([&]() noexcept { array.reset(); });
    array->add_callback(node);
    raw.signal();
    CHECK_FALSE(array);
    CHECK(freed.freed == 1);
  }
}

TEST_CASE("an array completes while another thread drops it, and while its members complete in two", "[threads]") {
  for (const array_mode mode : {array_mode::all, array_mode::any}) {
    constexpr int rounds = 2000;
    release_count freed;
    std::vector<fence_ptr> members(2);
    fence_ptr array;
    counting_callback node;
    bool right = true;
    std::barrier ready(3);
    const auto signaler = [&](std::size_t which) {
      for (int round = 0; round < rounds; ++round) {
        ready.arrive_and_wait();
        members[which]->signal();
        ready.arrive_and_wait();
      }
    };
    std::thread first(signaler, 0);
    std::thread second(signaler, 1);
    for (int round = 0; round < rounds; ++round) {
      members = {freed.make(), freed.make()};
      array = array_of(members, mode);
      array->add_callback(node);
      ready.arrive_and_wait();
      array.reset();
      ready.arrive_and_wait();
      members = {};
      right = right && node.runs == round + 1;
    }
    first.join();
    second.join();
    CHECK(right);
    CHECK(freed.freed == 2 * rounds);
  }
}

TEST_CASE("an array is enabled while its members complete in other threads", "[threads]") {
  for (const array_mode mode : {array_mode::all, array_mode::any}) {
    constexpr int rounds = 2000;
    constexpr std::size_t size = 16;
    release_count freed;
    std::vector<fence_ptr> members(size);
    bool right = true;
    std::barrier ready(3);
    const auto signaler = [&](std::size_t from) {
      for (int round = 0; round < rounds; ++round) {
        ready.arrive_and_wait();
        for (std::size_t i = from; i < size; i += 2) {
          members[i]->fail(ENODEV);
        }
        ready.arrive_and_wait();
      }
    };
    std::thread first(signaler, 0);
    std::thread second(signaler, 1);
    for (int round = 0; round < rounds; ++round) {
      for (fence_ptr& each : members) {
        each = freed.make();
      }
      fence_ptr array = array_of(members, mode);
      ready.arrive_and_wait();
      array->enable_signaling();
      ready.arrive_and_wait();
      right = right && array->sys_errno() == ENODEV;
    }
    first.join();
    second.join();
    members.clear();
    CHECK(right);
    CHECK(freed.freed == rounds * static_cast<int>(size));
  }
}

TEST_CASE("an array of any that is polled while its member completes takes the others back all the same") {
  // The member is complete, and an earlier callback of it asks the array before the array's own callback has run.
  release_count freed;
  const fence_ptr pending = make_fence();
  fence_ptr member = freed.make();
  fence_ptr array = array_of({pending, member}, array_mode::any);
  calling_callback earlier([&]() noexcept { CHECK(array->poll()); });
  member->add_callback(earlier);
  array->enable_signaling();
  member->signal();
  array.reset();
  member.reset();
  CHECK(freed.freed == 1);
  CHECK(pending->signal());
}
