// SPDX-License-Identifier: BSL-1.0
// Buffers in a BAR: what becomes of them when the device takes its memory away, and when both happen at once.
#include <paddock/vfio/bar_exporter.hpp>

#include <atomic>
#include <chrono>
#include <concepts>
#include <functional>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/mmio_access.hpp>

#include "address_spaces.hpp"
#include "catch.hpp"
#include "fences.hpp"
#include "policies.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

namespace {

PADDOCK_TEST_POLICIES
constexpr std::uint64_t page = 4096;
using buffer = dma_buf<vfio::bar_exporter>;
using importer = attachment<buffer, test_importer, revocable>;
using doorbells = dma_buf<vfio::doorbell_exporter>;

static_assert(std::same_as<buffer::policies::residency, paddock::revocable>);
static_assert(std::same_as<buffer::policies::route, paddock::prefer_p2p>);
static_assert(std::same_as<doorbells::policies::route, paddock::p2p_only>);
static_assert(std::same_as<attachment<doorbells, test_importer, revocable>::policies::route, paddock::p2p_only>);

buffer_ptr<buffer> make(const fake_device& device, std::chrono::nanoseconds patience = 10s) {
  auto made = buffer::create(vfio::bar_exporter(device.slice(page, 2 * page), {.patience = patience}));
  REQUIRE(made);
  return *made;
}

/// A peer that has the buffer mapped, and counts how often it was told.
struct peer {
  explicit peer(test_space& space) : device(space) {}
  void attach(const buffer_ptr<buffer>& to) {
    REQUIRE(link.attach(to, device));
    const resv_lock held = *to->lock();
    auto armed = link.arm(held, [this](importer&, const resv_lock&) noexcept {
      ++told;
      mapped_when_told = device.space.kernel.mapped;
    });
    REQUIRE(armed);
    auto made = (*armed)->map(held, direction::bidirectional);
    REQUIRE(made);
    mapped = std::move(*made);
  }

  test_importer device;
  importer link;
  mapping<test_importer> mapped;
  int told{0};
  int mapped_when_told{-1};
};

/// Whether it becomes so.
bool eventually(const std::function<bool()>& condition) {
  const deadline until = long_enough();
  while (!condition() && !until.passed()) {
    std::this_thread::yield();
  }
  return condition();
}

}  // namespace

TEST_CASE("a buffer in a BAR is where the slice says, for devices and for the CPU") {
  const fake_device device;
  const auto made = make(device);
  CHECK(made->size() == 2 * page);
  {
    const resv_lock held = *made->lock();
    const segment seen = (*made->storage(held))->segments().front();
    CHECK(seen.kind == storage_kind::device_memory);
    CHECK(seen.provider == device.state->address);
    CHECK(seen.offset == page);
    CHECK(seen.address == device.window->base() + page);
  }
  auto write = mmio_access<access::write>::begin(*made);
  REQUIRE(write);
  write->window().write32(8, 42);
  CHECK(write->finish());
  CHECK(mmio_span(device.window->base(), 3 * page).read32(page + 8) == 42);
  CHECK(cpu_access<access::read>::begin(*made).error() == errc::not_mappable);
  CHECK(buffer::create(vfio::bar_exporter(device.slice(5 * page, 2 * page))).error() == errc::not_mappable);
}

TEST_CASE("doorbells are registers, which are mapped for peers and opened as a window") {
  const fake_device device;
  const auto made = *doorbells::create(vfio::doorbell_exporter(device.slice(0, page)));
  test_space space;
  test_importer by(space);
  attachment<doorbells, test_importer, chosen::revocable> link;
  REQUIRE(link.attach(made, by, direction::from_device));
  const resv_lock held = *made->lock();
  auto mapped = (*link.arm(held))->map(held, direction::from_device);
  REQUIRE(mapped);
  CHECK(mapped->mapped().storage() == storage_kind::registers);
  CHECK(space.kernel.at(mapped->iova()).dir == direction::from_device);
}

TEST_CASE("a reset revokes: the importer is told, then unmapped, and restore() gives new life") {
  const fake_device device;
  test_space space;
  const auto made = make(device);
  peer one(space);
  one.attach(made);
  const iova old = one.mapped.iova();
  for (int round = 1; round <= 2; ++round) {
    device.reset();
    CHECK(made->status() == buffer_status::revoked);
    CHECK(one.told == 1);
    CHECK(one.mapped_when_told == 1);
    CHECK(one.mapped.status() == mapping_status::revoked);
    CHECK(space.kernel.mapped == 0);
    {
      const resv_lock held = *made->lock();
      CHECK(one.link.arm(held, [](importer&, const resv_lock&) noexcept {}).error() == errc::revoked);
    }
    CHECK(made->restore());
    CHECK(made->status() == buffer_status::live);
    // The device of the revoked mapping may still use its address.
    peer next(space);
    next.attach(made);
    CHECK(next.mapped.iova() != old);
    CHECK(space.kernel.mapped == 1);
    device.reset();
    CHECK(next.told == 1);
    CHECK(made->restore());
  }
}

