// SPDX-License-Identifier: BSL-1.0
// Buffers, layouts and fences between processes, and what a peer may do wrong.
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <thread>
#include <vector>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/placement.hpp>
#include <paddock/kernel/buffer_channel.hpp>
#include <paddock/kernel/fd_exporter.hpp>
#include <paddock/kernel/import_cache.hpp>
#include <paddock/kernel/udmabuf_source.hpp>

#include "kernel_support.hpp"
#include "processes.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::kernel {

namespace {

using namespace std::chrono_literals;
using test::descriptors;
using test::send_raw;
deadline soon() { return deadline::in(50ms); }
deadline long_enough() { return deadline::in(10s); }

template <class T>
errc code_of(const result<T>& answer) {
  return answer ? errc{} : answer.error().code;
}

udmabuf make_memory(std::uint64_t size, const char* name = "shared") {
  const auto device = udmabuf_device::open();
  REQUIRE(device);
  auto made = udmabuf::create(*device, size, name);
  REQUIRE(made);
  return *std::move(made);
}
using moving_exporter = placement_exporter<udmabuf_source, udmabuf_source>;
using moving_buffer = dma_buf<moving_exporter, movable>;
buffer_ptr<moving_buffer> make_moving_buffer(std::uint64_t size) {
  auto a = udmabuf_source::open();
  auto b = udmabuf_source::open();
  REQUIRE(a);
  REQUIRE(b);
  auto made = moving_buffer::create(moving_exporter(size, *std::move(a), *std::move(b)));
  REQUIRE(made);
  return *made;
}
dma_buf_fd export_from(moving_buffer& buffer) {
  const auto held = buffer.lock();
  auto fd = buffer.export_fd(*held);
  REQUIRE(fd);
  auto made = dma_buf_fd::adopt(*std::move(fd));
  REQUIRE(made);
  return *std::move(made);
}
result<void> reclaim(moving_buffer& buffer) {
  const auto held = buffer.lock();
  return buffer.reclaim(*held);
}
result<void> move_to_the_other_place(moving_buffer& buffer) {
  const auto held = buffer.lock();
  return buffer.move(*held, 1 - *buffer.where(*held), long_enough());
}

}  // namespace

TEST_CASE("sharing: another process gets the buffer, its identity and how a picture lies in it") {
  const auto memory = make_memory(std::uint64_t{64} * 1024);
  auto ends = buffer_channel::pair();
  REQUIRE(ends);
  layout picture = *linear_layout(make_fourcc('X', 'R', '2', '4'), 64, 64, 64);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // No assertions here: the exit status says which step was wrong.
    auto got = ends->second.receive(long_enough());
    auto* const shared = got ? std::get_if<shared_buffers>(&*got) : nullptr;
    if (shared == nullptr || shared->tag != 42 || shared->layout.width != 64 || shared->layout.plane_count != 1) {
      ::_exit(1);
    }
    const auto bytes = mapped_memory::map(shared->buffers[0].fd(), access::read_write, 0, shared->buffers[0].size());
    if (!bytes) {
      ::_exit(2);
    }
    std::memset(bytes->bytes().data(), 0x5a, bytes->bytes().size());
    const buffer_id id = shared->buffers[0].id();
    ::_exit(id == shared->layout.buffers[0] && ends->second.send_released(id, long_enough()) ? 0 : 3);
  }
  const dma_buf_ref lent = memory.buffer().borrow();
  REQUIRE(ends->first.send({&lent, 1}, picture, 42, long_enough()));
  CHECK(ends->first.await_released(memory.buffer().id(), long_enough()));
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  const auto seen = memory.memory().map();
  REQUIRE(seen);
  CHECK(seen->bytes()[0] == std::byte{0x5a});
  CHECK(seen->bytes()[64 * 1024 - 1] == std::byte{0x5a});
}

TEST_CASE("sharing: a buffer that comes in twice is one buffer") {
  const auto memory = make_memory(4096);
  auto ends = buffer_channel::pair();
  const dma_buf_ref lent = memory.buffer().borrow();
  import_cache known;
  std::array<buffer_ptr<import_cache::buffer>, 2> twice;
  for (auto& each : twice) {
    REQUIRE(ends->first.send({&lent, 1}, {}, 0, long_enough()));
    auto got = ends->second.receive(long_enough());
    REQUIRE(got);
    each = *known.import_(std::move(std::get<shared_buffers>(*got).buffers[0]));
  }
  CHECK(twice[0] == twice[1]);
  CHECK(known.size() == 1);
  CHECK(known.trim() == 1);
  twice = {};
  CHECK(known.trim() == 0);
  CHECK_FALSE(known.forget(memory.buffer().id()));
}

