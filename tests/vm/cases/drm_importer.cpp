// SPDX-License-Identifier: BSL-1.0
// Buffers of the model, attached to DRM devices.
#include <paddock/drm/importer.hpp>

#include <cstring>
#include <string>
#include <utility>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/describe.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/drm/dumb_buffer.hpp>
#include <paddock/kernel/fd_exporter.hpp>
#include <paddock/kernel/heap_exporter.hpp>
#include <paddock/kernel/p2pmem_exporter.hpp>
#include <paddock/kernel/udmabuf_exporter.hpp>
#include <paddock/vfio/bar_export.hpp>
#include <paddock/vfio/bar_exporter.hpp>
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/device.hpp>
#include <paddock/vfio/iommufd.hpp>

#include "drm_support.hpp"
#include "guest.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::drm {

namespace {

constexpr std::uint64_t page = 4096;

template <class T>
T unwrap(result<T> made) {
  REQUIRE(made);
  return std::move(*made);
}

/// Attaches, and checks that the device has this buffer, with its bytes, for as long as it is mapped.
template <class Residency = pinned, class Exporter>
void import_by_drm(Exporter from) {
  using buffer = dma_buf<Exporter>;
  const buffer_id id = from.id();
  const auto shared = unwrap(buffer::create(std::move(from)));
  importer vgem(open_vgem());
  attachment<buffer, importer, Residency> link;
  REQUIRE(link.attach(shared, vgem));
  {
    auto write = unwrap(cpu_access<access::write>::begin(*shared));
    std::memset(write.bytes().data(), 0x3c, write.bytes().size());
    REQUIRE(write.finish());
  }
  {
    auto mapped = unwrap(link.map(direction::bidirectional));
    auto again = unwrap(link.map(direction::to_device));
    CHECK(mapped.mapped().handle() == again.mapped().handle());
    CHECK(unwrap(shared->exporter().buffer().info()).references > 1);
    const auto seen = unwrap(mapped.mapped().export_(access::read_write));
    CHECK(seen.id() == id);
    auto bytes = unwrap(seen.map(access::read));
    const auto read = unwrap(cpu_access<access::read>::begin(bytes));
    CHECK(std::ranges::all_of(read.bytes(), [](std::byte b) { return b == std::byte{0x3c}; }));
    const auto held = unwrap(shared->lock());
    const std::string text = unwrap(describe(*shared, held));
    INFO(text);
    CHECK(text.find("\n    vgem, ") != std::string::npos);
    CHECK(text.find("inode " + std::to_string(id.inode)) != std::string::npos);
  }
}

}  // namespace

TEST_CASE("drm importer: buffers of heaps, of memory and of other drivers become GEM handles") {
  import_by_drm(
      unwrap(kernel::heap_exporter::create(unwrap(kernel::dma_heap::open("system")), 2 * page, "drm importer")));
  import_by_drm(unwrap(kernel::udmabuf_exporter::create(unwrap(kernel::udmabuf_device::open()), 2 * page)));
  const auto picture = unwrap(dumb_buffer::create(open_vgem(), 64, 32, 32));
  import_by_drm<kernel_managed>(unwrap(kernel::fd_exporter::import_(unwrap(picture.gem().export_()))));
}

TEST_CASE("drm importer: what is unmapped is not the device's any more") {
  using buffer = dma_buf<kernel::udmabuf_exporter>;
  const auto shared =
      unwrap(buffer::create(unwrap(kernel::udmabuf_exporter::create(unwrap(kernel::udmabuf_device::open()), page))));
  const auto references = [&] { return unwrap(shared->exporter().buffer().info()).references; };
  importer vgem(open_vgem());
  attachment<buffer, importer> link;
  REQUIRE(link.attach(shared, vgem));
  const auto alone = references();
  auto mapped = unwrap(link.map(direction::bidirectional));
  CHECK(references() > alone);
  const auto unmapped = link.unmap(std::move(mapped));
  CHECK(unmapped);
  CHECK(references() == alone);
}

TEST_CASE("drm importer: storage that is no dma-buf, and a device that is lost, are errors that say so") {
  const auto memory = unwrap(dma_buf<memory_exporter>::create(memory_exporter(page)));
  importer vgem(open_vgem());
  {
    attachment<dma_buf<memory_exporter>, importer> link;
    REQUIRE(link.attach(memory, vgem));
    CHECK(code_of(link.map(direction::bidirectional)) == errc::unsupported_by_kernel);
  }
  using buffer = dma_buf<kernel::udmabuf_exporter>;
  const auto shared =
      unwrap(buffer::create(unwrap(kernel::udmabuf_exporter::create(unwrap(kernel::udmabuf_device::open()), page))));
  attachment<buffer, importer> link;
  REQUIRE(link.attach(shared, vgem));
  vgem.device().mark_lost();
  CHECK(code_of(link.map(direction::bidirectional)) == errc::no_device);
}