TEST_CASE("a buffer does not come back before its device's memory answers") {
  const fake_device device;
  const auto made = make(device);
  device.memory_off();
  CHECK(made->status() == buffer_status::revoked);
  CHECK(made->restore().error() == errc::revoked);
  CHECK(made->status() == buffer_status::revoked);
  CHECK(buffer::create(vfio::bar_exporter(device.slice(0, page))).error() == errc::revoked);
  {
    const resv_lock held = *made->lock();
    const segment seen = (*made->storage(held))->segments().front();
    CHECK(mmio_span(seen.address, page).read32(0) == 0xffffffff);
  }
  device.memory_on();
  CHECK(made->restore());
}

TEST_CASE("restore() waits for a revocation that is under way, and does not undo it") {
  struct slow final : vfio::revocable {
    void on_revoke(vfio::revoke_reason) noexcept override {
      inside = true;
      std::this_thread::sleep_for(50ms);
      inside_ended = true;
      seen = restored->restore();
    }
    buffer_ptr<buffer> restored;
    std::atomic<bool> inside{false};
    std::atomic<bool> inside_ended{false};
    result<void> seen;
  };
  const fake_device device;
  const auto made = make(device);
  slow late;
  late.restored = made;
  REQUIRE(device.state->listeners->join(late));  // Behind the buffer, which is revoked when this one is told.
  std::thread revoker([&] { device.memory_off(); });
  REQUIRE(eventually([&] { return late.inside.load(); }));
  CHECK(made->restore().error() == errc::revoked);
  CHECK(late.inside_ended);
  revoker.join();
  CHECK(late.seen.error() == errc::revoked);
}

TEST_CASE("a device that closes leaves its buffers dead, also those that were revoked before") {
  const fake_device device;
  test_space space;
  const auto mapped = make(device);
  const auto revoked = make(device);
  REQUIRE(revoked->revoke(deadline::now()));
  peer one(space);
  one.attach(mapped);
  device.close();
  CHECK(one.told == 1);
  CHECK(space.kernel.mapped == 0);
  for (const auto& each : {mapped, revoked}) {
    CHECK(each->status() == buffer_status::dead);
    CHECK(each->restore().error() == errc::no_device);
  }
  CHECK(buffer::create(vfio::bar_exporter(device.slice(0, page))).error() == errc::no_device);
}

TEST_CASE("a driver that closes its device while its buffers are revoked leaves them dead") {
  // The driver's answer to a reset that it is told of, which comes before the buffers are told.
  struct closing final : vfio::revocable {
    explicit closing(const fake_device& of) : device(of) {}
    void on_revoke(vfio::revoke_reason) noexcept override { device.close(); }
    const fake_device& device;
  };
  const fake_device device;
  const auto made = make(device);
  closing driver(device);
  REQUIRE(device.state->listeners->join_first(driver));
  device.reset();
  CHECK(made->status() == buffer_status::dead);
}

TEST_CASE("a device that is closed while it tells a buffer leaves it dead") {
  // By whoever hears that the buffer's job has failed.
  struct closing : fence_callback {
    explicit closing(const fake_device& of) noexcept : fence_callback(&run), device(of) {}
    static void run(fence_callback& node, const fence_outcome&) noexcept { static_cast<closing&>(node).device.close(); }
    const fake_device& device;
  };
  const fake_device device;
  const auto made = make(device, 1ms);
  const fence_ptr job = make_fence();
  closing callback(device);
  REQUIRE(job->add_callback(callback) == add_outcome::added);
  {
    const resv_lock held = *made->lock();
    REQUIRE(made->reservation().reserve(held, 1));
    REQUIRE(made->commit(held, job, access::write));
  }
  device.reset();
  CHECK(made->status() == buffer_status::dead);
}

TEST_CASE("an access by CPU holds a reset off, until the patience is over") {
  const fake_device device;
  const auto patient = make(device);
  auto guard = mmio_access<access::read>::begin(*patient);
  REQUIRE(guard);
  std::atomic<bool> has_reset{false};
  std::thread resetter([&] {
    device.reset();
    has_reset = true;
  });
  CHECK(eventually([&] { return patient->status() == buffer_status::revoking; }));
  std::this_thread::sleep_for(20ms);
  CHECK_FALSE(has_reset);
  CHECK(guard->finish());
  resetter.join();

  const fake_device other;
  const auto hasty = make(other, 20ms);
  auto forgotten = mmio_access<access::read>::begin(*hasty);
  REQUIRE(forgotten);
  other.reset();
  CHECK(hasty->status() == buffer_status::revoked);
}

TEST_CASE("a job that does not end is failed when the patience is over, and a reset goes on") {
  const fake_device device;
  const auto made = make(device, 20ms);
  const fence_ptr job = make_fence();
  {
    const resv_lock held = *made->lock();
    REQUIRE(made->reservation().reserve(held, 1));
    REQUIRE(made->commit(held, job, access::write));
  }
  device.reset();
  CHECK(job->is_signaled());
  CHECK(job->error() == errc::canceled);
}

