// SPDX-License-Identifier: BSL-1.0
#include <paddock/buffer/dma_buf.hpp>

#include <array>
#include <string>
#include <utility>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/describe.hpp>
#include <paddock/resv/lock_set.hpp>

#include "buffers.hpp"
#include "catch.hpp"
#include "fences.hpp"
#include "policies.hpp"

namespace paddock {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the tests are about these.
PADDOCK_TEST_POLICIES

/// Has no storage to give.
struct failing_exporter : archetype_exporter {
  [[nodiscard]] result<storage_ptr> initial_storage() noexcept { return fail(errc::limit_reached, "test"); }
};
/// Is somebody in the kernel.
struct identified_exporter_of_test : archetype_exporter {
  buffer_id known;
  [[nodiscard]] buffer_id id() const noexcept { return known; }
};
static_assert(identified_exporter<identified_exporter_of_test>);

TEST_CASE("dma_buf: without storage there is no buffer") {
  CHECK(code_of(dma_buf<failing_exporter>::create({})) == errc::limit_reached);
  CHECK(code_of(dma_buf<memory_exporter>::create(memory_exporter(0))) == errc::invalid_argument);
  CHECK(code_of(dma_buf<memory_exporter>::create(memory_exporter(UINT64_MAX))) == errc::out_of_range);
}

TEST_CASE("dma_buf: memory comes in whole pages, cleared") {
  const auto buffer = make_buffer(memory_exporter(1));
  CHECK(buffer->size() % 4096 == 0);
  const auto opened = cpu_access<access::read>::begin(*buffer);
  REQUIRE(opened);
  CHECK(opened->bytes().size() == buffer->size());
  for (const std::byte each : opened->bytes()) {
    REQUIRE(each == std::byte{0});
  }
}

TEST_CASE("dma_buf: buffers of one reservation are locked together, and wait for each other's jobs") {
  reservation common;
  const auto first = *dma_buf<archetype_exporter>::create({}, {.reservation = &common});
  const auto second = *dma_buf<archetype_exporter>::create({}, {.reservation = &common});
  CHECK(&first->reservation() == &second->reservation());
  const auto held = first->lock();
  const fence_ptr job = make_fence();
  REQUIRE(common.reserve(*held, 1));
  REQUIRE(first->commit(*held, job, access::write));
  CHECK(*first->dependencies(*held, access::read) == job);
  CHECK(code_of(second->dependencies(resv_lock(), access::read)) == errc::wrong_lock);
  test_device dev;
  attachment<dma_buf<archetype_exporter>, test_device, movable> at;
  CHECK(code_of(at.attach(second, dev, direction::to_device, deadline::now())) == errc::deadlock);
  CHECK(!(*second->dependencies(access::read))->is_signaled());
  job->signal();
  CHECK((*second->dependencies(access::read))->is_signaled());
}

TEST_CASE("dma_buf: what is one buffer in the kernel has one reservation here") {
  identified_exporter_of_test a;
  a.known = {77, 1};
  identified_exporter_of_test b;
  b.known = {77, 2};
  const auto first = make_buffer(a);
  const auto again = make_buffer(a);
  const auto other = make_buffer(b);
  CHECK(&first->reservation() == &again->reservation());
  CHECK(&first->reservation() != &other->reservation());
}

TEST_CASE("dma_buf: a lock_set knows a buffer's proof") {
  const auto a = make_buffer(archetype_exporter());
  const auto b = make_buffer(archetype_exporter());
  lock_set locks;
  REQUIRE(locks.lock_all([&]() noexcept -> result<void> {
    PADDOCK_TRY_VOID(locks.lock(a->reservation(), 1));
    return locks.lock(b->reservation(), 1);
  }));
  CHECK(a->commit(locks.held(*a), make_fence(), access::read));
  CHECK(code_of(a->commit(locks.held(*b), make_fence(), access::read)) == errc::wrong_lock);
  locks.unlock_all();
  const std::array both{a, b};
  REQUIRE(locks.lock_all(both, 1));
  CHECK(locks.size() == 2);
  CHECK(b->commit(locks.held(*b), make_fence(), access::read));
}

TEST_CASE("dma_buf: what a job waits for is what implicit sync says") {
  const auto buffer = make_buffer(archetype_exporter());
  const auto held = buffer->lock();
  const auto add = [&](usage as) {
    fence_ptr job = make_fence();
    REQUIRE(buffer->reservation().reserve(*held, 1));
    REQUIRE(buffer->reservation().add(*held, job, as));
    return job;
  };
  const fence_ptr unseen = add(usage::bookkeep);
  CHECK((*buffer->dependencies(access::write))->is_signaled());
  const fence_ptr reader = add(usage::read);
  CHECK((*buffer->dependencies(access::read))->is_signaled());
  CHECK(!(*buffer->dependencies(access::write))->is_signaled());
  const fence_ptr writer = add(usage::write);
  CHECK(!(*buffer->dependencies(access::read))->is_signaled());
  for (const fence_ptr& each : {unseen, reader, writer}) {
    each->signal();
  }
}

TEST_CASE("dma_buf: a buffer says what it is and what happened to it") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  CHECK(buffer->name().empty());
  test_device dev;
  attachment<dma_buf<placing_test_exporter>, test_device, movable> at;
  REQUIRE(at.attach(buffer, dev));
  const auto held = buffer->lock();
  REQUIRE(at.pin(*held));
  const std::string before = *describe(*buffer, *held);
  CHECK(before.find("4096 bytes, live\n  device_memory of 4096 bytes\n"
                    "  1 attached, 1 pinned\n    a device, movable, bidirectional, pinned\n  reservation locked") == 0);
  REQUIRE(at.unpin(*held));
  REQUIRE(buffer->move(*held, 1, long_enough()));
  const std::string after = *describe(*buffer, *held);
  CHECK(after.find("\n  memory of 4096 bytes\n  1 attached, 0 pinned\n    a device, movable, bidirectional\n"
                   "  moved: 1\n") != std::string::npos);
  const resv_lock none;
  CHECK(code_of(describe(*buffer, none)) == errc::wrong_lock);
  CHECK(at.detach(*held));
}

