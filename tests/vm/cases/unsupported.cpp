// SPDX-License-Identifier: BSL-1.0
// On a kernel that lacks what most of the library is about (6.1): each call says so by a code of its own, each probe
// says no with the reason, and what the kernel has works all the same.
#include <paddock/drm/dumb_buffer.hpp>
#include <paddock/drm/probe.hpp>
#include <paddock/drm/syncobj.hpp>
#include <paddock/kernel/dma_heap_list.hpp>
#include <paddock/kernel/p2pmem.hpp>
#include <paddock/kernel/probe.hpp>
#include <paddock/vfio/bar_export.hpp>
#include <paddock/vfio/coherent_buffer.hpp>
#include <paddock/vfio/container.hpp>

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "edu.hpp"
#include "guest.hpp"

using namespace paddock;
using namespace paddock::test;

namespace {

drm::device open_vgem() { return unwrap(drm::device::open_driver("vgem", drm::node_type::primary)); }
drm::device open_gpu() { return unwrap(drm::device::open_driver("virtio_gpu", drm::node_type::render)); }

kernel::dma_buf_fd make_buffer() {
  return unwrap(unwrap(drm::dumb_buffer::create(open_vgem(), 64, 64, 32)).gem().export_());
}

void check_no(const kernel::probe_answer& given, std::initializer_list<errc> reasons) {
  CHECK(given.value == kernel::answer::no);
  UNSCOPED_INFO(fmt::format("{}", given.reason));
  CHECK(std::find(reasons.begin(), reasons.end(), given.reason.code) != reasons.end());
  CHECK(std::strlen(given.reason.where) > 0);
}

}  // namespace

TEST_CASE("unsupported: there are no heaps") {
  CHECK(code(kernel::list_dma_heaps()) == errc::unsupported_by_kernel);
  CHECK(code(kernel::dma_heap::open("system")) == errc::not_found);
  check_no(kernel::probe(kernel::feature::dma_heap), {errc::not_found});
}

TEST_CASE("unsupported: there is no udmabuf, and memfds are there") {
  CHECK(code(kernel::udmabuf_device::open()) == errc::unsupported_by_kernel);
  check_no(kernel::probe(kernel::feature::udmabuf), {errc::unsupported_by_kernel});
  CHECK(kernel::probe(kernel::feature::memfd_sealing).is_yes());
  CHECK(unwrap(kernel::memfd::create(4096)).size() == 4096);
}

TEST_CASE("unsupported: without a dma-buf to ask, what dma-bufs can is unknown, and with a driver's it is known") {
  const auto buffer = make_buffer();
  for (const kernel::feature each : {kernel::feature::dma_buf_sync, kernel::feature::dma_buf_name,
                                     kernel::feature::export_sync_file, kernel::feature::import_sync_file}) {
    INFO(name(each));
    const auto unasked = kernel::probe(each);
    CHECK(unasked.value == kernel::answer::unknown);
    CHECK(unasked.reason == errc::unsupported_by_kernel);
    CHECK(kernel::probe(each, buffer).is_yes());
  }
  CHECK(buffer.set_name("of a driver"));
  CHECK(unwrap(buffer.poll(access::write)) == wait_status::signaled);
}

TEST_CASE("unsupported: a sync_file takes no deadline, and can be waited for") {
  const auto buffer = make_buffer();
  const auto fences = unwrap(buffer.export_sync_file(access::write));
  CHECK(code(fences.set_deadline(deadline::in(std::chrono::seconds(1)))) == errc::unsupported_by_kernel);
  CHECK(unwrap(fences.wait(deadline::in(std::chrono::seconds(1)))) == wait_status::signaled);
  check_no(kernel::probe(kernel::feature::sync_file_deadline, buffer), {errc::unsupported_by_kernel});
}

TEST_CASE("unsupported: virtio-gpu has no syncobjs") {
  const auto gpu = open_gpu();
  CHECK(code(drm::syncobj::create(gpu)) == errc::unsupported_by_device);
  check_no(drm::probe(gpu, drm::feature::syncobj), {errc::unsupported_by_device});
  check_no(drm::probe(gpu, drm::feature::timeline_syncobj), {errc::unsupported_by_device});
}

TEST_CASE("unsupported: what syncobjs learned later is missing on every device") {
  for (const auto& device : {open_gpu(), open_vgem()}) {
    INFO(device.driver());
    for (const drm::feature each :
         {drm::feature::syncobj_eventfd, drm::feature::wait_with_deadline, drm::feature::sync_file_at_point}) {
      INFO(drm::name(each));
      check_no(drm::probe(device, each), {errc::unsupported_by_kernel, errc::unsupported_by_device});
    }
  }
}

TEST_CASE("unsupported: no BAR becomes a dma-buf, and a device reaches it by address") {
  auto space = unwrap(vfio::container::create());
  auto peer = unwrap(vfio::device::open(space, role("IVSHMEM")));
  check_no(vfio::probe_bar_export(peer), {errc::unsupported_by_kernel});
  CHECK(code(vfio::export_bar(peer, bar_index(2), 0, 4096)) == errc::unsupported_by_kernel);

  auto device = unwrap(vfio::device::open(space, role("EDU")));
  const edu engine(unwrap(device.map_bar(bar_index(0))));
  unwrap(device.set_bus_master(true));
  auto buffer = unwrap(vfio::coherent_buffer::create(space, 8192));
  std::memset(buffer.bytes().data(), 0x5a, edu::longest);
  REQUIRE(engine.read_from(buffer.iova(), edu::longest));
  REQUIRE(engine.write_to(buffer.iova(4096), edu::longest));
  CHECK(std::memcmp(buffer.bytes().data(), buffer.bytes().data() + 4096, edu::longest) == 0);
}

TEST_CASE("unsupported: no driver lends memory of a device") {
  const auto drive = role("NVME_A");
  bind(drive, "nvme");
  const auto lent = kernel::p2pmem::allocate(drive, 4096);
  const auto told = kernel::p2pmem::statistics(drive);
  bind(drive, "vfio-pci");
  CHECK(code(lent) == errc::not_found);
  CHECK(code(told) == errc::not_found);
}
