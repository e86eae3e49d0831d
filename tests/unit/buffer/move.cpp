// SPDX-License-Identifier: BSL-1.0
// A buffer that moves loses no byte, tells who has to know, and waits for those who use it.
#include <chrono>
#include <cstddef>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/cpu_device.hpp>
#include <paddock/buffer/mmio_access.hpp>

#include "buffers.hpp"
#include "catch.hpp"
#include "fences.hpp"
#include "policies.hpp"

namespace paddock {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the tests are about these.
PADDOCK_TEST_POLICIES
using count = buffer_statistics::what;

using moving_buffer = dma_buf<placing_test_exporter>;
using mover_attachment = attachment<moving_buffer, test_device, movable>;

constexpr std::size_t behind_bar = 0;
constexpr std::size_t in_memory = 1;

/// A driver that maps, and answers what the test wants.
struct importer {
  explicit importer(const buffer_ptr<moving_buffer>& buffer) {
    REQUIRE(at.attach(buffer, dev));
    const auto held = buffer->lock();
    armed = *at.arm(*held, [this](mover_attachment&, const resv_lock& proof) noexcept {
      ++told;
      return on_invalidate ? on_invalidate(proof) : jobs::wait();
    });
  }
  [[nodiscard]] mapping<test_device> map(const resv_lock& held, direction dir = direction::bidirectional) {
    return std::move(*armed->map(held, dir));
  }

  test_device dev;
  mover_attachment at;
  mover_attachment::armed_type* armed{nullptr};
  int told{0};
  std::function<jobs(const resv_lock&)> on_invalidate;
};

/// Adds a job's fence.
fence_ptr add_job(const buffer_ptr<moving_buffer>& buffer, const resv_lock& held, usage as,
                  const fence_ptr& job = make_fence()) {
  REQUIRE(buffer->reservation().reserve(held, 1));
  REQUIRE(buffer->reservation().add(held, job, as));
  return job;
}

/// Copies when the test says so.
struct engine {
  [[nodiscard]] result<fence_ptr> copy(const storage& to, const storage& from) noexcept {
    ++copies;
    if (refuse) {
      return fail(errc::io, "test");
    }
    target = &to;
    source = &from;
    done = make_fence();
    return done;
  }
  void finish() {
    std::memcpy(target->segments().front().address, source->segments().front().address, buffer_bytes);
    done->signal();
  }
  const storage* target{nullptr};
  const storage* source{nullptr};
  fence_ptr done;
  int copies{0};
  bool refuse{false};
};
static_assert(mover<engine>);

TEST_CASE("move: the bytes are elsewhere, and the same") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  {
    auto opened = mmio_access<access::write>::begin(*buffer);
    REQUIRE(opened);
    opened->window().write64(8, 0x1122334455667788U);
  }
  const auto held = buffer->lock();
  CHECK(*buffer->where(*held) == behind_bar);
  const storage_ptr before = *buffer->storage(*held);
  REQUIRE(buffer->move(*held, in_memory, long_enough()));
  CHECK(*buffer->where(*held) == in_memory);
  CHECK(*buffer->storage(*held) != before);
  CHECK(buffer->statistics().of(count::moves) == 1);
  CHECK(buffer->statistics().of(count::migrations) == 0);
  CHECK(buffer->last_move(*held)->why == fallback::none);

  auto opened = cpu_access<access::read>::begin(*held, *buffer);
  REQUIRE(opened);
  std::uint64_t value = 0;
  std::memcpy(&value, &opened->bytes()[8], sizeof value);
  CHECK(value == 0x1122334455667788U);
}

TEST_CASE("move: to where it is already is nothing, and nobody is told") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer driver(buffer);
  const auto held = buffer->lock();
  REQUIRE(buffer->move(*held, behind_bar, long_enough()));
  CHECK(driver.told == 0);
  CHECK(log.allocations == 0);
  CHECK(buffer->statistics().of(count::moves) == 0);
}

