// SPDX-License-Identifier: BSL-1.0
// A revocation tells everybody, waits for those who use the storage, and ends whatever they do.
#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/bound_buffer.hpp>
#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/cpu_device.hpp>
#include <paddock/buffer/mmio_access.hpp>
#include <paddock/buffer/placement.hpp>

#include "buffers.hpp"
#include "catch.hpp"
#include "fences.hpp"
#include "policies.hpp"

namespace paddock {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the tests are about these.
PADDOCK_TEST_POLICIES
using count = buffer_statistics::what;

using bar_buffer = dma_buf<revoking_test_exporter>;

/// As vfio::device: its mappings may go at any time.
struct yielding_device : test_device {
  static constexpr bool unmaps_on_revoke = true;
};

template <class Residency, class Device = test_device>
struct importer {
  using at_type = attachment<bar_buffer, Device, Residency>;
  explicit importer(const buffer_ptr<bar_buffer>& buffer) {
    REQUIRE(at.attach(buffer, dev));
    const auto held = buffer->lock();
    armed = *at.arm(*held, [this](at_type&, const resv_lock& proof) noexcept {
      ++told;
      if (on_revoke) {
        on_revoke(proof);
      }
    });
    m = *armed->map(*held, direction::bidirectional);
  }
  Device dev;
  at_type at;
  typename at_type::armed_type* armed{nullptr};
  mapping<Device> m;
  int told{0};
  std::function<void(const resv_lock&)> on_revoke;
};

TEMPLATE_TEST_CASE("revoke: everybody is told, and what they had is dead for good", "", revocable, movable) {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<TestType> driver(buffer);
  driver.on_revoke = [&](const resv_lock& held) {
    CHECK(driver.m.status() == mapping_status::live);
    static_cast<void>(driver.armed->unmap(held, std::move(driver.m)));
  };
  CHECK(buffer->status() == buffer_status::live);
  REQUIRE(buffer->revoke(deadline::now()));
  CHECK(driver.told == 1);
  CHECK(driver.dev.unmaps == 1);
  CHECK(buffer->status() == buffer_status::revoked);
  CHECK(buffer->statistics().of(count::revocations) == 1);
  CHECK(buffer->statistics().of(count::forced_unmaps) == 0);
  {
    const auto held = buffer->lock();
    CHECK(code_of(driver.armed->map(*held, direction::to_device)) == errc::revoked);
    CHECK(code_of(mmio_access<access::read>::begin(*held, *buffer)) == errc::revoked);
  }
  typename importer<TestType>::at_type late;
  CHECK(code_of(late.attach(buffer, driver.dev)) == errc::revoked);

  REQUIRE(buffer->restore());
  CHECK(buffer->status() == buffer_status::live);
  {
    const auto held = buffer->lock();
    CHECK(code_of(driver.armed->map(*held, direction::to_device)) == errc::revoked);
    CHECK(code_of(driver.at.arm(*held, [](auto&, const resv_lock&) noexcept {})) == errc::revoked);
  }
  CHECK(driver.at.detach());
  REQUIRE(driver.at.attach(buffer, driver.dev));
  const auto held = buffer->lock();
  const auto armed = driver.at.arm(*held, [](auto&, const resv_lock&) noexcept {});
  REQUIRE(armed);
  CHECK((*armed)->map(*held, direction::to_device));
}

TEST_CASE("revoke: waits for jobs, and then for unmaps, as long as the deadline lets it") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<revocable> driver(buffer);
  const fence_ptr job = make_fence();
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->reservation().reserve(*held, 1));
    REQUIRE(buffer->reservation().add(*held, job, usage::bookkeep));
  }
  std::atomic<bool> signaled{false};
  std::atomic<bool> unmapped{false};
  std::thread device([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    signaled = true;
    job->signal();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    unmapped = true;
    driver.m = {};
  });
  REQUIRE(buffer->revoke(long_enough()));
  CHECK(signaled);
  CHECK(unmapped);
  device.join();
  CHECK(job->sys_errno() == 0);
  CHECK(driver.dev.unmaps == 1);
  CHECK(buffer->statistics().of(count::forced_unmaps) == 0);
}

