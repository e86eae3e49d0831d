// SPDX-License-Identifier: BSL-1.0
// Buffers in pages of a pool: the pages are the buffer's as long as anything of it lives.
#include <paddock/vfio/pool_exporter.hpp>

#include <utility>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/dma_buf.hpp>

#include "address_spaces.hpp"
#include "catch.hpp"
#include "policies.hpp"

using namespace paddock;
using namespace paddock::test;

namespace {

PADDOCK_TEST_POLICIES
constexpr std::uint64_t page = 4096;
using buffer = dma_buf<vfio::pool_exporter>;

pci::pool make_pool(const fake_device& device) {
  return *pci::pool::create({device.state->address, bar_index(0), page, 4 * page});
}

}  // namespace

TEST_CASE("a buffer has pages of the pool until its last mapping is gone") {
  const fake_device device;
  test_space space;
  auto pool = make_pool(device);
  auto first = *buffer::create(*vfio::pool_exporter::create(pool, device.bar(), page));
  auto second = *buffer::create(*vfio::pool_exporter::create(pool, device.bar(), page + 1));
  CHECK(pool.available() == page);
  test_importer by(space);
  attachment<buffer, test_importer, chosen::revocable> link;
  REQUIRE(link.attach(second, by));
  mapping<test_importer> mapped;
  {
    const resv_lock held = *second->lock();
    mapped = std::move(*(*link.arm(held))->map(held, direction::bidirectional));
    CHECK(space.kernel.at(mapped.iova()).memory == device.window->base() + 2 * page);
    CHECK(space.kernel.at(mapped.iova()).size == 2 * page);
  }
  first.reset();
  second.reset();
  CHECK(pool.available() == 2 * page);
  { const auto gone = std::move(mapped); }
  CHECK(link.detach());
  CHECK(pool.available() == 4 * page);
}

TEST_CASE("pages of a revoked mapping are nobody else's until its handle goes, also when the buffer is gone") {
  const fake_device device;
  test_space space;
  auto pool = make_pool(device);
  auto made = *buffer::create(*vfio::pool_exporter::create(pool, device.bar(), page));
  test_importer by(space);
  attachment<buffer, test_importer, chosen::revocable> link;
  REQUIRE(link.attach(made, by));
  mapping<test_importer> mapped;
  {
    const resv_lock held = *made->lock();
    mapped = std::move(*(*link.arm(held))->map(held, direction::bidirectional));
  }
  device.reset();
  CHECK(link.detach());
  made.reset();
  CHECK(pool.available() == 3 * page);
  { const auto gone = std::move(mapped); }
  CHECK(pool.available() == 4 * page);
}

TEST_CASE("a pool's buffer is revoked with its device, and does not come back once the pool is revoked") {
  const fake_device device;
  auto pool = make_pool(device);
  const auto made = *buffer::create(*vfio::pool_exporter::create(pool, device.bar(), page));
  device.reset();
  CHECK(made->status() == buffer_status::revoked);
  CHECK(made->restore());
  auto late = *vfio::pool_exporter::create(pool, device.bar(), page);
  pool.revoke();
  const auto refused = buffer::create(std::move(late));
  CHECK(refused.error() == errc::revoked);
  device.reset();
  CHECK(made->restore().error() == errc::revoked);
  CHECK(vfio::pool_exporter::create(pool, device.bar(), page).error() == errc::revoked);
}

TEST_CASE("a pool's buffer that cannot be is refused, and its pages are free again") {
  const fake_device device;
  const fake_device other({0, 2, 0, 0});
  auto pool = make_pool(device);
  CHECK(vfio::pool_exporter::create(pool, other.bar(), page).error() == errc::invalid_argument);
  CHECK(vfio::pool_exporter::create(pool, device.bar(), 5 * page).error() == errc::limit_reached);
  CHECK(vfio::pool_exporter::create(pool, device.bar(), 0).error() == errc::invalid_argument);
  CHECK(pool.available() == 4 * page);
}
