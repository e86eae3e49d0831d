// SPDX-License-Identifier: BSL-1.0
// Each rule, broken once: what is found names the place where it happened and the one that it conflicts with.
#include <paddock/base/checking.hpp>

#include <sys/eventfd.h>

#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <thread>

#include <paddock/buffer/attachment.hpp>
#include <paddock/fence/await.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/merge.hpp>
#include <paddock/fence/stub.hpp>
#include <paddock/fence/timeline.hpp>
#include <paddock/fence/tracked.hpp>
#include <paddock/fence/user_fence.hpp>
#include <paddock/fence/wait.hpp>
#include <paddock/resv/lock_set.hpp>
#include <paddock/resv/reservation.hpp>

#include "buffers.hpp"
#include "fences.hpp"
#include "reservations.hpp"
#include "violations.hpp"

using namespace paddock;
using namespace paddock::test;

static_assert(is_checked);

TEST_CASE("a wait on the way to signal a fence") {
  const violations found;
  const fence_ptr f = make_fence();
  f->signal();
  const signaling_section signaling;
  const unsigned section = __LINE__ - 1;
  // Also one that would not have had to wait, this time.
  CHECK(wait(*f, long_enough()) == wait_status::signaled);
  found.check_one(rule::wait_while_signaling, __LINE__ - 1, section);
  // Who only looks does not wait.
  CHECK(wait(*f, deadline::now()) == wait_status::signaled);
  CHECK(found.take().empty());
}

TEST_CASE("a wait inside a callback") {
  const violations found;
  const fence_ptr f = make_fence();
  const fence_ptr other = make_fence();
  other->signal();
  struct waiting : fence_callback {
    explicit waiting(fence& o) : fence_callback(&run), other(o) {}
    static void run(fence_callback& node, const fence_outcome&) noexcept {
      static_cast<void>(wait(static_cast<waiting&>(node).other, deadline::never()));
    }
    fence& other;
  } callback(*other);
  const unsigned inside = __LINE__ - 4;
  f->add_callback(callback);
  f->signal();
  found.check_one(rule::wait_while_signaling, inside, __LINE__ - 1);
}

TEST_CASE("an allocation on the way to signal a fence") {
  const violations found;
  fence_context queue("queue", std::chrono::seconds(1));
  reservation r;
  const auto lock = r.lock();
  const signaling_section signaling;
  const unsigned section = __LINE__ - 1;
  might_alloc();
  found.check_one(rule::allocate_while_signaling, __LINE__ - 1, section);
  const auto made = queue.create();
  found.check_one(rule::allocate_while_signaling, __LINE__ - 1, section);
  CHECK(r.reserve(*lock, 1));
  found.check_one(rule::allocate_while_signaling, __LINE__ - 1, section);
  // What was reserved is there: adding is what signaling paths may do.
  CHECK(r.add(*lock, *made, usage::read));
  CHECK(found.take().empty());
  (*made)->signal();
}

TEST_CASE("every call of the fences that allocates says so") {
  const violations found;
  const fence_ptr f = make_fence();
  const timeline t = *timeline::create();
  const timeline other = *timeline::create();
  tracked_context queue("queue", std::chrono::seconds(1));
  const user_fence given = *user_fence::create("given");
  const unique_fd event = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC));
  REQUIRE(t.submit(timeline_point(1), f));
  REQUIRE(found.take().empty());
  const signaling_section signaling;
  const unsigned section = __LINE__ - 1;
  const auto says = [&](bool worked, unsigned line) {
    CHECK(worked);
    found.check_one(rule::allocate_while_signaling, line, section);
  };
  says(stub_fence(fence_outcome{}).has_value(), __LINE__);
  says(stub_fence(monotonic_clock::time_point(std::chrono::seconds(1))).has_value(), __LINE__);
  says(timeline::create().has_value(), __LINE__);
  says(t.submit(timeline_point(2), f).has_value(), __LINE__);
  says(t.at(timeline_point(3)).has_value(), __LINE__);
  says(t.notify(event, timeline_point(3)).has_value(), __LINE__);
  says(user_fence::create("another").has_value(), __LINE__);
  says(bounded(given, long_enough()).has_value(), __LINE__);
  says(then(*f, [](const fence_outcome&) noexcept {}).has_value(), __LINE__);
  // These two allocate in two places each, and say so of both.
  CHECK(queue.create());
  CHECK(found.take().size() == 2);
  CHECK(other.transfer(timeline_point(1), t, timeline_point(1)));
  CHECK(found.take().size() == 2);
  f->signal();
  CHECK(found.take().empty());
}