TEST_CASE("revoke: after the deadline mappings are taken away, and then jobs fail with ECANCELED") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<revocable> driver(buffer);
  const fence_ptr job = make_fence();
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->reservation().reserve(*held, 1));
    REQUIRE(buffer->commit(*held, job, access::write));
  }
  int unmapped_when_it_failed = 0;
  calling_callback seen([&]() noexcept { unmapped_when_it_failed = driver.dev.unmaps; });
  REQUIRE(job->add_callback(seen) == add_outcome::added);
  REQUIRE(buffer->revoke(shortly()));
  CHECK(job->sys_errno() == ECANCELED);
  CHECK(unmapped_when_it_failed == 1);
  CHECK(driver.m.status() == mapping_status::revoked);
  CHECK(buffer->statistics().of(count::forced_unmaps) == 1);
  // The handle is still there, and harmless; also after its attachment.
  CHECK(driver.at.detach());
  CHECK(driver.m.valid());
  CHECK(driver.m.status() == mapping_status::revoked);
  driver.m = {};
  CHECK(driver.dev.unmaps == 1);
}

TEST_CASE("revoke: a device whose mappings may go at any time is not waited for") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<revocable, yielding_device> driver(buffer);
  REQUIRE(buffer->revoke(deadline::in(std::chrono::hours(1))));
  CHECK(driver.dev.unmaps == 1);
  CHECK(driver.m.status() == mapping_status::revoked);
  CHECK(buffer->statistics().of(count::forced_unmaps) == 0);
  // It may also be armed without a hook.
  REQUIRE(driver.at.detach());
  REQUIRE(buffer->restore());
  REQUIRE(driver.at.attach(buffer, driver.dev));
  const auto held = buffer->lock();
  CHECK(driver.at.arm(*held));
}

TEST_CASE("revoke: an importer that cannot be told stops it before anybody is told") {
  const auto buffer = make_buffer<archetype_exporter, revocable>(archetype_exporter());
  using buffer_type = dma_buf<archetype_exporter, revocable>;
  test_device dev;
  attachment<buffer_type, test_device, revocable> polite;
  attachment<buffer_type, test_device> deaf;
  int told = 0;
  REQUIRE(polite.attach(buffer, dev));
  REQUIRE(deaf.attach(buffer, dev));
  {
    const auto held = buffer->lock();
    REQUIRE(polite.arm(*held, [&told](auto&, const resv_lock&) noexcept { ++told; }));
  }
  CHECK(code_of(buffer->revoke(deadline::now())) == errc::busy);
  CHECK(told == 0);
  CHECK(buffer->status() == buffer_status::live);
  REQUIRE(deaf.detach());
  CHECK(buffer->revoke(deadline::now()));
}

TEST_CASE("revoke: an access by CPU holds it off, as long as the deadline lets it") {
  const auto buffer = make_buffer(revoking_test_exporter());
  auto opened = mmio_access<access::write>::begin(*buffer);
  REQUIRE(opened);
  std::atomic<bool> ended{false};
  std::thread cpu([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ended = true;
    static_cast<void>(opened->finish());
  });
  REQUIRE(buffer->revoke(long_enough()));
  CHECK(ended);
  cpu.join();

  REQUIRE(buffer->restore());
  auto stays = mmio_access<access::write>::begin(*buffer);
  REQUIRE(stays);
  REQUIRE(buffer->revoke(shortly()));
  stays->window().write8(0, 1);  // Of what is not the buffer's any more, but no fault.
  CHECK(stays->finish());
}

TEST_CASE("revoke: twice at once is once, and both return when it is over") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<revocable> driver(buffer);
  std::atomic<bool> over{false};
  std::atomic<int> early{0};
  const auto revoke = [&] {
    static_cast<void>(buffer->revoke(long_enough()));
    early += over ? 0 : 1;
  };
  std::thread first(revoke);
  std::thread second(revoke);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  over = true;
  driver.m = {};
  first.join();
  second.join();
  CHECK(early == 0);
  CHECK(driver.told == 1);
  CHECK(buffer->statistics().of(count::revocations) == 1);
}

