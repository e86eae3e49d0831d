// SPDX-License-Identifier: BSL-1.0
// The exporters of kernel/, as far as a kernel without dma-bufs can show them; the rest is shown in the VM.
#include <unistd.h>

#include <concepts>
#include <filesystem>
#include <fstream>
#include <string>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/cpu_device.hpp>
#include <paddock/buffer/mmio_access.hpp>
#include <paddock/kernel/fd_exporter.hpp>
#include <paddock/kernel/heap_exporter.hpp>
#include <paddock/kernel/p2pmem_exporter.hpp>
#include <paddock/kernel/udmabuf_exporter.hpp>

#include "catch.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::kernel {

// Who may move the storage: nobody where this process asked the kernel for memory, else the kernel.
template <class E>
using default_residency = typename dma_buf<E>::policies::residency;
static_assert(std::same_as<default_residency<udmabuf_exporter>, pinned>);
static_assert(std::same_as<default_residency<heap_exporter>, pinned>);
static_assert(std::same_as<default_residency<fd_exporter>, kernel_managed>);
static_assert(std::same_as<default_residency<p2pmem_exporter>, kernel_managed>);
// Whether the kernel pins its pages for VFIO.
static_assert(paddock::detail::has_pinnable_pages<udmabuf_exporter>());
static_assert(!paddock::detail::has_pinnable_pages<heap_exporter>());
static_assert(!paddock::detail::has_pinnable_pages<fd_exporter>());
static_assert(!paddock::detail::has_pinnable_pages<p2pmem_exporter>());

namespace {

namespace fs = std::filesystem;

const std::size_t page = detail::page_size();
constexpr pci::address provider{0, 0x3b, 0, 0};

/// A root folder with one provider, whose memory is a file.
class fake_root {
 public:
  fake_root() : path_(fs::temp_directory_path() / ("paddock-exporters-" + std::to_string(::getpid()))) {
    fs::create_directories(folder());
    std::ofstream(folder() / "allocate") << std::string(4 * page, 'x');
  }
  ~fake_root() { fs::remove_all(path_); }
  fake_root(const fake_root&) = delete;
  fake_root& operator=(const fake_root&) = delete;

  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  [[nodiscard]] fs::path folder() const { return path_ / "sys/bus/pci/devices/0000:3b:00.0/p2pmem"; }

  fs::path path_;
};

}  // namespace

TEST_CASE("a buffer of a provider's memory has an address, and says whose it is") {
  const fake_root root;
  auto exporter = p2pmem_exporter::create(provider, 2 * page - 1, root.path());
  REQUIRE(exporter);
  const auto buffer = dma_buf<p2pmem_exporter>::create(std::move(*exporter));
  REQUIRE(buffer);
  CHECK((*buffer)->size() == 2 * page);
  const auto held = (*buffer)->lock();
  REQUIRE(held);
  const storage_ptr where = *(*buffer)->storage(*held);
  REQUIRE(where->segments().size() == 1);
  const segment& all = where->segments()[0];
  CHECK(all.kind == storage_kind::device_memory);
  CHECK(all.provider == provider);
  REQUIRE(all.address != nullptr);
  CHECK(*all.address == std::byte{'x'});
  CHECK_FALSE(where->dma_buf().valid());
  CHECK(p2pmem_exporter::create({0, 0x3c, 0, 0}, page, root.path()).error() == errc::not_found);
}

TEST_CASE("the CPU has a window on a provider's memory, and as an importer a copy of it") {
  const fake_root root;
  const auto buffer = dma_buf<p2pmem_exporter>::create(*p2pmem_exporter::create(provider, page, root.path()));
  REQUIRE(buffer);
  auto window = mmio_access<access::read_write>::begin(**buffer);
  REQUIRE(window);
  window->window().write8(page - 1, 0x5a);
  REQUIRE(window->finish());

  cpu_device cpu;
  attachment<dma_buf<p2pmem_exporter>, cpu_device> attached;
  REQUIRE(attached.attach(*buffer, cpu));
  auto mapped = attached.map(direction::bidirectional);
  REQUIRE(mapped);
  {
    const auto bytes = cpu_access<access::read_write>::begin(*mapped);
    REQUIRE(bytes);
    CHECK(bytes->bytes()[page - 1] == std::byte{0x5a});
    bytes->bytes()[0] = std::byte{0xa5};
  }
  // Until it lets go nobody else sees the one or the other: it could map anew at any time.
  REQUIRE(attached.unmap(std::move(*mapped)));
  CHECK(mmio_access<access::read>::begin(**buffer).error() == errc::busy);
  REQUIRE(attached.detach());
  const auto after = mmio_access<access::read>::begin(**buffer);
  REQUIRE(after);
  CHECK(after->window().read8(0) == 0xa5);
  CHECK(after->window().read8(1) == 'x');
  CHECK((*buffer)->statistics().of(buffer_statistics::what::bounces) == 1);
}

TEST_CASE("what is no dma-buf is not imported, and no heap gives none") {
  CHECK(fd_exporter::import_(dma_buf_fd()).error() == errc::bad_fd);
  const auto null = dma_heap::open("null", "/dev");
  REQUIRE(null);
  CHECK(heap_exporter::create(*null, page).error() == errc::bad_fd);
}

}  // namespace paddock::kernel
