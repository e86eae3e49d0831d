// SPDX-License-Identifier: BSL-1.0
// What can be said without a DRM device; the rest is in tests/vm/cases/drm_devices.cpp.
#include <paddock/drm/device.hpp>

#include "catch.hpp"

using namespace paddock;

TEST_CASE("what is no DRM node is refused, and closed") {
  const auto null = drm::device::open("/dev/null");
  REQUIRE_FALSE(null);
  CHECK(null.error() == errc::bad_fd);
  const auto missing = drm::device::open("/dev/dri/no such node");
  REQUIRE_FALSE(missing);
  CHECK(missing.error() == errc::not_found);
  const auto nothing = drm::device::adopt(unique_fd());
  REQUIRE_FALSE(nothing);
  CHECK(nothing.error() == errc::bad_fd);

  auto adopted = detail::open("/dev/null", O_RDONLY, "open");
  REQUIRE(adopted);
  const int number = adopted->get();
  const auto refused = drm::device::adopt(*std::move(adopted));
  CHECK_FALSE(refused);
  CHECK(::fcntl(number, F_GETFD) == -1);
}

TEST_CASE("a driver that is not here is not found") {
  const auto none = drm::device::open_driver("no such driver", drm::node_type::render);
  REQUIRE_FALSE(none);
}