TEST_CASE("sharing: a picture in two buffers arrives with both, in their order, closed at exec") {
  const auto bright = make_memory(8192, "bright");
  const auto color = make_memory(4096, "color");
  auto ends = buffer_channel::pair();
  layout picture = *linear_layout(make_fourcc('N', 'V', '1', '2'), 64, 64, 64);
  picture.buffer_count = 2;
  picture.planes[1].buffer = 1;
  picture.planes[1].offset = 0;
  const std::array<dma_buf_ref, 2> lent{bright.buffer().borrow(), color.buffer().borrow()};
  REQUIRE(ends->first.send(lent, picture, 0, long_enough()));
  auto got = ends->second.receive(long_enough());
  REQUIRE(got);
  const auto& shared = std::get<shared_buffers>(*got);
  REQUIRE(shared.layout.buffer_count == 2);
  CHECK(shared.layout.planes[1].buffer == 1);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(shared.buffers[i].id() == lent[i].id());
    CHECK(shared.layout.buffers[i] == lent[i].id());
    CHECK((::fcntl(shared.buffers[i].fd().get(), F_GETFD) & FD_CLOEXEC) != 0);
  }
}

TEST_CASE("sharing: what was forgotten comes in anew, whoever still has it") {
  const auto memory = make_memory(4096);
  import_cache known;
  const auto first = known.import_(*memory.buffer().dup());
  REQUIRE(first);
  CHECK(known.forget(memory.buffer().id()));
  CHECK(known.size() == 0);
  const auto second = known.import_(*memory.buffer().dup());
  REQUIRE(second);
  CHECK(*first != *second);
}

TEST_CASE("sharing: an imported buffer that is passed on is reclaimed as well, its own mapping is nobody else's") {
  auto memory = std::optional(make_memory(4096));
  auto imported = fd_exporter::import_(*memory->buffer().dup());
  REQUIRE(imported);
  const auto buffer = dma_buf<fd_exporter>::create(*std::move(imported));
  REQUIRE(buffer);
  memory.reset();
  const auto held = (*buffer)->lock();
  auto given = (*buffer)->export_fd(*held);
  REQUIRE(given);
  CHECK(*(*buffer)->is_exported(*held));
  CHECK(code_of((*buffer)->reclaim(*held)) == errc::shared);
  given->reset();
  CHECK((*buffer)->reclaim(*held));
  CHECK_FALSE(*(*buffer)->is_exported(*held));
}

TEST_CASE("sharing: a buffer is not given away while its bytes are on their way") {
  struct engine {
    fence_ptr pending;
    result<fence_ptr> copy(const storage&, const storage&) noexcept { return pending; }
  };
  const auto buffer = make_moving_buffer(4096);
  fence_context context("copies", 1s);
  engine slow{*context.create()};
  {
    const auto held = buffer->lock();
    REQUIRE(buffer->use_mover(*held, slow));
    REQUIRE(buffer->move(*held, 1 - *buffer->where(*held), long_enough()));
    // Should the copy fail, the bytes are in the storage that it came from.
    CHECK(code_of(buffer->export_fd(*held)) == errc::busy);
  }
  slow.pending->signal();
  const dma_buf_fd given = export_from(*buffer);
  CHECK(given.valid());
}

TEST_CASE("sharing: a fence goes over pending, and one that is signaled without a descriptor") {
  const vgem device;
  auto ends = buffer_channel::pair();
  const auto work = pending_fence::make(device);
  REQUIRE(ends->first.send(work.file, 7, long_enough()));
  REQUIRE(ends->first.send(sync_file::already_signaled(), 8, long_enough()));
  auto pending = ends->second.receive(long_enough());
  REQUIRE(pending);
  const auto& fence = std::get<shared_fence>(*pending);
  CHECK(fence.tag == 7);
  CHECK(fence.fence.wait(deadline::now()) == wait_status::timed_out);
  work.complete();
  CHECK(fence.fence.wait(long_enough()) == wait_status::signaled);
  auto signaled = ends->second.receive(long_enough());
  CHECK(std::get<shared_fence>(*signaled).fence.is_already_signaled());
}