// --- the last reference and the revocation at once
// ---------------------------------------------------------------------

namespace {

/// Ends in two steps: the buffer has no reference any more, and its device has not been left yet.
struct slow_to_end {
  struct gate {
    std::atomic<bool> ending{false};
    std::atomic<bool> may_end{false};
  };
  explicit slow_to_end(gate& g) noexcept : at(&g) {}
  slow_to_end(slow_to_end&& other) noexcept : at(std::exchange(other.at, nullptr)) {}
  slow_to_end& operator=(slow_to_end&&) = delete;
  ~slow_to_end() {
    if (at != nullptr) {
      at->ending = true;
      static_cast<void>(eventually([&] { return at->may_end.load(); }));
    }
  }
  gate* at;
};
struct slow_exporter : vfio::bar_exporter {
  slow_exporter(vfio::bar_slice where, slow_to_end::gate& g) noexcept
      : vfio::bar_exporter(std::move(where), {.patience = 10s}), first_to_end(g) {}
  slow_to_end first_to_end;
};

}  // namespace

TEST_CASE("a buffer that is gone is not told") {
  const fake_device device;
  { const auto made = make(device); }
  device.reset();
  device.close();
}

TEST_CASE("a buffer that goes while its device revokes is left alone, once its last reference is dropped") {
  const fake_device device;
  slow_to_end::gate gate;
  auto made = *dma_buf<slow_exporter>::create(slow_exporter(device.slice(0, page), gate));
  std::thread dropper([&] { made.reset(); });
  REQUIRE(eventually([&] { return gate.ending.load(); }));
  CHECK_FALSE(gate.may_end);
  device.reset();  // Tells the link, which finds no reference and takes none.
  device.close();
  gate.may_end = true;
  dropper.join();
}

TEST_CASE("a buffer whose last reference goes while it is being revoked goes with the revocation") {
  const fake_device device;
  auto made = make(device);
  const fence_ptr job = make_fence();
  {
    const resv_lock held = *made->lock();
    REQUIRE(made->reservation().reserve(held, 1));
    REQUIRE(made->commit(held, job, access::write));
  }
  std::thread dropper([&] {
    static_cast<void>(eventually([&] { return made->status() == buffer_status::revoking; }));
    made.reset();
    job->signal();
  });
  const long held_before = device.window.use_count();
  device.reset();
  dropper.join();
  CHECK(device.window.use_count() < held_before);  // The buffer's storage has gone.
  CHECK_FALSE(job->error() == errc::canceled);
  device.close();
}

TEST_CASE("a buffer that goes when the revocation has begun, and before it is told, is not told") {
  struct slow final : vfio::revocable {
    void on_revoke(vfio::revoke_reason) noexcept override {
      inside = true;
      static_cast<void>(eventually([&] { return may_go.load(); }));
    }
    std::atomic<bool> inside{false};
    std::atomic<bool> may_go{false};
  };
  const fake_device device;
  slow before;
  REQUIRE(device.state->listeners->join(before));
  auto made = make(device);  // Behind the slow one.
  std::thread revoker([&] { device.reset(); });
  REQUIRE(eventually([&] { return before.inside.load(); }));
  made.reset();
  before.may_go = true;
  revoker.join();
}

TEST_CASE("buffers, importers, CPUs and resets in many threads") {
  const fake_device device;
  test_space space;
  std::atomic<bool> stop{false};
  std::atomic<int> mapped_in_time{0};
  std::vector<std::thread> threads;
  threads.reserve(3);
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        auto made = buffer::create(vfio::bar_exporter(device.slice(0, page)));
        if (!made) {
          continue;  // In the middle of a revocation.
        }
        test_importer by(space);
        importer link;
        if (!link.attach(*made, by)) {
          continue;
        }
        mapping<test_importer> mapped;
        {
          auto held = (*made)->lock();
          auto armed = link.arm(*held);
          if (auto done = armed ? (*armed)->map(*held, direction::bidirectional)
                                : result<mapping<test_importer>>(fail(armed.error()))) {
            mapped = std::move(*done);
            ++mapped_in_time;
          }
        }
        static_cast<void>((*made)->restore());
      }
    });
  }
  threads.emplace_back([&] {
    while (!stop) {
      if (auto made = buffer::create(vfio::bar_exporter(device.slice(0, page)))) {
        static_cast<void>(mmio_access<access::read>::begin(**made));
      }
    }
  });
  for (const auto until = deadline::in(300ms); !until.passed();) {
    device.reset();
    std::this_thread::yield();
  }
  stop = true;
  for (std::thread& each : threads) {
    each.join();
  }
  CHECK(mapped_in_time > 0);
  CHECK(space.kernel.mapped == 0);
  CHECK(space.mapping_count() == 0);
}