TEST_CASE("drm importer: a slice of a BAR is for importers that the kernel can tell, which vgem is not") {
  const auto space = unwrap(vfio::container::create());
  auto drive = unwrap(vfio::device::open(space, paddock::test::role("NVME_A")));
  importer vgem(open_vgem());
  using slices = dma_buf<vfio::bar_exporter>;
  const auto memory = unwrap(drive.map_bar(bar_index(2)));
  const auto slice = unwrap(slices::create(vfio::bar_exporter(unwrap(memory.slice(0, page)))));
  attachment<slices, importer, revocable> of_slice;
  REQUIRE(of_slice.attach(slice, vgem));
  {
    const auto held = unwrap(slice->lock());
    auto* const armed = unwrap(of_slice.arm(held, [](auto&, const resv_lock&) noexcept {}));
    CHECK(code_of(armed->map(held, direction::bidirectional)) == errc::unsupported_by_kernel);
  }
  if (const auto given = vfio::probe_bar_export(drive); !given.is_yes()) {
    test::skip(fmt::format("this kernel does not export BARs as dma-bufs: {}", given.reason).c_str());
  }
  using buffer = dma_buf<kernel::fd_exporter>;
  const auto shared = unwrap(buffer::create(
      unwrap(kernel::fd_exporter::import_(unwrap(vfio::export_bar(drive, unwrap(memory.slice(0, page))))))));
  attachment<buffer, importer, kernel_managed> of_fd;
  REQUIRE(of_fd.attach(shared, vgem));
  CHECK(code_of(of_fd.map(direction::bidirectional)) == errc::unsupported_by_device);
}

TEST_CASE("drm importer: memory that a drive's controller lends is no dma-buf, so no DRM device takes it") {
  struct lent {
    pci::address drive = test::role("NVME_FAR");
    lent() { test::bind(drive, "nvme"); }
    ~lent() { test::bind(drive, "vfio-pci"); }
  } const drive;
  if (const auto lends = kernel::p2pmem::statistics(drive.drive); !lends) {
    test::bind(drive.drive, "vfio-pci");  // Skipping ends the process.
    test::skip(fmt::format("this kernel's nvme driver lends no memory: {}", lends.error()).c_str());
  }
  using buffer = dma_buf<kernel::p2pmem_exporter>;
  const auto shared = unwrap(buffer::create(unwrap(kernel::p2pmem_exporter::create(drive.drive, page))));
  importer vgem(open_vgem());
  attachment<buffer, importer, kernel_managed> link;
  REQUIRE(link.attach(shared, vgem));
  CHECK(code_of(link.map(direction::bidirectional)) == errc::unsupported_by_kernel);
}

namespace {

/// What an address space says to a buffer of vgem's: by its descriptor, and by where the CPU has it.
std::pair<errc, errc> refusals_of_vgem(vfio::ioas space) {
  const auto picture = unwrap(dumb_buffer::create(open_vgem(), 64, 32, 32));
  const auto given = unwrap(picture.gem().export_());
  const auto bytes = unwrap(given.map(access::read_write));
  const auto drive = unwrap(vfio::device::open(space, test::role("NVME_A")));
  const segment by_fd{.kind = storage_kind::memory, .file = given.fd(), .length = page};
  return {code_of(space.map(unwrap(make_storage(0, by_fd)))),
          code_of(space.map({bytes.unsynchronized_bytes().data(), page}))};
}

}  // namespace

TEST_CASE("drm importer: another driver's buffer is not for a container, which maps pages that it can pin") {
  const auto [fd, address] = refusals_of_vgem(unwrap(vfio::container::create()));
  CHECK(fd == errc::not_mappable);
  CHECK(address == errc::bad_address);
}

TEST_CASE("drm importer: another driver's buffer is not for an iommufd, which maps dma-bufs of VFIO alone") {
  const auto space = vfio::iommufd::create();
  if (!space) {
    CHECK(space.error() == errc::unsupported_by_kernel);
    test::skip("this kernel has no iommufd");
  }
  const auto [fd, address] = refusals_of_vgem(*space);
  CHECK(fd == errc::unsupported_by_kernel);
  CHECK(address == errc::bad_address);
}

}  // namespace paddock::drm
