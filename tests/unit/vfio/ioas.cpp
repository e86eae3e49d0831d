// SPDX-License-Identifier: BSL-1.0
// The bookkeeping of an address space over a recording kernel.
#include <paddock/vfio/ioas.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <vector>

#include "address_spaces.hpp"
#include "catch.hpp"

using namespace paddock;
using namespace paddock::test;

namespace {

alignas(4096) std::array<std::byte, std::size_t{8} * 4096> memory;

std::span<std::byte> pages(std::size_t first, std::size_t count) {
  return std::span(memory).subspan(first * 4096, count * 4096);
}

int lost = 0;

}  // namespace

TEST_CASE("a mapping is undone when its holder goes, or says so") {
  test_space space;
  {
    auto mapping = space.map(pages(0, 2));
    REQUIRE(mapping);
    CHECK(mapping->size() == 8192);
    CHECK(mapping->iova(4096) == mapping->iova() + 4096);
    CHECK(space.find(mapping->iova(8191)));
    CHECK_FALSE(space.find(mapping->iova() + 8192));
    CHECK(space.kernel.mapped == 1);
  }
  CHECK(space.kernel.mapped == 0);
  CHECK(space.mapping_count() == 0);
  auto mapping = space.map(pages(0, 1));
  CHECK(mapping->unmap());
  CHECK(space.kernel.mapped == 0);
  CHECK_FALSE(mapping->valid());
  CHECK(mapping->unmap());
}

TEST_CASE("the last holder unmaps") {
  test_space space;
  auto first = space.map(pages(0, 1));
  auto second = first->share();
  CHECK(first->unmap());
  CHECK(space.kernel.mapped == 1);
  CHECK(second.unmap());
  CHECK(space.kernel.mapped == 0);
}

TEST_CASE("a mapping that the kernel refuses leaves nothing behind") {
  test_space space;
  space.kernel.refuse_map = errc::limit_reached;
  CHECK(space.map(pages(0, 1)).error() == errc::limit_reached);
  CHECK(space.map(pages(0, 1), {.at = iova(0x10000)}).error() == errc::limit_reached);
  CHECK(space.mapping_count() == 0);
  space.kernel.refuse_map = {};
  CHECK(space.map(pages(0, 1), {.at = iova(0x10000)}));
}

TEST_CASE("an unmap that fails is told, or reported when nobody asks, and its addresses are never used again") {
  test_space space;
  space.kernel.refuse_unmap = errc::invalid_argument;
  auto told = space.map(pages(0, 1));
  const iova still_reachable = told->iova();
  CHECK(told->unmap().error() == errc::invalid_argument);
  CHECK(space.map(pages(0, 1), {.at = still_reachable}).error() == errc::already_exists);
  set_lost_error_handler([](const error&) noexcept { ++lost; });
  { const auto dropped = space.map(pages(0, 1)); }
  set_lost_error_handler(nullptr);
  CHECK(lost == 1);
}

TEST_CASE("a slice is mapped once for all who ask alike") {
  test_space space;
  const fake_device device;
  auto first = space.map(device.slice(0, 4096));
  auto second = space.map(device.slice(0, 4096));
  REQUIRE(first);
  CHECK(first->storage() == storage_kind::device_memory);
  CHECK(first->iova() == second->iova());
  CHECK(space.kernel.maps == 1);
  auto elsewhere = space.map(device.slice(0, 4096), {.at = iova(0x80000)});
  CHECK(elsewhere->iova() == iova(0x80000));
  CHECK(space.map(device.slice(std::uint64_t{6} * 4096, 4096)).error() == errc::not_mappable);
  // What nobody has is forgotten, and nothing else.
  CHECK(first->unmap());
  CHECK(second->unmap());
  CHECK(space.kernel.slices.size() == 1);
  CHECK(elsewhere->unmap());
  CHECK(space.kernel.slices.empty());
}

TEST_CASE("revocation unmaps before it returns, and keeps the address until the holder goes") {
  test_space space;
  const fake_device device;
  auto mapping = space.map(device.slice(0, 4096));
  const iova stale = mapping->iova();
  device.state->listeners->revoke(vfio::revoke_reason::reset);
  CHECK(space.kernel.mapped == 0);
  CHECK(mapping->status() == vfio::mapping_status::revoked);
  CHECK_FALSE(space.find(stale));
  CHECK(space.mapping_count() == 0);
  auto fresh = space.map(device.slice(0, 4096));
  REQUIRE(fresh);
  CHECK(fresh->iova() != stale);
  CHECK(mapping->unmap());
  CHECK(space.kernel.mapped == 1);
}