TEST_CASE("move: mappings turn stale, keep the old storage, and are made anew with the new one") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer driver(buffer);
  auto held = buffer->lock();
  mapping<test_device> old = driver.map(*held);
  std::byte* const old_bytes = device_bytes(old);
  old_bytes[0] = std::byte{7};
  REQUIRE(buffer->move(*held, in_memory, long_enough()));
  CHECK(driver.told == 1);
  CHECK(old.status() == mapping_status::stale);
  CHECK(old_bytes[0] == std::byte{7});  // Still there: AddressSanitizer and the MMU would tell.
  CHECK(driver.dev.unmaps == 0);

  mapping<test_device> now = driver.map(*held);
  CHECK(now.status() == mapping_status::live);
  CHECK(now.iova() != old.iova());
  CHECK(device_bytes(now)[0] == std::byte{7});
  const auto unmapped_old = driver.armed->unmap(*held, std::move(old));
  CHECK(unmapped_old);
  const auto unmapped_now = driver.armed->unmap(*held, std::move(now));
  CHECK(unmapped_now);
}

TEST_CASE("move: waits for jobs of every usage, and when they do not end nothing has changed") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer driver(buffer);
  for (const usage as : {usage::kernel, usage::write, usage::read, usage::bookkeep}) {
    const auto held = buffer->lock();
    mapping<test_device> m;
    if (as != usage::kernel && as != usage::write && as != usage::read) {
      m = driver.map(*held);
    }
    const fence_ptr job = add_job(buffer, *held, as);
    const storage_ptr before = *buffer->storage(*held);
    CHECK(code_of(buffer->move(*held, in_memory, deadline::now())) == errc::timed_out);
    CHECK(*buffer->storage(*held) == before);
    CHECK(*buffer->where(*held) == behind_bar);
    if (m.valid()) {
      CHECK(m.status() == mapping_status::live);
    }
    job->signal();
  }
  CHECK(buffer->statistics().of(count::moves) == 0);
  const auto held = buffer->lock();
  CHECK(buffer->move(*held, in_memory, deadline::now()));
}

TEST_CASE("move: a job that is requeued is not waited for, and what was queued before it is") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer driver(buffer);
  fence_context ring("ring", std::chrono::seconds(1));
  const fence_ptr running = *ring.create();
  const fence_ptr queued = *ring.create();
  const fence_ptr last = *ring.create();
  auto held = buffer->lock();
  // Of one context the latest stands for all; a driver that requeues has the one that runs there by itself.
  add_job(buffer, *held, usage::read, running);
  REQUIRE(buffer->reservation().reserve(*held, 2));
  REQUIRE(buffer->reservation().add(*held, last, usage::bookkeep));
  driver.on_invalidate = [&](const resv_lock&) { return jobs::requeue(*queued); };
  CHECK(code_of(buffer->move(*held, in_memory, deadline::now())) == errc::timed_out);
  running->signal();
  CHECK(buffer->move(*held, in_memory, deadline::now()));
  CHECK(!last->is_signaled());
  driver.on_invalidate = [&](const resv_lock&) { return jobs::requeue(ring); };
  CHECK(buffer->move(*held, behind_bar, deadline::now()));
  driver.on_invalidate = [&](const resv_lock&) { return jobs::wait(); };
  CHECK(code_of(buffer->move(*held, in_memory, deadline::now())) == errc::timed_out);
  queued->signal();
  last->signal();
}

TEST_CASE("move: a job that is canceled fails in the hook, and the move goes on") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer driver(buffer);
  auto held = buffer->lock();
  const fence_ptr job = add_job(buffer, *held, usage::write);
  driver.on_invalidate = [&](const resv_lock&) {
    job->fail(errc::canceled);
    return jobs::cancel();
  };
  CHECK(buffer->move(*held, in_memory, deadline::now()));
  CHECK(job->sys_errno() == ECANCELED);
}

TEST_CASE("move: the copy's fence stands as kernel, and the old storage stays until it completes") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer driver(buffer);
  engine dma;
  {
    auto opened = mmio_access<access::write>::begin(*buffer);
    REQUIRE(opened);
    opened->window().write8(5, 42);
  }
  auto held = buffer->lock();
  REQUIRE(buffer->use_mover(*held, dma));
  REQUIRE(buffer->move(*held, in_memory, long_enough()));
  CHECK(dma.copies == 1);
  CHECK(!buffer->reservation().test_signaled(usage::kernel));
  // Everybody waits for it, readers too.
  CHECK(code_of(driver.armed->map(*held, direction::to_device, deadline::now())) == errc::timed_out);
  CHECK(dma.source->segments().front().address[5] == std::byte{42});
  dma.finish();
  mapping<test_device> m = driver.map(*held, direction::to_device);
  CHECK(device_bytes(m)[5] == std::byte{42});
}

