// SPDX-License-Identifier: BSL-1.0
// Buffers of the model whose storage is a kernel's dma-buf.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/cpu_device.hpp>
#include <paddock/buffer/placement.hpp>
#include <paddock/kernel/fd_exporter.hpp>
#include <paddock/kernel/heap_exporter.hpp>
#include <paddock/kernel/udmabuf_exporter.hpp>
#include <paddock/kernel/udmabuf_source.hpp>

#include "kernel_support.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::kernel {

namespace {

using namespace std::chrono_literals;

const std::uint64_t page = detail::page_size();

using udmabuf_buffer = dma_buf<udmabuf_exporter>;
using heap_buffer = dma_buf<heap_exporter>;
using fd_buffer = dma_buf<fd_exporter>;

template <class T>
T unwrap(result<T> made) {
  REQUIRE(made);
  return std::move(*made);
}
buffer_ptr<udmabuf_buffer> make_udmabuf(std::uint64_t bytes) {
  return unwrap(udmabuf_buffer::create(unwrap(udmabuf_exporter::create(unwrap(udmabuf_device::open()), bytes))));
}
buffer_ptr<heap_buffer> make_heap_buffer(std::uint64_t bytes) {
  return unwrap(heap_buffer::create(unwrap(heap_exporter::create(unwrap(dma_heap::open("system")), bytes, "model"))));
}
template <class Buffer>
storage_ptr storage_of(const buffer_ptr<Buffer>& buffer) {
  const auto held = buffer->lock();
  REQUIRE(held);
  return unwrap(buffer->storage(*held));
}

}  // namespace

TEST_CASE("udmabuf as a buffer: what the CPU writes is in the memfd and in the dma-buf, and the other way round") {
  const auto buffer = make_udmabuf(3 * page + 1);
  CHECK(buffer->size() == 4 * page);
  const storage_ptr where = storage_of(buffer);
  REQUIRE(where->segments().size() == 1);
  const segment& all = where->segments()[0];
  CHECK(all.kind == storage_kind::memory);
  CHECK(where->dma_buf() == buffer->exporter().buffer().fd());
  CHECK(dma_buf_fd::borrow(all.file).error() == errc::bad_fd);

  // Two views that the buffer does not know of.
  const auto of_memfd = unwrap(mapped_memory::map(all.file, access::read_write, all.offset, all.length));
  const auto of_dma_buf = unwrap(buffer->exporter().buffer().map(access::read_write));
  {
    const auto guard = unwrap(cpu_access<access::write>::begin(*buffer));
    guard.bytes()[0] = std::byte{1};
    guard.bytes()[4 * page - 1] = std::byte{2};
  }
  CHECK(of_memfd.bytes()[0] == std::byte{1});
  CHECK(of_dma_buf.unsynchronized_bytes()[4 * page - 1] == std::byte{2});
  of_memfd.bytes()[page] = std::byte{3};
  of_dma_buf.unsynchronized_bytes()[2 * page] = std::byte{4};
  const auto guard = unwrap(cpu_access<access::read>::begin(*buffer));
  CHECK(guard.bytes()[page] == std::byte{3});
  CHECK(guard.bytes()[2 * page] == std::byte{4});
}

TEST_CASE("a buffer's CPU access makes the SYNC ioctl: it waits for a fence that only the kernel knows") {
  const vgem device;
  const auto fence = pending_fence::make(device);
  const auto buffer = make_udmabuf(page);
  REQUIRE(buffer->exporter().buffer().import_sync_file(fence.file, access::write));
  CHECK(buffer->reservation().test_signaled(usage::bookkeep));

  std::atomic<bool> has_begun{false};
  std::atomic<bool> is_complete{false};
  std::thread reader([&] {
    const auto guard = cpu_access<access::read>::begin(*buffer);
    has_begun = guard && is_complete;
  });
  std::this_thread::sleep_for(100ms);
  CHECK_FALSE(has_begun);
  is_complete = true;
  fence.complete();
  reader.join();
  CHECK(has_begun);
}

TEST_CASE("a buffer that moves makes the SYNC ioctl where it is a dma-buf, and none where it is not") {
  const vgem device;
  const auto fence = pending_fence::make(device);
  using buffer = dma_buf<placement_exporter<udmabuf_source, memory_source>, movable>;
  static_assert(storage_bracketing_exporter<buffer::exporter_type> &&
                !storage_bracketing_exporter<placement_exporter<memory_source>>);
  const auto made = unwrap(
      buffer::create(placement_exporter<udmabuf_source, memory_source>(page, unwrap(udmabuf_source::open()), {})));
  const auto move_to = [&](std::size_t place) {
    const auto held = made->lock();
    REQUIRE(made->move(*held, place, deadline::in(5s)));
  };
  REQUIRE(unwrap(dma_buf_ref::borrow(storage_of(made)->dma_buf())).import_sync_file(fence.file, access::write));
  std::atomic<bool> has_begun{false};
  std::atomic<bool> is_complete{false};
  std::thread reader([&] {
    const auto guard = cpu_access<access::read>::begin(*made);
    has_begun = guard && is_complete;
  });
  std::this_thread::sleep_for(100ms);
  CHECK_FALSE(has_begun);
  is_complete = true;
  fence.complete();
  reader.join();
  CHECK(has_begun);

  move_to(1);
  CHECK_FALSE(storage_of(made)->dma_buf().valid());
  CHECK(cpu_access<access::read_write>::begin(*made));
  move_to(0);
  const auto again = pending_fence::make(device);
  REQUIRE(unwrap(dma_buf_ref::borrow(storage_of(made)->dma_buf())).import_sync_file(again.file, access::write));
  move_to(1);
  CHECK(cpu_access<access::read_write>::begin(*made));
  CHECK(again.file.wait(deadline::now()) == wait_status::timed_out);
  again.complete();
}

