// SPDX-License-Identifier: BSL-1.0
#include <paddock/buffer/mapped_buffer.hpp>

#include <utility>

#include "buffers.hpp"
#include "catch.hpp"
#include "policies.hpp"

namespace paddock {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the tests are about these.
PADDOCK_TEST_POLICIES

struct yielding_device : test_device {
  static constexpr bool unmaps_on_revoke = true;
};

TEST_CASE("mapped_buffer: one call for storage that stays") {
  exporter_log log;
  const auto buffer = make_buffer(pinning_test_exporter(log));
  test_device dev;
  mapped_buffer<dma_buf<pinning_test_exporter>, test_device> use;
  REQUIRE(use.open(buffer, dev, direction::to_device));
  CHECK(use.status() == mapping_status::live);
  CHECK(use.iova(8) - use.iova() == 8);
  CHECK(code_of(use.open(buffer, dev)) == errc::already_exists);
  CHECK(use.status() == mapping_status::live);
  CHECK(use.close());
  CHECK(dev.unmaps == 1);
  CHECK(log.unpins == 1);
  CHECK(use.open(buffer, dev));
}

TEST_CASE("mapped_buffer: one call for storage that is taken back") {
  const auto buffer = make_buffer(revoking_test_exporter());
  yielding_device dev;
  mapped_buffer<dma_buf<revoking_test_exporter>, yielding_device, revocable> use;
  REQUIRE(use.open(buffer, dev));
  REQUIRE(buffer->revoke(deadline::now()));
  CHECK(use.status() == mapping_status::revoked);
  CHECK(dev.unmaps == 1);
  CHECK(use.close());
  REQUIRE(buffer->restore());
  CHECK(use.open(buffer, dev));
}

TEST_CASE("mapped_buffer: a map that fails leaves nothing attached") {
  const auto buffer = make_buffer(archetype_exporter());
  test_device dev;
  dev.refuse_map = true;
  mapped_buffer<dma_buf<archetype_exporter>, test_device> use;
  CHECK(code_of(use.open(buffer, dev)) == errc::limit_reached);
  CHECK(!use.attached().is_attached());
  dev.refuse_map = false;
  CHECK(use.open(buffer, dev));
}

}  // namespace
}  // namespace paddock