TEST_CASE("dma_buf: a buffer says its name, its exporter's, and those of the devices that are attached") {
  struct called_exporter : revoking_test_exporter {
    [[nodiscard]] std::string name() const { return "vram"; }
  };
  struct called_device : test_device {
    [[nodiscard]] static const char* name() noexcept { return "engine 0"; }
  };
  using buffer = dma_buf<called_exporter>;
  const auto frame = *buffer::create(called_exporter(), {.name = "frame"});
  CHECK(frame->name() == "frame");
  called_device near;
  called_device far;
  far.reaches_bars = false;
  attachment<buffer, called_device, revocable> first;
  attachment<buffer, called_device, movable> last;
  REQUIRE(first.attach(frame, near, direction::from_device));
  REQUIRE(last.attach(frame, far));
  {
    const auto held = frame->lock();
    const auto armed = last.arm(*held, [](auto&, const resv_lock&) noexcept { return jobs::wait(); });
    REQUIRE(armed);
    auto copied = (*armed)->map(*held, direction::bidirectional);
    REQUIRE(copied);
    const std::string text = *describe(*frame, *held);
    INFO(text);
    CHECK(text.find("frame: 4096 bytes, live, vram\n  device_memory") == 0);
    CHECK(text.find("\n  2 attached, 0 pinned\n    engine 0, revocable, from_device\n"
                    "    engine 0, movable, bidirectional, with a copy\n  bounced: 1\n") != std::string::npos);
    CHECK((*armed)->unmap(*held, std::move(*copied)));
  }
}

}  // namespace
}  // namespace paddock