TEST_CASE("move: when the copy fails the bytes are where they were, and nobody gets the place where they are not") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer driver(buffer);
  engine dma;
  {
    auto opened = mmio_access<access::write>::begin(*buffer);
    REQUIRE(opened);
    opened->window().write8(5, 42);
  }
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->use_mover(*held, dma));
    REQUIRE(buffer->move(*held, in_memory, long_enough()));
  }
  std::thread hardware([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    dma.done->fail(errc::io);
  });
  {
    const auto held = buffer->lock();
    CHECK(code_of(driver.armed->map(*held, direction::to_device)) == errc::io);  // It waited for the copy.
    const mapping<test_device> m = driver.map(*held);
    CHECK(m.status() == mapping_status::live);
    CHECK(device_bytes(m)[5] == std::byte{42});
    CHECK(*buffer->where(*held) == behind_bar);
  }
  hardware.join();
  const auto opened = mmio_access<access::read>::begin(*buffer);
  REQUIRE(opened);
  CHECK(opened->window().read8(5) == 42);
}

TEST_CASE("move: a copy that has failed when it is given back is a move that failed") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  struct failing_engine {
    [[nodiscard]] result<fence_ptr> copy(const storage&, const storage&) noexcept {
      fence_ptr done = make_fence();
      done->fail(errc::io);
      return done;
    }
  } dma;
  const auto held = buffer->lock();
  REQUIRE(buffer->use_mover(*held, dma));
  const storage_ptr before = *buffer->storage(*held);
  CHECK(code_of(buffer->move(*held, in_memory, long_enough())) == errc::io);
  CHECK(*buffer->storage(*held) == before);
  CHECK(buffer->statistics().of(count::moves) == 0);
}

TEST_CASE("move: what somebody uses stays where it is, also when the copy to there has failed") {
  exporter_log log;
  const auto buffer = make_buffer<placing_test_exporter, no_auto_fence>(placing_test_exporter(log));
  using unfenced = dma_buf<placing_test_exporter, no_auto_fence>;
  engine dma;
  test_device dev;
  attachment<unfenced, test_device> pinned_there;
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->use_mover(*held, dma));
    REQUIRE(buffer->move(*held, in_memory, long_enough()));
  }
  REQUIRE(pinned_there.attach(buffer, dev));
  auto m = pinned_there.map(direction::to_device);
  REQUIRE(m);
  dma.done->fail(errc::io);
  CHECK(code_of(cpu_access<access::read>::begin(*buffer)) == errc::io);
  CHECK(device_bytes(*m)[0] == std::byte{0});  // Still there.
  CHECK(pinned_there.unmap(std::move(*m)));
  CHECK(pinned_there.detach());
  CHECK(mmio_access<access::read>::begin(*buffer));  // And now it is where the bytes are.
}

TEST_CASE("move: a pinned importer, which maps without the lock, waits for copies when it attaches") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  engine dma;
  test_device dev;
  attachment<moving_buffer, test_device> at;
  const auto move = [&](std::size_t place) {
    const auto held = buffer->lock();
    REQUIRE(buffer->use_mover(*held, dma));
    REQUIRE(buffer->move(*held, place, long_enough()));
  };
  move(in_memory);
  CHECK(code_of(at.attach(buffer, dev, direction::bidirectional, deadline::now())) == errc::timed_out);
  CHECK_FALSE(at.is_attached());
  std::thread failing([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    dma.done->fail(errc::io);
  });
  CHECK(code_of(at.attach(buffer, dev)) == errc::io);
  failing.join();
  CHECK_FALSE(at.is_attached());
  CHECK(*buffer->where(*buffer->lock()) == behind_bar);
  move(in_memory);
  dma.finish();
  REQUIRE(at.attach(buffer, dev));
  CHECK(*buffer->where(*buffer->lock()) == in_memory);
  std::thread other([&] {
    importer driver(buffer);
    for (int i = 0; i < 100; ++i) {
      const auto held = buffer->lock();
      static_cast<void>(driver.map(*held));
    }
  });
  for (int i = 0; i < 100; ++i) {
    static_cast<void>(at.map(direction::to_device).has_value());
  }
  other.join();
}

TEST_CASE("move: a buffer that comes back does not take storage from a mover that still copies") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  engine dma;
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->use_mover(*held, dma));
    REQUIRE(buffer->move(*held, in_memory, long_enough()));
  }
  REQUIRE(buffer->revoke(deadline::now()));
  CHECK(!dma.done->is_signaled());
  CHECK(code_of(buffer->restore()) == errc::busy);
  dma.finish();
  CHECK(buffer->restore());
}