TEST_CASE("revoke: a buffer that was closed does not come back") {
  const auto buffer = make_buffer(revoking_test_exporter());
  CHECK(buffer->restore());  // It is live.
  REQUIRE(buffer->close(deadline::now()));
  CHECK(buffer->status() == buffer_status::dead);
  CHECK(code_of(buffer->restore()) == errc::no_device);
  CHECK(buffer->revoke(deadline::now()));
  CHECK(buffer->status() == buffer_status::dead);

  const auto other = make_buffer(revoking_test_exporter());
  REQUIRE(other->revoke(deadline::now()));
  REQUIRE(other->close(deadline::now()));  // Also one that was revoked before.
  CHECK(code_of(other->restore()) == errc::no_device);
}

TEST_CASE("revoke: who has the lock is told so") {
  const auto buffer = make_buffer(revoking_test_exporter());
  const auto held = buffer->lock();
  CHECK(code_of(buffer->revoke(deadline::now())) == errc::deadlock);
  CHECK(buffer->status() == buffer_status::live);
}

TEST_CASE("revoke: inside on_revoke nothing is mapped, armed, or detached") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<revocable> driver(buffer);
  errc mapped{};
  errc detached{};
  errc revoked{};
  driver.on_revoke = [&](const resv_lock& held) {
    mapped = code_of(driver.armed->map(held, direction::to_device));
    detached = code_of(driver.at.detach(held));
    revoked = code_of(buffer->revoke(deadline::now()));
  };
  REQUIRE(buffer->revoke(deadline::now()));
  CHECK(mapped == errc::revoked);
  CHECK(detached == errc::reentrant);
  CHECK(revoked == errc::deadlock);
}

/// Memory of a card, which may be reset.
class card_source {
 public:
  static constexpr p2p_segments p2p = p2p_segments::always;
  static constexpr bool revokes = true;
  struct card {
    bound_buffer buffer{};
    bool gone{false};
  };
  explicit card_source(card& of) noexcept : of_(&of) {}
  [[nodiscard]] segment prototype() const noexcept { return {.kind = storage_kind::device_memory}; }
  [[nodiscard]] result<storage_ptr> allocate(std::uint64_t) noexcept {
    return of_->gone ? result<storage_ptr>(fail(errc::revoked, "test")) : allocate_device_memory();
  }
  [[nodiscard]] result<void> bound(const bound_buffer& buffer) noexcept {
    of_->buffer = buffer;
    return {};
  }

 private:
  card* of_;
};
static_assert(bound_source<card_source>);

TEST_CASE("revoke: does not wait longer for the lock than for anything else") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<revocable> driver(buffer);
  const fence_ptr job = make_fence();
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->reservation().reserve(*held, 1));
    REQUIRE(buffer->commit(*held, job, access::write));
  }
  std::atomic<bool> locked{false};
  std::thread stuck([&] {
    const auto held = buffer->lock();
    locked = true;
    static_cast<void>(driver.armed->map(*held, direction::to_device));  // Behind a job that does not end.
  });
  REQUIRE(eventually([&] { return locked.load(); }));
  REQUIRE(buffer->revoke(shortly()));
  CHECK(job->sys_errno() == ECANCELED);
  CHECK(buffer->status() == buffer_status::revoked);
  stuck.join();
}

TEST_CASE("revoke: an access by CPU that waited through it is not opened") {
  const auto buffer = make_buffer(revoking_test_exporter());
  const fence_ptr job = make_fence();
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->reservation().reserve(*held, 1));
    REQUIRE(buffer->commit(*held, job, access::write));
  }
  errc opened{};
  std::thread reader([&] { opened = code_of(mmio_access<access::read>::begin(*buffer)); });
  REQUIRE(eventually([&] { return buffer->statistics().of(count::waits) == 1; }));
  REQUIRE(buffer->revoke(shortly()));
  reader.join();
  CHECK(opened == errc::revoked);
}

