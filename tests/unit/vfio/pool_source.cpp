// SPDX-License-Identifier: BSL-1.0
// Buffers that have a pool of BAR memory as one of their places.
#include <paddock/vfio/pool_source.hpp>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/placement.hpp>

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
using buffer = dma_buf<placement_exporter<vfio::pool_source, memory_source>>;

pci::pool make_pool(const fake_device& device) {
  return *pci::pool::create({device.state->address, bar_index(0), page, 4 * page});
}
result<buffer_ptr<buffer>> make(pci::pool& pool, const fake_device& device) {
  return buffer::create(placement_exporter(page, *vfio::pool_source::create(pool, device.bar()), memory_source()));
}
std::size_t place_of(const buffer_ptr<buffer>& of) {
  const resv_lock held = *of->lock();
  return *of->where(held);
}

}  // namespace

TEST_CASE("a buffer begins in a pool, and in memory when the pool is full or its device does not answer") {
  const fake_device device;
  auto pool = make_pool(device);
  const auto first = *make(pool, device);
  CHECK(place_of(first) == 0);
  CHECK(pool.available() == 3 * page);
  {
    const auto all = pool.allocate(3 * page);
    REQUIRE(all);
    CHECK(place_of(*make(pool, device)) == 1);
  }
  device.memory_off();
  CHECK(place_of(*make(pool, device)) == 1);
  device.memory_on();
  CHECK(place_of(*make(pool, device)) == 0);
  device.close();
  CHECK(place_of(*make(pool, device)) == 1);
}

TEST_CASE("a buffer that begins in a pool waits for its device while that is busy, instead of going elsewhere") {
  const fake_device device;
  auto pool = make_pool(device);
  std::atomic<bool> is_made{false};
  buffer_ptr<buffer> made;
  std::thread maker;
  {
    const auto busy = device.state->listeners->lock();
    maker = std::thread([&] {
      made = *make(pool, device);
      is_made = true;
    });
    std::this_thread::sleep_for(20ms);
    CHECK_FALSE(is_made);
  }
  maker.join();
  CHECK(place_of(made) == 0);
  // Who holds the reservation may not wait: the buffer stays where it is.
  {
    const resv_lock held = *made->lock();
    REQUIRE(made->move(held, 1, long_enough()));
    std::atomic<bool> locked{false};
    std::atomic<bool> done{false};
    std::thread other([&] {
      const auto busy = device.state->listeners->lock();
      locked = true;
      while (!done) {
        std::this_thread::yield();
      }
    });
    CHECK(eventually([&] { return locked.load(); }));
    CHECK(made->move(held, 0, long_enough()).error() == errc::busy);
    done = true;
    other.join();
    CHECK(made->move(held, 0, long_enough()));
  }
}
