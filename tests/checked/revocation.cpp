// SPDX-License-Identifier: BSL-1.0
// A device that is reset takes its buffers' reservations: who resets it holds none.
#include <paddock/vfio/revocation.hpp>

#include <paddock/buffer/dma_buf.hpp>
#include <paddock/vfio/bar_exporter.hpp>

#include "address_spaces.hpp"
#include "violations.hpp"

using namespace paddock;
using namespace paddock::test;

TEST_CASE("a device's memory is taken away under a reservation") {
  const violations found;
  const fake_device device;
  {
    const auto made = *dma_buf<vfio::bar_exporter>::create(vfio::bar_exporter(device.slice(0, 4096)));
    device.reset();
    CHECK(made->status() == buffer_status::revoked);
  }
  CHECK(found.take().empty());

  // From here on it is known that buffers are told, though there is none now.
  reservation r;
  const resv_lock held = *r.lock();
  device.reset();
  const auto wrong = found.take();
  REQUIRE(wrong.size() == 1);
  CHECK(wrong[0].broken == rule::lock_order);
  CHECK(wrong[0].text.find("a device's revocation is taken while a reservation is held") == 0);
  CHECK(dma_buf<vfio::bar_exporter>::create(vfio::bar_exporter(device.slice(0, 4096))));
  CHECK(found.take().size() == 1);
}

TEST_CASE("a device that revokes again while it revokes breaks no order") {
  struct nesting final : vfio::revocable {
    explicit nesting(const fake_device& of) : device(of) {}
    void on_revoke(vfio::revoke_reason) noexcept override { device.close(); }
    const fake_device& device;
  };
  const violations found;
  const fake_device device;
  nesting driver(device);
  const auto made = *dma_buf<vfio::bar_exporter>::create(vfio::bar_exporter(device.slice(0, 4096)));
  REQUIRE(device.state->listeners->join_first(driver));
  device.reset();
  CHECK(made->status() == buffer_status::dead);
  CHECK(found.take().empty());
}