TEST_CASE("a reservation locked on the way to signal a fence") {
  const violations found;
  reservation r;
  const signaling_section signaling;
  const unsigned section = __LINE__ - 1;
  CHECK(r.lock());
  found.check_one(rule::lock_while_signaling, __LINE__ - 1, section);
  // It does not wait.
  CHECK(r.try_lock());
  CHECK(found.take().empty());
}

TEST_CASE("a lock of the program's own, under which somebody waits, on the way to signal a fence") {
  const violations found;
  const fence_ptr f = make_fence();
  f->signal();
  const int ring = 0;
  unsigned waited = 0;
  {
    const checked_lock_section under("ring", &ring);
    CHECK(wait(*f, long_enough()) == wait_status::signaled);
    waited = __LINE__ - 1;
    CHECK(found.take().empty());
  }
  const signaling_section signaling;
  const checked_lock_section under("ring", &ring);
  found.check_one(rule::lock_while_signaling, __LINE__ - 1, waited);
}

TEST_CASE("the same, learned in the other order") {
  const violations found;
  const fence_ptr f = make_fence();
  f->signal();
  const int ring = 0;
  unsigned taken = 0;
  {
    const signaling_section signaling;
    const checked_lock_section under("other ring", &ring);
    taken = __LINE__ - 1;
    CHECK(found.take().empty());
  }
  const checked_lock_section under("other ring", &ring);
  CHECK(wait(*f, long_enough()) == wait_status::signaled);
  found.check_one(rule::lock_order, __LINE__ - 1, taken);
}

TEST_CASE("two locks in both orders") {
  const violations found;
  const int a = 0;
  const int b = 0;
  unsigned second = 0;
  {
    const checked_lock_section first_lock("first kind", &a);
    const checked_lock_section second_lock("second kind", &b);
    second = __LINE__ - 1;
  }
  const checked_lock_section second_lock("second kind", &b);
  const checked_lock_section first_lock("first kind", &a);
  found.check_one(rule::lock_order, __LINE__ - 1, second);
}

TEST_CASE("a second reservation without a context for both") {
  const violations found;
  reservation first;
  reservation second;
  {
    const auto one = first.lock();
    const unsigned locked = __LINE__ - 1;
    CHECK(second.lock());
    found.check_one(rule::lock_order, __LINE__ - 1, locked);
    acquire_context context;
    CHECK(second.lock(context));
    found.check_one(rule::lock_order, __LINE__ - 1, locked);
  }
  lock_set both;
  CHECK(both.lock_all(std::array{&first, &second}, 1));
  both.unlock_all();
  lock_set twice(duplicates::ignored);
  CHECK(twice.lock_all(std::array{&first, &second, &first}, 1));
  CHECK(found.take().empty());
}

TEST_CASE("a lock that the thread has") {
  const violations found;
  reservation r;
  const auto held = r.lock();
  const unsigned locked = __LINE__ - 1;
  CHECK(r.lock().error() == errc::deadlock);
  found.check_one(rule::self_deadlock, __LINE__ - 1, locked);
}

TEST_CASE("a proof that was handed on is not the thread's any more") {
  const violations found;
  reservation r;
  reservation other;
  auto held = r.lock();
  std::thread([taken = std::move(*held)]() mutable { taken.unlock(); }).join();
  CHECK(other.lock());
  CHECK(r.lock());
  CHECK(found.take().empty());
}

