// SPDX-License-Identifier: BSL-1.0
// A device that does not reach the bytes, which cannot move, works on a copy; alone, and counted.
#include <chrono>
#include <cstddef>
#include <thread>
#include <utility>

#include <paddock/buffer/attachment.hpp>
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

using bar_buffer = dma_buf<revoking_test_exporter>;

template <class... Policies>
struct importer {
  using at_type = attachment<bar_buffer, test_device, revocable, Policies...>;
  importer(const buffer_ptr<bar_buffer>& buffer, bool reaches) {
    dev.reaches_bars = reaches;
    REQUIRE(at.attach(buffer, dev));
    const auto held = buffer->lock();
    armed = *at.arm(*held, [](at_type&, const resv_lock&) noexcept {});
  }
  test_device dev;
  at_type at;
  typename at_type::armed_type* armed{nullptr};
};

void write_by_cpu(const buffer_ptr<bar_buffer>& buffer, std::size_t offset, std::uint8_t value) {
  auto opened = mmio_access<access::write>::begin(*buffer);
  REQUIRE(opened);
  opened->window().write8(offset, value);
}
[[nodiscard]] int read_by_cpu(const buffer_ptr<bar_buffer>& buffer, std::size_t offset) {
  auto opened = mmio_access<access::read>::begin(*buffer);
  return opened ? opened->window().read8(offset) : -1;
}

TEST_CASE("bounce: the device gets a copy, and what it wrote there comes back at unmap") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<> far(buffer, false);
  write_by_cpu(buffer, 1, 11);
  {
    const auto held = buffer->lock();
    auto m = far.armed->map(*held, direction::bidirectional);
    REQUIRE(m);
    CHECK(device_bytes(*m) != (*buffer->storage(*held))->segments().front().address);
    CHECK(device_bytes(*m)[1] == std::byte{11});
    device_bytes(*m)[2] = std::byte{22};
    CHECK(far.armed->unmap(*held, std::move(*m)));
  }
  CHECK(read_by_cpu(buffer, 1) == 11);
  CHECK(read_by_cpu(buffer, 2) == 22);
  CHECK(buffer->statistics().of(count::bounces) == 1);
  CHECK(buffer->statistics().of(count::bounce_copies) == 2);
  CHECK(buffer->statistics().routes().of(fallback::not_supported) >= 1);
}

TEST_CASE("bounce: copies go the way of the direction") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<> far(buffer, false);
  write_by_cpu(buffer, 0, 1);
  write_by_cpu(buffer, 1, 2);
  const auto held = buffer->lock();
  {
    auto m = far.armed->map(*held, direction::to_device);
    REQUIRE(m);
    CHECK(device_bytes(*m)[0] == std::byte{1});
    device_bytes(*m)[0] = std::byte{99};  // What a reader scribbles does not come back.
    CHECK(far.armed->unmap(*held, std::move(*m)));
  }
  CHECK(buffer->statistics().of(count::bounce_copies) == 1);
  {
    auto m = far.armed->map(*held, direction::from_device);
    REQUIRE(m);
    CHECK(buffer->statistics().of(count::bounce_copies) == 2);
    device_bytes(*m)[0] = std::byte{3};
    CHECK(far.armed->unmap(*held, std::move(*m)));
  }
  const std::byte* const bytes = (*buffer->storage(*held))->segments().front().address;
  CHECK(bytes[0] == std::byte{3});
  CHECK(bytes[1] == std::byte{2});  // What the device left out is as it was.
  CHECK(buffer->statistics().of(count::bounce_copies) == 3);
}

TEST_CASE("bounce: a mapping that stays is copied when it is asked for") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<> far(buffer, false);
  const auto held = buffer->lock();
  auto m = far.armed->map(*held, direction::bidirectional);
  REQUIRE(m);
  std::byte* const real = (*buffer->storage(*held))->segments().front().address;
  real[0] = std::byte{5};
  CHECK(far.at.sync_for_device(*held, *m, direction::to_device));
  CHECK(device_bytes(*m)[0] == std::byte{5});
  device_bytes(*m)[0] = std::byte{6};
  CHECK(far.at.sync_for_cpu(*held, *m, direction::from_device));
  CHECK(real[0] == std::byte{6});
}

TEST_CASE("bounce: while a copy is out, nobody else touches the bytes") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<> far(buffer, false);
  importer<> near(buffer, true);
  const auto held = buffer->lock();
  {
    const auto other = near.armed->map(*held, direction::to_device);
    REQUIRE(other);
    CHECK(code_of(far.armed->map(*held, direction::bidirectional)) == errc::busy);
    CHECK(buffer->reservation().run_left_work(*held));
  }
  CHECK(buffer->reservation().run_left_work(*held));
  auto copy = far.armed->map(*held, direction::bidirectional);
  REQUIRE(copy);
  CHECK(code_of(near.armed->map(*held, direction::to_device)) == errc::busy);
  CHECK(code_of(mmio_access<access::read>::begin(*held, *buffer)) == errc::busy);
  CHECK(far.armed->unmap(*held, std::move(*copy)));
  CHECK(near.armed->map(*held, direction::to_device));
  CHECK(mmio_access<access::read>::begin(*held, *buffer));
}