TEST_CASE("two devices whose drivers hold mappings of each other's BARs can be revoked at once") {
  struct dropping final : vfio::revocable {
    void on_revoke(vfio::revoke_reason) noexcept override {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // So that the other one is in the middle too.
      peer.reset();
    }
    std::optional<vfio::dma_mapping> peer;
  };
  test_space space;
  const fake_device a;
  const fake_device b;
  dropping driver_of_a;
  dropping driver_of_b;
  driver_of_a.peer = std::move(*space.map(b.slice(0, 4096)));
  driver_of_b.peer = std::move(*space.map(a.slice(4096, 4096)));
  REQUIRE(a.state->listeners->join_first(driver_of_a));
  REQUIRE(b.state->listeners->join_first(driver_of_b));
  const auto revoke = [](const fake_device& device) {
    const auto storage = device.state->listeners->lock();
    device.state->listeners->revoke(vfio::revoke_reason::removed);
  };
  std::thread other([&] { revoke(b); });
  revoke(a);
  other.join();
  CHECK(space.kernel.mapped == 0);
}

TEST_CASE("a listener may join again while it is told, for the next time") {
  struct rejoining final : vfio::revocable {
    explicit rejoining(vfio::revocation_list& to) : list(to) {}
    void on_revoke(vfio::revoke_reason) noexcept override {
      ++told;
      joined = list.join(*this).has_value();
    }
    vfio::revocation_list& list;
    int told{0};
    bool joined{false};
  };
  vfio::revocation_list list;
  rejoining driver(list);
  REQUIRE(list.join(driver));
  list.revoke(vfio::revoke_reason::reset);
  CHECK(driver.told == 1);
  CHECK(driver.joined);
  list.revoke(vfio::revoke_reason::reset);
  CHECK(driver.told == 2);
  list.close();
  list.leave(driver);
  CHECK(list.join(driver).error() == errc::no_device);
}

TEST_CASE("a revocation inside a revocation tells all who are left before it returns") {
  struct nesting final : vfio::revocable {
    explicit nesting(fake_device& of) : device(of) {}
    void on_revoke(vfio::revoke_reason) noexcept override {
      device.state->listeners->revoke(vfio::revoke_reason::closed);
      mapped_after = space->kernel.mapped;
    }
    fake_device& device;
    test_space* space{nullptr};
    int mapped_after{-1};
  };
  test_space space;
  fake_device device;
  nesting driver(device);
  driver.space = &space;
  auto mapping = space.map(device.slice(0, 4096));
  REQUIRE(device.state->listeners->join_first(driver));
  const auto storage = device.state->listeners->lock();
  device.state->listeners->revoke(vfio::revoke_reason::reset);
  CHECK(driver.mapped_after == 0);
}

TEST_CASE("leaving waits for the listener that another thread is telling") {
  struct slow final : vfio::revocable {
    void on_revoke(vfio::revoke_reason) noexcept override {
      begun = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      ended = true;
    }
    std::atomic<bool> begun{false};
    std::atomic<bool> ended{false};
  };
  vfio::revocation_list list;
  slow listener;
  REQUIRE(list.join(listener));
  std::thread teller([&] { list.revoke(vfio::revoke_reason::removed); });
  while (!listener.begun) {
    std::this_thread::yield();
  }
  list.leave(listener);
  CHECK(listener.ended);
  teller.join();
}

TEST_CASE("a poisoned window reads ones, swallows writes, and comes back") {
  const fake_device device;
  auto* word = reinterpret_cast<volatile std::uint32_t*>(device.window->base() + 4096);
  *word = 42;
  REQUIRE(device.window->poison());
  CHECK(*word == 0xffffffff);
  *word = 7;
  test_space space;
  CHECK(space.map(device.slice(0, 4096)).error() == errc::revoked);
  REQUIRE(device.window->restore(device.file));
  CHECK(*word == 42);
  CHECK(space.map(device.slice(0, 4096)));
}

TEST_CASE("a listener may drop another one while it is told") {
  struct dropping final : vfio::revocable {
    void on_revoke(vfio::revoke_reason) noexcept override { victim.reset(); }
    std::optional<vfio::dma_mapping> victim;
  };
  test_space space;
  const fake_device device;
  dropping driver;
  auto mapping = space.map(device.slice(0, 4096));
  REQUIRE(mapping);
  driver.victim = std::move(*mapping);
  REQUIRE(device.state->listeners->join_first(driver));
  device.state->listeners->revoke(vfio::revoke_reason::removed);
  CHECK_FALSE(driver.victim);
  CHECK(space.kernel.mapped == 0);
}

TEST_CASE("mapping, dropping, looking up and revoking from many threads") {
  test_space space;
  const fake_device device;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  threads.reserve(3);
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        auto mapping = space.map(device.slice(0, 4096));
        if (!mapping) {
          std::abort();
        }
        static_cast<void>(space.find(mapping->iova()));
      }
    });
  }
  threads.emplace_back([&] {
    while (!stop) {
      auto mapping = space.map(pages(0, 1));
      static_cast<void>(space.find(iova(4096)));
    }
  });
  for (int round = 0; round < 300; ++round) {
    device.state->listeners->revoke(vfio::revoke_reason::reset);
    std::this_thread::yield();
  }
  stop = true;
  for (std::thread& each : threads) {
    each.join();
  }
  CHECK(space.kernel.mapped == 0);
  CHECK(space.mapping_count() == 0);
}