TEST_CASE("move: old storage goes when its copy is done") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer driver(buffer);
  engine dma;
  const auto held = buffer->lock();
  REQUIRE(buffer->use_mover(*held, dma));
  const storage_ptr old = *buffer->storage(*held);
  REQUIRE(buffer->move(*held, in_memory, long_enough()));
  dma.finish();
  static_cast<void>(driver.map(*held));
  CHECK(old->use_count() == 1);
}

TEST_CASE("move: an importer that requeued its jobs maps anew without waiting for them") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer driver(buffer);
  fence_context ring("ring", std::chrono::seconds(1));
  const fence_ptr queued = *ring.create();
  const auto held = buffer->lock();
  add_job(buffer, *held, usage::write, queued);
  driver.on_invalidate = [&](const resv_lock&) { return jobs::requeue(*queued); };
  REQUIRE(buffer->move(*held, in_memory, deadline::now()));
  CHECK(driver.armed->map(*held, direction::bidirectional, deadline::now()));
  queued->signal();
}

TEST_CASE("move: which jobs were requeued is forgotten with the buffer that they were for") {
  exporter_log log;
  const auto first = make_buffer(placing_test_exporter(log));
  const auto second = make_buffer(placing_test_exporter(log));
  importer driver(first);
  fence_context ring("ring", std::chrono::seconds(1));
  const fence_ptr queued = *ring.create();
  driver.on_invalidate = [&](const resv_lock&) { return jobs::requeue(*queued); };
  REQUIRE(first->move(*first->lock(), in_memory, deadline::now()));
  REQUIRE(driver.at.detach());
  REQUIRE(driver.at.attach(second, driver.dev));
  const auto held = second->lock();
  add_job(second, *held, usage::write, queued);
  driver.armed = *driver.at.arm(*held, [](mover_attachment&, const resv_lock&) noexcept {});
  CHECK(code_of(driver.armed->map(*held, direction::bidirectional, deadline::now())) == errc::timed_out);
  queued->signal();
}

TEST_CASE("move: an access by CPU that waits for a job does not hold off the move that would end it") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer driver(buffer);
  const fence_ptr job = make_fence();
  {
    const auto held = buffer->lock();
    add_job(buffer, *held, usage::write, job);
  }
  driver.on_invalidate = [&](const resv_lock&) {
    job->fail(errc::canceled);
    return jobs::cancel();
  };
  bool opened = false;
  std::thread reader([&] { opened = cpu_access<access::read>::begin(*buffer).has_value(); });
  REQUIRE(eventually([&] { return buffer->statistics().of(count::waits) == 1; }));
  {
    const auto held = buffer->lock();
    CHECK(buffer->move(*held, in_memory, long_enough()));
  }
  reader.join();
  CHECK(opened);
}

TEST_CASE("move: an importer that is dead has no wishes") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  test_device near;
  attachment<moving_buffer, test_device, movable, p2p_only> old;
  REQUIRE(old.attach(buffer, near));
  REQUIRE(buffer->revoke(deadline::now()));
  REQUIRE(buffer->restore());
  importer far(buffer);
  far.dev.reaches_bars = false;
  const auto held = buffer->lock();
  static_cast<void>(far.map(*held));
  CHECK(*buffer->where(*held) == in_memory);
  CHECK(buffer->statistics().of(count::bounces) == 0);
}

TEST_CASE("move: a buffer whose copy is under way does not go before that is done") {
  exporter_log log;
  auto buffer = make_buffer(placing_test_exporter(log));
  engine dma;
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->use_mover(*held, dma));
    REQUIRE(buffer->move(*held, in_memory, long_enough()));
  }
  std::thread hardware([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    dma.finish();  // Reads the old storage, and writes the new one.
  });
  buffer.reset();
  CHECK(dma.done->is_signaled());
  hardware.join();
}