TEST_CASE("revoke: handles that are dropped while their attachment goes are neither lost nor told twice") {
  for (int round = 0; round < 200; ++round) {
    const auto buffer = make_buffer(revoking_test_exporter());
    auto driver = std::make_unique<importer<revocable>>(buffer);
    mapping<test_device> m = std::move(driver->m);
    if (round % 2 == 0) {
      REQUIRE(buffer->revoke(deadline::now()));
    }
    std::thread dropping([&] { m = {}; });
    while (!driver->at.detach()) {
      std::this_thread::yield();
    }
    driver.reset();
    dropping.join();
  }
}

TEST_CASE("revoke: a mapping for the CPU is not opened when its attachment is gone") {
  const auto buffer = make_buffer<archetype_exporter, revocable>(archetype_exporter());
  cpu_device cpu;
  mapping<cpu_device> m;
  {
    attachment<dma_buf<archetype_exporter, revocable>, cpu_device, revocable> at;
    REQUIRE(at.attach(buffer, cpu));
    {
      const auto held = buffer->lock();
      m = *(*at.arm(*held))->map(*held, direction::bidirectional);
    }
    {
      const auto opened = cpu_access<access::read>::begin(m);
      REQUIRE(opened);
      REQUIRE(buffer->revoke(deadline::now()));
      CHECK(code_of(at.detach()) == errc::busy);
    }
    REQUIRE(at.detach());
  }
  CHECK(code_of(cpu_access<access::read>::begin(m)) == errc::revoked);
}

TEST_CASE("revoke: storage that the CPU still accesses is not replaced") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  auto opened = mmio_access<access::write>::begin(*buffer);
  REQUIRE(opened);
  REQUIRE(buffer->revoke(deadline::now()));
  CHECK(code_of(buffer->restore()) == errc::busy);
  opened->window().write8(0, 1);
  CHECK(opened->finish());
  CHECK(buffer->restore());
}

TEST_CASE("revoke: what was neither armed nor is pinned any more does not map") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  test_device dev;
  attachment<dma_buf<placing_test_exporter>, test_device, movable> at;
  REQUIRE(at.attach(buffer, dev));
  const auto held = buffer->lock();
  const auto pinned = at.pin(*held);
  REQUIRE(pinned);
  REQUIRE(at.unpin(*held));
  CHECK(code_of((*pinned)->map(*held, direction::to_device)) == errc::invalid_argument);
  CHECK(at.detach(*held));
}

TEST_CASE("revoke: a place that goes takes the buffer with it, or what is left there of a buffer that has moved") {
  card_source::card card;
  using placed = dma_buf<placement_exporter<memory_source, card_source>>;
  const auto buffer =
      *placed::create(placement_exporter<memory_source, card_source>(buffer_bytes, memory_source(), card_source(card)));
  test_device dev;
  attachment<placed, test_device, movable> at;
  REQUIRE(at.attach(buffer, dev));
  int told = 0;
  attachment<placed, test_device, movable>::armed_type* armed = nullptr;
  mapping<test_device> old;
  mapping<test_device> now;
  {
    const auto held = buffer->lock();
    armed = *at.arm(*held, [&told](auto&, const resv_lock&) noexcept { ++told; });
    REQUIRE(buffer->move(*held, 1, long_enough()));
    old = *armed->map(*held, direction::to_device);
    REQUIRE(buffer->move(*held, 0, long_enough()));
    now = *armed->map(*held, direction::to_device);
  }
  told = 0;
  REQUIRE(card.buffer.get().revoke(deadline::now()));
  CHECK(told == 0);
  CHECK(old.status() == mapping_status::revoked);
  CHECK(now.status() == mapping_status::live);
  CHECK(buffer->status() == buffer_status::live);
  CHECK(dev.unmaps == 1);
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->move(*held, 1, long_enough()));
  }
  told = 0;
  card.gone = true;
  REQUIRE(card.buffer.get().revoke(deadline::now()));
  CHECK(told == 1);
  CHECK(buffer->status() == buffer_status::revoked);
  CHECK(now.status() == mapping_status::revoked);

  // It comes back where there is storage.
  REQUIRE(buffer->restore());
  const auto held = buffer->lock();
  CHECK(*buffer->where(*held) == 0);
  CHECK(code_of(buffer->move(*held, 1, deadline::now())) == errc::revoked);
  card.gone = false;
  CHECK(buffer->move(*held, 1, deadline::now()));
  CHECK(at.detach(*held));
}