TEST_CASE("an attempt that was refused ends nothing, and a lock that was handed on is followed") {
  const violations found;
  reservation r;
  auto locks = std::make_unique<lock_set>(duplicates::ignored);
  REQUIRE(locks->lock_all(std::array{&r, &r}));
  std::thread([&] { locks.reset(); }).join();  // Left by another thread.
  CHECK(r.lock());

  // Somebody waits while it is handed on.
  auto held = r.lock();
  std::thread waiting([&] { CHECK(r.lock()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::thread([taken = std::move(*held)]() mutable { taken.unlock(); }).join();
  waiting.join();
  CHECK(r.lock());
  CHECK(found.take().empty());
}

TEST_CASE("a name that paddock uses itself is another kind of lock") {
  const violations found;
  const int lock = 0;
  const signaling_section signaling;
  const checked_lock_section mine("a fence", &lock);
  CHECK(found.take().empty());
}

TEST_CASE("inside a memory monitor") {
  const violations found;
  const fence_ptr f = make_fence();
  f->signal();
  reservation r;
  const monitor_section monitor;
  const unsigned section = __LINE__ - 1;
  // What it is for.
  CHECK(wait(*f, long_enough()) == wait_status::signaled);
  CHECK(found.take().empty());
  might_alloc();
  found.check_one(rule::inside_monitor, __LINE__ - 1, section);
  CHECK(r.lock());
  found.check_one(rule::inside_monitor, __LINE__ - 1, section);
}

namespace {

/// One section too few or too many, which was entered there, and ends in this program's code.
void check_code_place(const violations& found, unsigned entered) {
  const auto all = found.take();
  REQUIRE(all.size() == 1);
  CHECK(all[0].broken == rule::unbalanced_section);
  CHECK(std::string(all[0].first.file).find("checked_rules") != std::string::npos);
  CHECK_FALSE(std::string(all[0].first.function).empty());
  CHECK(all[0].second.line == entered);
}

}  // namespace

TEST_CASE("a section that is never left, or by another thread, or in another order") {
  const violations found;
  std::optional<signaling_section> section;
  unsigned entered = 0;
  std::thread([&] {
    section.emplace(place::here());
    entered = __LINE__ - 1;
  }).join();
  auto all = found.take();
  REQUIRE(all.size() == 1);
  CHECK(all[0].broken == rule::unbalanced_section);
  CHECK(all[0].first.function == std::string("the end of the thread"));
  CHECK(all[0].second.line == entered);
  section.reset();
  check_code_place(found, entered);

  section.emplace(place::here());
  const unsigned outer = __LINE__ - 1;
  std::optional<signaling_section> inner;
  inner.emplace(place::here());
  section.reset();
  found.check_one(rule::unbalanced_section, outer, __LINE__ - 2);
}

TEST_CASE("a section that is left before another one, with a lock on top") {
  const violations found;
  std::optional<signaling_section> outer;
  outer.emplace(place::here());
  const unsigned outer_line = __LINE__ - 1;
  std::optional<signaling_section> inner;
  inner.emplace(place::here());
  const unsigned inner_line = __LINE__ - 1;
  const int lock = 0;
  const checked_lock_section on_top("on top", &lock);
  outer.reset();
  found.check_one(rule::unbalanced_section, outer_line, inner_line);
  inner.reset();
  CHECK(found.take().empty());
}

TEST_CASE("a reservation that goes while it is locked, and a context that goes while it holds one") {
  const violations found;
  alignas(reservation) std::array<std::byte, sizeof(reservation)> room{};
  {
    auto* const r = new (room.data()) reservation;
    auto proof = *r->lock();
    const unsigned locked = __LINE__ - 1;
    r->~reservation();
    check_code_place(found, locked);
    // What comes to its address is not taken for it.
    auto* const next = new (room.data()) reservation;
    CHECK(next->lock());
    CHECK(found.take().empty());
    // Never destroyed: it would unlock what is not there any more.
    alignas(resv_lock) std::array<std::byte, sizeof(resv_lock)> grave{};
    new (grave.data()) resv_lock(std::move(proof));
    next->~reservation();
  }
  reservation r;
  resv_lock kept;
  {
    std::optional<acquire_context> context(std::in_place);
    kept = *r.lock(*context);
    const unsigned locked = __LINE__ - 1;
    context.reset();
    check_code_place(found, locked);
    context.emplace();  // For its end: the proof knows it by its address.
    kept.unlock();
  }
  CHECK(found.take().empty());
}

TEST_CASE("a context that goes while it holds a reservation that another thread locked by it") {
  const violations found;
  reservation r;
  resv_lock kept;
  std::optional<acquire_context> context(std::in_place);
  unsigned locked = 0;
  std::thread([&] {
    kept = *r.lock(*context);
    locked = __LINE__ - 1;
  }).join();
  context.reset();
  check_code_place(found, locked);
  context.emplace();  // As above.
  kept.unlock();
}

TEST_CASE("one mistake is told once") {
  const violations found;
  reservation r;
  reservation busy;
  const fence_ptr job = make_fence();
  const auto jobs = make_fences(3);
  add(r, job, usage::write);
  for (const fence_ptr& each : jobs) {
    add(busy, each, usage::write);
  }
  const reservation idle;
  {
    const signaling_section section;
    const unsigned entered = __LINE__ - 1;
    CHECK(r.wait(usage::write, shortly()) == wait_status::timed_out);
    found.check_one(rule::wait_while_signaling, __LINE__ - 1, entered);
    CHECK(idle.wait(usage::write, long_enough()) == wait_status::signaled);
    found.check_one(rule::wait_while_signaling, __LINE__ - 1, entered);
    CHECK(r.dependencies(access::write));
    found.check_one(rule::allocate_while_signaling, __LINE__ - 1, entered);
    std::jthread late([&] {
      for (const fence_ptr& each : jobs) {
        each->signal();
      }
    });
    CHECK(busy.wait(usage::write, long_enough()) == wait_status::signaled);
    found.check_one(rule::wait_while_signaling, __LINE__ - 1, entered);
    const auto held = r.try_lock();
    lock_set locks(duplicates::refused, deadline::now());
    CHECK_FALSE(locks.lock_all([&] { return locks.lock(r); }));
    CHECK(found.take().size() == 1 + 1);  // A lock there, and that the thread has it.
  }
  job->signal();
}

TEST_CASE("a fence that is dropped while somebody is interested") {
  const violations found;
  fence_context queue("queue", std::chrono::seconds(1));
  auto made = queue.create();
  const unsigned created = __LINE__ - 1;
  counting_callback interested;
  (*made)->add_callback(interested);
  made->reset();
  CHECK(interested.seen.sys_errno == EDEADLK);
  const auto all = found.take();
  REQUIRE(all.size() == 1);
  CHECK(all[0].broken == rule::abandoned_fence);
  CHECK(all[0].second.line == created);
  CHECK(std::string(all[0].first.file).find("checked_rules") != std::string::npos);
  CHECK(all[0].text.find("queue") != std::string::npos);
  // Nobody was: nothing is lost.
  made = queue.create();
  made->reset();
  CHECK(found.take().empty());
}

TEST_CASE("an attachment that goes while it is pinned or mapped") {
  const violations found;
  using buffer_type = dma_buf<memory_exporter>;
  const auto buffer = *buffer_type::create(memory_exporter(1));
  archetype_device dev;
  attachment<buffer_type, archetype_device, movable> at;
  {
    REQUIRE(at.attach(buffer, dev));
    const auto held = buffer->lock();
    const auto pinned = at.pin(*held);
    const unsigned pinned_at = __LINE__ - 1;
    REQUIRE(pinned);
    CHECK(at.detach(*held));
    found.check_one(rule::unbalanced_use, __LINE__ - 1, pinned_at);
  }
  unsigned mapped_at = 0;
  const auto before = set_lost_error_handler([](const error&) noexcept {});
  {
    mapping<archetype_device> m;
    attachment<buffer_type, archetype_device> gone;
    REQUIRE(gone.attach(buffer, dev));
    m = *gone.map(direction::to_device);
    mapped_at = __LINE__ - 1;
  }
  set_lost_error_handler(before);
  const auto all = found.take();
  REQUIRE(all.size() == 1);
  CHECK(all[0].broken == rule::unbalanced_use);
  CHECK(all[0].second.line == mapped_at);
}