TEST_CASE("move: what fails before the copy, and the copy that fails, change nothing") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer driver(buffer);
  engine dma;
  const auto held = buffer->lock();
  REQUIRE(buffer->use_mover(*held, dma));
  const storage_ptr before = *buffer->storage(*held);
  const mapping<test_device> m = driver.map(*held);

  CHECK(code_of(buffer->move(*held, 2, long_enough())) == errc::invalid_argument);
  log.refuse_allocation = true;
  CHECK(code_of(buffer->move(*held, in_memory, long_enough())) == errc::out_of_memory);
  CHECK(driver.told == 0);
  log.refuse_allocation = false;
  dma.refuse = true;
  CHECK(code_of(buffer->move(*held, in_memory, long_enough())) == errc::io);
  CHECK(*buffer->storage(*held) == before);
  CHECK(*buffer->where(*held) == behind_bar);
  CHECK(m.status() == mapping_status::live);
  CHECK(buffer->reservation().test_signaled(usage::bookkeep));
  const resv_lock none;
  CHECK(code_of(buffer->move(none, in_memory, long_enough())) == errc::wrong_lock);
}

TEST_CASE("move: a pin holds it off, whoever pinned") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  test_device dev;
  mover_attachment at;
  REQUIRE(at.attach(buffer, dev));
  const auto held = buffer->lock();
  REQUIRE(at.pin(*held));
  CHECK(code_of(buffer->move(*held, in_memory, long_enough())) == errc::busy);
  REQUIRE(at.unpin(*held));
  CHECK(buffer->move(*held, in_memory, long_enough()));
  CHECK(at.detach(*held));
}

TEST_CASE("move: an access by CPU holds it off until it ends") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  auto opened = mmio_access<access::read>::begin(*buffer);
  REQUIRE(opened);
  const auto held = buffer->lock();
  CHECK(code_of(buffer->move(*held, in_memory, shortly())) == errc::timed_out);
  std::thread reader([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    static_cast<void>(opened->finish());
  });
  CHECK(buffer->move(*held, in_memory, long_enough()));
  reader.join();
}

TEST_CASE("move: inside on_invalidate neither a map, nor a move, nor a detach is possible") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer driver(buffer);
  importer other(buffer);
  errc mapped{};
  errc mapped_by_other{};
  errc moved{};
  errc detached{};
  driver.on_invalidate = [&](const resv_lock& held) {
    mapped = code_of(driver.armed->map(held, direction::to_device));
    mapped_by_other = code_of(other.armed->map(held, direction::to_device));
    moved = code_of(buffer->move(held, in_memory, long_enough()));
    detached = code_of(driver.at.detach(held));
    return jobs::wait();
  };
  auto held = buffer->lock();
  REQUIRE(buffer->move(*held, in_memory, long_enough()));
  CHECK(mapped == errc::reentrant);
  CHECK(mapped_by_other == errc::reentrant);
  CHECK(moved == errc::reentrant);
  CHECK(detached == errc::reentrant);
}

TEST_CASE("move: an importer may unmap inside on_invalidate") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer driver(buffer);
  const auto held = buffer->lock();
  mapping<test_device> m = driver.map(*held);
  driver.on_invalidate = [&](const resv_lock& proof) {
    static_cast<void>(driver.armed->unmap(proof, std::move(m)));
    return jobs::wait();
  };
  REQUIRE(buffer->move(*held, in_memory, long_enough()));
  CHECK(driver.dev.unmaps == 1);
  CHECK(!m.valid());  // NOLINT(bugprone-use-after-move): that is the question.
}

TEST_CASE("move: an importer that does not reach the storage has it moved, and is not told of that itself") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  importer near(buffer);
  importer far(buffer);
  far.dev.reaches_bars = false;
  auto held = buffer->lock();
  mapping<test_device> before = near.map(*held);
  mapping<test_device> m = far.map(*held);
  CHECK(*buffer->where(*held) == in_memory);
  CHECK(near.told == 1);
  CHECK(far.told == 0);
  CHECK(before.status() == mapping_status::stale);
  CHECK(buffer->statistics().of(count::migrations) == 1);
  CHECK(buffer->last_move(*held)->why == fallback::not_supported);
  CHECK(buffer->statistics().routes().of(fallback::not_supported) == 1);
  CHECK(near.map(*held).status() == mapping_status::live);
  CHECK(buffer->statistics().of(count::moves) == 1);  // And it stays where both reach it.
}

TEST_CASE("move: system_only does not go behind a BAR, even where it could") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  test_device dev;
  attachment<moving_buffer, test_device, movable, system_only> at;
  REQUIRE(at.attach(buffer, dev));
  const auto held = buffer->lock();
  const auto armed = at.arm(*held, [](auto&, const resv_lock&) noexcept {});
  REQUIRE(armed);
  REQUIRE((*armed)->map(*held, direction::to_device));
  CHECK(*buffer->where(*held) == in_memory);
  CHECK(buffer->last_move(*held)->why == fallback::asked_for);
  CHECK(at.detach(*held));
}