TEST_CASE("revoke: a place that goes waits for copies out of it, and not for jobs elsewhere") {
  struct copier {
    result<fence_ptr> copy(const storage&, const storage&) noexcept { return copied; }
    fence_ptr copied = make_fence();
  };
  card_source::card card;
  using placed = dma_buf<placement_exporter<memory_source, card_source>>;
  const auto buffer =
      *placed::create(placement_exporter<memory_source, card_source>(buffer_bytes, memory_source(), card_source(card)));
  copier engine;
  const fence_ptr job = make_fence();
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->move(*held, 1, long_enough()));
    REQUIRE(buffer->use_mover(*held, engine));
    REQUIRE(buffer->move(*held, 0, long_enough()));
    REQUIRE(buffer->reservation().reserve(*held, 1));
    REQUIRE(buffer->commit(*held, job, access::write));
  }
  const std::jthread end([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    engine.copied->signal();
  });
  const deadline until = deadline::in(std::chrono::seconds(10));
  REQUIRE(card.buffer.get().revoke(until));
  CHECK(engine.copied->is_signaled());
  CHECK_FALSE(until.passed());
  CHECK_FALSE(job->is_signaled());
  job->signal();
}

TEST_CASE("revoke: another thread does it for one that may not block") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<revocable> driver(buffer);
  CHECK(code_of(buffer->async_revoke(deadline::never())) == errc::invalid_argument);
  const auto gone = buffer->async_revoke(long_enough());
  REQUIRE(gone);
  REQUIRE(eventually([&] { return buffer->status() == buffer_status::revoking; }));
  CHECK(!(*gone)->is_signaled());
  driver.m = {};
  CHECK(*wait(**gone, long_enough()) == wait_status::signaled);
  CHECK(buffer->status() == buffer_status::revoked);
}

/// What a driver's own exporter needs to be told of resets: who it is told by, and a bound_buffer.
struct board {
  bound_buffer buffer{};
  bool answers{true};
};
struct board_exporter : revoking_test_exporter {
  explicit board_exporter(board& of) noexcept : on(&of) {}
  board_exporter(board_exporter&& other) noexcept : on(std::exchange(other.on, nullptr)) {}
  board_exporter& operator=(board_exporter&&) = delete;
  ~board_exporter() {
    if (on != nullptr) {
      on->buffer = {};
    }
  }
  [[nodiscard]] result<void> bound(const bound_buffer& buffer) noexcept {
    on->buffer = buffer;
    return {};
  }
  [[nodiscard]] result<bool> hold_storage() const noexcept {
    return on->answers ? result<bool>(true) : fail(errc::revoked, "board");
  }
  board* on;
};
static_assert(bound_exporter<board_exporter>);

TEST_CASE("revoke: an exporter of a driver's own takes its storage back, and forever, by what create() gave it") {
  board at;
  CHECK_FALSE(bound_buffer().get());
  {
    auto buffer = *dma_buf<board_exporter>::create(board_exporter(at));
    at.answers = false;
    {
      const auto here = at.buffer.get();
      REQUIRE(here);
      CHECK(here.revoke(deadline::now()));
      CHECK_FALSE(buffer->has_one_reference());
    }
    CHECK(buffer->has_one_reference());
    CHECK(buffer->status() == buffer_status::revoked);
    CHECK(code_of(buffer->restore()) == errc::revoked);
    at.answers = true;
    CHECK(buffer->restore());
    // The last reference may go meanwhile.
    auto last = at.buffer.get();
    REQUIRE(last);
    buffer.reset();
    CHECK(last.close(deadline::now()));
    CHECK(at.buffer.get());
  }
  CHECK_FALSE(at.buffer.get());
}

}  // namespace
}  // namespace paddock