TEST_CASE("a CPU attachment of a kernel's buffer makes the SYNC ioctl too") {
  const vgem device;
  const auto fence = pending_fence::make(device);
  const auto buffer =
      unwrap(fd_buffer::create(unwrap(fd_exporter::import_(unwrap(make_udmabuf(page)->exporter().export_fd())))));
  REQUIRE(buffer->exporter().buffer().import_sync_file(fence.file, access::write));
  cpu_device cpu;
  attachment<fd_buffer, cpu_device> attached;
  REQUIRE(attached.attach(buffer, cpu));
  const auto mapped = unwrap(attached.map(direction::bidirectional));
  std::atomic<bool> is_complete{false};
  std::thread completer([&] {
    std::this_thread::sleep_for(100ms);
    is_complete = true;
    fence.complete();
  });
  const auto guard = cpu_access<access::read_write>::begin(mapped);
  CHECK(is_complete);
  CHECK(guard);
  completer.join();
}

TEST_CASE("imports of one dma-buf have one reservation, those of two have two") {
  const auto first = make_udmabuf(page);
  const auto other = make_heap_buffer(page);
  const auto import = [](dma_buf_fd fd) {
    return unwrap(fd_buffer::create(unwrap(fd_exporter::import_(std::move(fd)))));
  };
  const auto once = import(unwrap(first->exporter().export_fd()));
  const auto twice = import(unwrap(once->exporter().export_fd()));
  const auto another = import(unwrap(other->exporter().export_fd()));
  CHECK(&once->reservation() == &first->reservation());
  CHECK(&twice->reservation() == &first->reservation());
  CHECK(&another->reservation() == &other->reservation());
  CHECK(&another->reservation() != &first->reservation());
  CHECK(once->exporter().id() == first->exporter().id());
  const auto held = once->lock();
  REQUIRE(held);
  CHECK(twice->storage(*held));
  CHECK(another->storage(*held).error() == errc::wrong_lock);
}

TEST_CASE("heap buffers are mapped for the CPU, and keep their bytes") {
  const auto buffer = make_heap_buffer(2 * page - 5);
  CHECK(buffer->size() == 2 * page);
  CHECK(buffer->exporter().buffer().info()->name == "model");
  cpu_device cpu;
  attachment<heap_buffer, cpu_device> attached;
  REQUIRE(attached.attach(buffer, cpu));
  {
    const auto mapped = unwrap(attached.map(direction::from_device));
    const auto guard = unwrap(cpu_access<access::read_write>::begin(mapped));
    CHECK(guard.bytes()[2 * page - 1] == std::byte{0});
    std::ranges::fill(guard.bytes(), std::byte{0x77});
  }
  const auto seen = unwrap(unwrap(buffer->exporter().export_fd()).map(access::read));
  CHECK(std::ranges::count(seen.unsynchronized_bytes(), std::byte{0x77}) == static_cast<std::ptrdiff_t>(2 * page));
  CHECK(buffer->statistics().of(buffer_statistics::what::bounces) == 0);
  CHECK_FALSE(storage_of(buffer)->segments()[0].file.valid());
}

TEST_CASE("a dma-buf that was imported for reading is not written") {
  const auto source = make_udmabuf(page);
  const auto buffer =
      unwrap(fd_buffer::create(unwrap(fd_exporter::import_(unwrap(source->exporter().export_fd()), access::read))));
  cpu_device cpu;
  attachment<fd_buffer, cpu_device> attached;
  REQUIRE(attached.attach(buffer, cpu));
  const auto mapped = unwrap(attached.map(direction::bidirectional));
  CHECK(cpu_access<access::write>::begin(mapped).error() == errc::permission);
  CHECK(cpu_access<access::read>::begin(mapped));
}

TEST_CASE("storage of a dma-buf outlives its buffer, with the descriptor that it says") {
  auto buffer = make_udmabuf(page);
  const buffer_id id = buffer->exporter().id();
  const storage_ptr where = storage_of(buffer);
  buffer.reset();
  CHECK(unwrap(dma_buf_fd::borrow(where->dma_buf())).id() == id);
  where->segments()[0].address[0] = std::byte{9};
  CHECK(where->segments()[0].address[0] == std::byte{9});
}

}  // namespace paddock::kernel