TEST_CASE("move: a mapping for the CPU that is stale is not opened") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log, in_memory));
  cpu_device cpu;
  attachment<moving_buffer, cpu_device, movable> at;
  REQUIRE(at.attach(buffer, cpu));
  mapping<cpu_device> m;
  {
    const auto held = buffer->lock();
    m = *(*at.arm(*held, [](auto&, const resv_lock&) noexcept {}))->map(*held, direction::bidirectional);
  }
  REQUIRE(cpu_access<access::read>::begin(m));
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->move(*held, behind_bar, long_enough()));
  }
  CHECK(code_of(cpu_access<access::read>::begin(m)) == errc::revoked);
}

TEST_CASE("move: which kind of access is asked for must fit where the bytes are") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  CHECK(code_of(cpu_access<access::read>::begin(*buffer)) == errc::not_mappable);
  CHECK(mmio_access<access::read>::begin(*buffer));
  const auto held = buffer->lock();
  REQUIRE(buffer->move(*held, in_memory, deadline::now()));  // The refused access left nothing open.
  CHECK(cpu_access<access::read>::begin(*held, *buffer));
  CHECK(code_of(mmio_access<access::read>::begin(*held, *buffer)) == errc::not_mappable);
  CHECK(code_of(cpu_access<access::read>::begin(*buffer)) == errc::deadlock);
}

TEST_CASE("move: another thread does it for one that may not block") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  CHECK(code_of(buffer->async_move(in_memory, deadline::never())) == errc::invalid_argument);
  const auto moved = buffer->async_move(in_memory, long_enough());
  REQUIRE(moved);
  CHECK(*wait(**moved, long_enough()) == wait_status::signaled);
  {
    const auto held = buffer->lock();
    CHECK(*buffer->where(*held) == in_memory);
  }
  const auto refused = buffer->async_move(7, long_enough());
  REQUIRE(refused);
  CHECK(*wait(**refused, long_enough()) == wait_status::failed);
  CHECK((*refused)->error() == errc::invalid_argument);
}

TEST_CASE("move: writers and moves at once lose no byte") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  constexpr unsigned rounds = 300;
  struct writer {
    explicit writer(const buffer_ptr<moving_buffer>& to, unsigned number) : driver(to), slot(number) {}
    importer driver;
    unsigned slot;
  };
  writer each[2]{writer(buffer, 0), writer(buffer, 1)};
  const auto write = [&](writer& me) {
    for (unsigned round = 1; round <= rounds; ++round) {
      auto held = buffer->lock();
      auto m = me.driver.armed->map(*held, direction::bidirectional);
      const fence_ptr job = make_fence();
      if (!m || !buffer->reservation().reserve(*held, 1) || !buffer->commit(*held, job, access::write)) {
        return false;
      }
      std::byte* const bytes = device_bytes(*m);
      held->unlock();
      // The job: it reads the last round's number and writes this one's, by an address that was taken under the lock.
      unsigned last = 0;
      std::memcpy(&last, bytes + me.slot * std::size_t{64}, sizeof last);
      std::memcpy(bytes + me.slot * std::size_t{64}, &round, sizeof round);
      job->signal();
      if (last != round - 1) {
        return false;
      }
    }
    return true;
  };
  bool fine[2]{false, false};
  std::thread first([&] { fine[0] = write(each[0]); });
  std::thread second([&] { fine[1] = write(each[1]); });
  unsigned moves = 0;
  for (; moves < 300; ++moves) {
    const auto held = buffer->lock();
    if (!buffer->move(*held, moves % 2 == 0 ? in_memory : behind_bar, long_enough())) {
      break;
    }
  }
  first.join();
  second.join();
  CHECK(fine[0]);
  CHECK(fine[1]);
  CHECK(moves == 300);
  const auto held = buffer->lock();
  const std::byte* const bytes = (*buffer->storage(*held))->segments().front().address;
  for (const std::size_t slot : {0U, 1U}) {
    unsigned last = 0;
    std::memcpy(&last, bytes + slot * 64, sizeof last);
    CHECK(last == rounds);
  }
}

}  // namespace
}  // namespace paddock
