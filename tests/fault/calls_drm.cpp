// SPDX-License-Identifier: BSL-1.0
// As calls.cpp: DRM nodes that are none.
#include <paddock/drm/device.hpp>

#include "catch.hpp"
#include "fault_runs.hpp"

using namespace paddock;

TEST_CASE("faults: a file that is no DRM node, and a driver that is not there") {
  test::fail_each_call({.name = "no DRM node",
                        .run = []() -> result<void> {
                          const auto opened = drm::device::open("/dev/null");
                          REQUIRE_FALSE(opened);
                          if (opened.error() != errc::bad_fd) {
                            return fail(opened.error());
                          }
                          const auto missing = drm::device::open_driver("no such driver", drm::node_type::render);
                          REQUIRE_FALSE(missing);
                          return missing.error() == errc::not_found ? result<void>() : fail(missing.error());
                        },
                        .least = 10});
}
