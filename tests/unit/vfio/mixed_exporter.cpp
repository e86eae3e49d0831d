// SPDX-License-Identifier: BSL-1.0
// Buffers that have parts in several devices' BARs, beside memory: what becomes of them when one of the devices takes
// its memory away.
#include <paddock/buffer/mixed_exporter.hpp>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/vfio/bar_exporter.hpp>
#include <paddock/vfio/pool_exporter.hpp>

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
using mixed = mixed_exporter<vfio::bar_exporter, memory_exporter, vfio::bar_exporter>;
using buffer = dma_buf<mixed>;
using importer = attachment<buffer, test_importer, revocable>;
static_assert(bound_exporter<mixed_exporter<memory_exporter, vfio::pool_exporter, vfio::bar_exporter>>);

buffer_ptr<buffer> make(const fake_device& first, const fake_device& last) {
  auto made = buffer::create(mixed(vfio::bar_exporter(first.slice(page, page)), memory_exporter(page),
                                   vfio::bar_exporter(last.slice(0, 2 * page))));
  REQUIRE(made);
  return *made;
}

struct two_devices {
  fake_device first{{0, 1, 0, 0}};
  fake_device last{{0, 2, 0, 0}};
};

}  // namespace

TEST_CASE("a mixed buffer in BARs: a reset of either device revokes all of it, and each time the importer is told") {
  const two_devices devices;
  test_space space;
  test_importer by(space);
  const auto made = make(devices.first, devices.last);
  CHECK(made->size() == 4 * page);
  for (int round = 0; round < 3; ++round) {
    for (const fake_device* taken : {&devices.first, &devices.last}) {
      importer link;
      REQUIRE(link.attach(made, by));
      struct {
        int told{0};
        int mapped{0};
      } seen;
      mapping<test_importer> mapped;
      {
        const resv_lock held = *made->lock();
        auto armed = link.arm(held, [&seen, &space](importer&, const resv_lock&) noexcept {
          ++seen.told;
          seen.mapped = space.kernel.mapped;
        });
        REQUIRE(armed);
        auto m = (*armed)->map(held, direction::bidirectional);
        REQUIRE(m);
        mapped = std::move(*m);
      }
      CHECK(space.kernel.mapped == 3);
      taken->reset();
      CHECK(seen.told == 1);
      CHECK(seen.mapped == 3);
      CHECK(space.kernel.mapped == 0);
      CHECK(mapped.status() == mapping_status::revoked);
      CHECK(made->status() == buffer_status::revoked);
      REQUIRE(made->restore());
    }
  }
}

TEST_CASE("a mixed buffer in BARs does not come back before all its parts answer") {
  const two_devices devices;
  const auto made = make(devices.first, devices.last);
  devices.last.memory_off();
  devices.first.memory_off();
  CHECK(made->restore().error() == errc::revoked);
  devices.first.memory_on();
  CHECK(made->restore().error() == errc::revoked);
  CHECK(made->status() == buffer_status::revoked);
  devices.last.memory_on();
  CHECK(made->restore());
  CHECK(made->status() == buffer_status::live);
  devices.first.memory_off();
  CHECK(made->restore().error() == errc::revoked);
  CHECK(buffer::create(mixed(vfio::bar_exporter(devices.last.slice(0, page)), memory_exporter(page),
                             vfio::bar_exporter(devices.first.slice(0, page))))
            .error() == errc::revoked);
}

TEST_CASE("a mixed buffer in BARs is dead once one of its devices is closed, also while it is revoked") {
  for (const bool was_revoked : {false, true}) {
    const two_devices devices;
    const auto made = make(devices.first, devices.last);
    if (was_revoked) {
      devices.first.reset();
    }
    devices.last.close();
    CHECK(made->status() == buffer_status::dead);
    CHECK(made->restore().error() == errc::no_device);
    devices.first.reset();
    CHECK(made->status() == buffer_status::dead);
  }
}

TEST_CASE("a mixed buffer in BARs may have several parts of one device") {
  const fake_device device;
  const auto made = make(device, device);
  device.reset();
  CHECK(made->status() == buffer_status::revoked);
  CHECK(made->restore());
  device.close();
  CHECK(made->status() == buffer_status::dead);
}

TEST_CASE("a mixed buffer in BARs that is gone is told by none of its devices") {
  const two_devices devices;
  make(devices.first, devices.last).reset();
  devices.first.reset();
  devices.last.close();
}

TEST_CASE("restore() of a mixed buffer waits for a part that is being taken away, and keeps no other device waiting") {
  struct slow final : vfio::revocable {
    void on_revoke(vfio::revoke_reason) noexcept override {
      inside = true;
      while (!released) {
        std::this_thread::yield();
      }
    }
    std::atomic<bool> inside{false};
    std::atomic<bool> released{false};
  };
  const two_devices devices;
  const auto made = make(devices.first, devices.last);
  devices.first.reset();
  for (const fake_device* taken : {&devices.last, &devices.first}) {
    slow listener;
    REQUIRE(taken->state->listeners->join(listener));
    std::thread revoker([&] { taken->reset(); });
    REQUIRE(eventually([&] { return listener.inside.load(); }));
    std::atomic<bool> restored{false};
    result<void> answer;
    std::thread restorer([&] {
      answer = made->restore();
      restored = true;
    });
    const fake_device& other = taken == &devices.first ? devices.last : devices.first;
    // Long enough for it to wait for the one that is not there. It may look at the other one now and then.
    std::this_thread::sleep_for(20ms);
    CHECK(eventually([&] { return other.state->listeners->try_lock().owns_lock(); }));
    CHECK_FALSE(restored);
    listener.released = true;
    revoker.join();
    restorer.join();
    CHECK(answer);
    CHECK(made->status() == buffer_status::live);
    devices.first.reset();
  }
}

TEST_CASE("mixed buffers in BARs of two devices, in opposite orders, and resets of both, in many threads") {
  const two_devices devices;
  test_space space;
  const auto forth = make(devices.first, devices.last);
  const auto back = make(devices.last, devices.first);
  std::atomic<bool> stops{false};
  std::atomic<int> mapped{0};
  std::vector<std::thread> threads;
  const auto use = [&](const buffer_ptr<buffer>& shared) {
    test_importer by(space);
    while (!stops) {
      static_cast<void>(shared->restore());
      importer link;
      if (link.attach(shared, by)) {
        const resv_lock held = *shared->lock();
        if (auto armed = link.arm(held)) {
          mapped += (*armed)->map(held, direction::bidirectional).has_value() ? 1 : 0;
        }
      }
    }
  };
  threads.emplace_back([&] { use(forth); });
  threads.emplace_back([&] { use(back); });
  threads.emplace_back([&] {
    while (!stops) {
      devices.first.reset();
    }
  });
  for (int i = 0; i < 300 || mapped < 20; ++i) {
    devices.last.reset();
    std::this_thread::yield();
  }
  stops = true;
  for (std::thread& each : threads) {
    each.join();
  }
  CHECK(space.kernel.mapped == 0);
  for (const auto& each : {forth, back}) {
    CHECK(each->restore());
    CHECK(each->status() == buffer_status::live);
  }
}