TEST_CASE("sharing: a buffer that was given away does not move until nobody else has it") {
  const auto buffer = make_moving_buffer(std::uint64_t{64} * 1024);
  REQUIRE(move_to_the_other_place(*buffer));
  auto ends = buffer_channel::pair();
  {
    const dma_buf_fd given = export_from(*buffer);
    const dma_buf_ref lent = given.borrow();
    REQUIRE(ends->first.send({&lent, 1}, {}, 0, long_enough()));
  }
  CHECK(code_of(move_to_the_other_place(*buffer)) == errc::shared);
  CHECK(code_of(reclaim(*buffer)) == errc::shared);  // It is under way.
  auto got = ends->second.receive(long_enough());
  REQUIRE(got);
  CHECK(code_of(reclaim(*buffer)) == errc::shared);
  auto bytes = mapped_memory::map(std::get<shared_buffers>(*got).buffers[0].fd(), access::read_write, 0, 4096);
  REQUIRE(bytes);
  got = fail(errc::canceled, "closed");
  CHECK(code_of(reclaim(*buffer)) == errc::shared);  // A mapping keeps it as well.
  REQUIRE(bytes->unmap());
  CHECK(reclaim(*buffer));
  CHECK(move_to_the_other_place(*buffer));
  CHECK(reclaim(*buffer));  // Again is nothing.
}

TEST_CASE("sharing: an importer of a driver's holds a buffer as well") {
  const vgem device;
  const auto buffer = make_moving_buffer(4096);
  const std::uint32_t handle = device.import(export_from(*buffer));
  CHECK(code_of(reclaim(*buffer)) == errc::shared);
  drm_uapi::gem_close close{handle, 0};
  REQUIRE(::ioctl(device.fd().get(), drm_uapi::close_handle, &close) == 0);
  CHECK(reclaim(*buffer));
}

TEST_CASE("sharing: what is no dma-buf is not given away") {
  const auto buffer = dma_buf<memory_exporter>::create(memory_exporter(4096));
  REQUIRE(buffer);
  const auto held = (*buffer)->lock();
  CHECK(code_of((*buffer)->export_fd(*held)) == errc::not_exportable);
  CHECK((*buffer)->reclaim(*held));
  CHECK(*(*buffer)->is_exported(*held) == false);
}

TEST_CASE("sharing: a peer is asked for a buffer, lets go of it, and the buffer moves again") {
  const auto buffer = make_moving_buffer(4096);
  auto ends = buffer_channel::pair();
  buffer_id id{};
  {
    const dma_buf_fd given = export_from(*buffer);
    id = given.id();
    const dma_buf_ref lent = given.borrow();
    REQUIRE(ends->first.send({&lent, 1}, {}, 0, long_enough()));
  }
  std::thread peer([&] {
    auto got = ends->second.receive(long_enough());
    auto asked = ends->second.receive(long_enough());
    const bool is_asked = asked && std::get<revoke_request>(*asked).buffer == id;
    got = fail(errc::canceled, "let go");
    static_cast<void>(ends->second.send(sync_file::already_signaled(), 5, long_enough()));  // Something else first.
    CHECK(is_asked);
    CHECK(ends->second.send_released(id, long_enough()));
  });
  REQUIRE(ends->first.send_revoke(id, long_enough()));
  CHECK(ends->first.await_released(id, long_enough()));
  peer.join();
  CHECK(reclaim(*buffer));
  CHECK(move_to_the_other_place(*buffer));
  const auto kept = ends->first.receive(deadline::now());
  REQUIRE(kept);
  CHECK(std::get<shared_fence>(*kept).tag == 5);
}

TEST_CASE(
    "sharing: a peer that does not answer costs the deadline, one that lies is found out, one that dies is known") {
  const auto buffer = make_moving_buffer(4096);
  auto ends = buffer_channel::pair();
  auto given = std::optional(export_from(*buffer));
  const buffer_id id = given->id();
  REQUIRE(ends->first.send_revoke(id, long_enough()));
  CHECK(code_of(ends->first.await_released(id, soon())) == errc::timed_out);
  REQUIRE(ends->second.send_released(id, long_enough()));
  CHECK(ends->first.await_released(id, long_enough()));
  CHECK(code_of(reclaim(*buffer)) == errc::shared);
  given.reset();
  CHECK(reclaim(*buffer));
  { const unique_fd gone = std::move(ends->second).release(); }
  CHECK(code_of(ends->first.receive(long_enough())) == errc::disconnected);
  CHECK(code_of(ends->first.send_revoke(id, long_enough())) == errc::disconnected);
}

TEST_CASE("sharing: a peer that does not read costs the deadline") {
  auto ends = buffer_channel::pair();
  errc last{};
  for (int i = 0; i < 10'000 && last == errc{}; ++i) {
    last = code_of(ends->first.send_released({1, 1}, soon()));
  }
  CHECK(last == errc::timed_out);
}