TEST_CASE("bounce: a pinned importer is alone with the buffer from attach on, or not at all") {
  const auto buffer = make_buffer(archetype_exporter());
  // Memory that this device does not reach, since it only reaches BARs.
  struct far_device : test_device {
    [[nodiscard]] route_choice reach(const segment&, direction) const noexcept {
      return {false, fallback::not_supported, nullptr};
    }
  };
  far_device far;
  test_device near;
  attachment<dma_buf<archetype_exporter>, far_device> copies;
  attachment<dma_buf<archetype_exporter>, test_device> direct;
  REQUIRE(direct.attach(buffer, near));
  CHECK(code_of(copies.attach(buffer, far)) == errc::busy);  // It could map at any time, without the lock.
  REQUIRE(direct.detach());
  REQUIRE(copies.attach(buffer, far));
  CHECK(code_of(direct.attach(buffer, near)) == errc::busy);
  auto m = copies.map(direction::bidirectional);
  REQUIRE(m);
  CHECK(code_of(copies.map(direction::bidirectional)) == errc::busy);
  CHECK(copies.unmap(std::move(*m)));
  REQUIRE(copies.detach());
  CHECK(direct.attach(buffer, near));
}

TEST_CASE("bounce: a copy is made after the writers, whatever the fencing policy") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<no_auto_fence> far(buffer, false);
  const fence_ptr writer = make_fence();
  auto held = buffer->lock();
  REQUIRE(buffer->reservation().reserve(*held, 1));
  REQUIRE(buffer->commit(*held, writer, access::write));
  std::byte* const bytes = (*buffer->storage(*held))->segments().front().address;
  std::thread hardware([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    bytes[0] = std::byte{9};
    writer->signal();
  });
  const auto m = far.armed->map(*held, direction::bidirectional);
  hardware.join();
  REQUIRE(m);
  CHECK(device_bytes(*m)[0] == std::byte{9});
}

TEST_CASE("bounce: a second copy is refused, and leaves the first one alone") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<> far(buffer, false);
  importer<> near(buffer, true);
  const auto held = buffer->lock();
  const auto copy = far.armed->map(*held, direction::bidirectional);
  REQUIRE(copy);
  CHECK(code_of(far.armed->map(*held, direction::bidirectional)) == errc::busy);
  CHECK(code_of(near.armed->map(*held, direction::to_device)) == errc::busy);
}

TEST_CASE("bounce: an access by CPU that is open forbids a copy") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<> far(buffer, false);
  const auto opened = mmio_access<access::write>::begin(*buffer);
  REQUIRE(opened);
  const auto held = buffer->lock();
  CHECK(code_of(far.armed->map(*held, direction::bidirectional)) == errc::busy);
}

TEST_CASE("bounce: a device that cannot map leaves no copy behind") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<> far(buffer, false);
  far.dev.refuse_map = true;
  const auto held = buffer->lock();
  CHECK(code_of(far.armed->map(*held, direction::bidirectional)) == errc::limit_reached);
  far.dev.refuse_map = false;
  CHECK(far.armed->map(*held, direction::bidirectional));
}

TEST_CASE(
    "bounce: where another importer holds the buffer to its place, it is not moved, and not while the copy is out") {
  exporter_log log;
  const auto buffer = make_buffer(placing_test_exporter(log));
  using moving_buffer = dma_buf<placing_test_exporter>;
  test_device near;
  test_device far;
  far.reaches_bars = false;
  attachment<moving_buffer, test_device, movable, p2p_only> stays;
  attachment<moving_buffer, test_device, movable> gives_in;
  REQUIRE(stays.attach(buffer, near));
  REQUIRE(gives_in.attach(buffer, far));
  const auto held = buffer->lock();
  const auto hook = [](auto&, const resv_lock&) noexcept {};
  REQUIRE(stays.arm(*held, hook));
  auto m = (*gives_in.arm(*held, hook))->map(*held, direction::bidirectional);
  REQUIRE(m);
  CHECK(*buffer->where(*held) == 0);
  CHECK(buffer->statistics().of(count::moves) == 0);
  CHECK(buffer->statistics().of(count::bounces) == 1);
  CHECK(code_of(buffer->move(*held, 1, deadline::now())) == errc::busy);
  *m = {};
  CHECK(buffer->reservation().run_left_work(*held));
  CHECK(buffer->move(*held, 1, deadline::now()));
  CHECK(stays.detach(*held));
  CHECK(gives_in.detach(*held));
}

TEST_CASE("bounce: registers are never copied, whatever the policy") {
  const auto buffer = make_buffer(revoking_test_exporter{storage_kind::registers});
  test_device dev;
  dev.reaches_bars = false;
  attachment<bar_buffer, test_device, revocable> at;
  REQUIRE(at.attach(buffer, dev));
  const auto held = buffer->lock();
  CHECK(code_of(at.arm(*held, [](auto&, const resv_lock&) noexcept {})) == errc::unreachable);
  dev.reaches_bars = true;
  const auto armed = at.arm(*held, [](auto&, const resv_lock&) noexcept {});
  REQUIRE(armed);
  CHECK((*armed)->map(*held, direction::from_device));
  CHECK(buffer->statistics().of(count::bounces) == 0);
}

TEST_CASE("bounce: a revocation in the middle takes the copy away, and what was in it") {
  const auto buffer = make_buffer(revoking_test_exporter());
  importer<> far(buffer, false);
  mapping<test_device> m;
  {
    const auto held = buffer->lock();
    m = *far.armed->map(*held, direction::bidirectional);
    device_bytes(m)[0] = std::byte{77};
  }
  REQUIRE(buffer->revoke(deadline::now()));
  CHECK(m.status() == mapping_status::revoked);
  CHECK(far.dev.unmaps == 1);
  REQUIRE(buffer->restore());
  CHECK(read_by_cpu(buffer, 0) == 0);  // And nobody is alone with the bytes any more.
}

}  // namespace
}  // namespace paddock