TEST_CASE("sharing: nonsense is an error, leaves nothing behind, and the next message arrives") {
  const auto memory = make_memory(4096);
  auto ends = buffer_channel::pair();
  const unique_fd null = unique_fd::adopt(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const auto before = descriptors();
  detail::wire_message good;
  good.kind = detail::message_kind::buffers;
  good.buffer_count = 1;
  good.buffers[0] = {memory.buffer().id().device, memory.buffer().id().inode, 4096};
  const int buffer = memory.buffer().fd().get();
  const auto answer = [&](const detail::wire_message& message, const std::vector<int>& fds, std::size_t size) {
    send_raw(ends->first.fd(), &message, size, fds);
    const errc code = code_of(ends->second.receive(long_enough()));
    CHECK(descriptors() == before);
    return code;
  };
  const auto with = [&](auto change) {
    detail::wire_message changed = good;
    change(changed);
    return changed;
  };
  CHECK(answer(good, {buffer}, sizeof good) == errc{});
  CHECK(answer(good, {}, sizeof good) == errc::invalid_argument);
  CHECK(answer(good, {buffer, buffer}, sizeof good) == errc::invalid_argument);
  CHECK(answer(good, std::vector<int>(9, buffer), sizeof good) == errc::limit_reached);
  CHECK(answer(good, std::vector<int>(200, buffer), sizeof good) == errc::limit_reached);
  CHECK(answer(good, {null.get()}, sizeof good) == errc::bad_fd);
  CHECK(answer(good, {buffer}, sizeof good - 1) == errc::invalid_argument);
  CHECK(answer(good, {buffer}, 1) == errc::invalid_argument);
  CHECK(answer(with([](auto& m) { m.magic ^= 1; }), {buffer}, sizeof good) == errc::invalid_argument);
  CHECK(answer(with([](auto& m) { m.kind = detail::message_kind(99); }), {buffer}, sizeof good) ==
        errc::invalid_argument);
  CHECK(answer(with([](auto& m) { m.buffers[0].size = 8192; }), {buffer}, sizeof good) == errc::invalid_argument);
  CHECK(answer(with([](auto& m) { ++m.buffers[0].inode; }), {buffer}, sizeof good) == errc::invalid_argument);
  CHECK(answer(with([](auto& m) { m.buffer_count = 0; }), {}, sizeof good) == errc::invalid_argument);
  CHECK(answer(with([](auto& m) { m.buffer_count = UINT32_MAX; }), {buffer}, sizeof good) == errc::invalid_argument);
  CHECK(answer(with([](auto& m) { m.plane_count = UINT32_MAX; }), {buffer}, sizeof good) == errc::invalid_argument);
  CHECK(answer(with([](auto& m) {
                 m.plane_count = 1;
                 m.planes[0].buffer = UINT64_MAX;
               }),
               {buffer}, sizeof good) != errc{});
  CHECK(answer(with([](auto& m) { m.kind = detail::message_kind::fence; }), {buffer}, sizeof good) == errc::bad_fd);
  CHECK(answer(with([](auto& m) { m.kind = detail::message_kind::fence; }), {buffer, buffer}, sizeof good) ==
        errc::invalid_argument);
  CHECK(answer(with([](auto& m) { m.kind = detail::message_kind::revoke; }), {buffer}, sizeof good) ==
        errc::invalid_argument);
  CHECK(answer(good, {buffer}, sizeof good) == errc{});
}

TEST_CASE("sharing: what does not fit is not sent, and what is no socket of packets is not taken") {
  const auto memory = make_memory(4096);
  auto ends = buffer_channel::pair();
  const std::array<dma_buf_ref, 2> twice{memory.buffer().borrow(), memory.buffer().borrow()};
  CHECK(code_of(ends->first.send({}, {}, 0, soon())) == errc::invalid_argument);
  CHECK(code_of(ends->first.send(twice, {}, 0, soon())) == errc::invalid_argument);
  const layout large = *linear_layout(make_fourcc('X', 'R', '2', '4'), 640, 480, 64);
  CHECK(code_of(ends->first.send({twice.data(), 1}, large, 0, soon())) == errc::out_of_range);
  int stream[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) == 0);
  const unique_fd other = unique_fd::adopt(stream[1]);
  CHECK(code_of(buffer_channel::adopt(unique_fd::adopt(stream[0]))) == errc::bad_fd);
  CHECK(code_of(buffer_channel::adopt(unique_fd())) == errc::bad_fd);
  CHECK(buffer_channel::adopt(std::move(ends->first).release()));
}

}  // namespace paddock::kernel
