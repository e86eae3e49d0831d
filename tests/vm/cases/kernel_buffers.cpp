// SPDX-License-Identifier: BSL-1.0
// Heaps, udmabuf and dma-buf FDs on a real kernel. Names in brackets are cases of the known suites (IGT, kselftest,
// Android).
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include <paddock/buffer/cpu_access.hpp>
#include <paddock/kernel/dma_heap_list.hpp>
#include <paddock/kernel/probe.hpp>

#include "kernel_support.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::kernel {

namespace {

const std::uint64_t page = detail::page_size();

dma_heap system_heap() {
  auto heap = dma_heap::open("system");
  REQUIRE(heap);
  return std::move(*heap);
}
udmabuf_device node() {
  auto device = udmabuf_device::open();
  REQUIRE(device);
  return std::move(*device);
}
bool all_are(std::span<const std::byte> bytes, std::byte value) {
  return std::all_of(bytes.begin(), bytes.end(), [&](std::byte b) { return b == value; });
}
int open_descriptors() {
  int count = 0;
  for (int fd = 0; fd < 1024; ++fd) {
    count += ::fcntl(fd, F_GETFD) != -1 ? 1 : 0;
  }
  return count;
}

/// A heap buffer and a udmabuf: what holds for any dma-buf is shown on both.
std::vector<dma_buf_fd> one_of_each(std::uint64_t size) {
  std::vector<dma_buf_fd> buffers;
  auto of_heap = system_heap().allocate(size);
  auto of_memfd = udmabuf::create(node(), size);
  REQUIRE((of_heap && of_memfd));
  buffers.push_back(std::move(*of_heap));
  buffers.push_back(std::move(*of_memfd).release().first);
  return buffers;
}

}  // namespace

TEST_CASE("kernel probe answers yes for every feature of Linux 7.2") {
  for (const feature f : all_features) {
    const auto answered = probe(f);
    INFO(name(f) << ": " << name(answered.value) << " " << fmt::format("{}", answered.reason));
    CHECK(answered.is_yes());
  }
}

TEST_CASE("kernel probe leaves the buffer it asks as it was") {
  const auto buffer = system_heap().allocate(page, "before");
  REQUIRE(buffer);
  const int descriptors = open_descriptors();
  for (const feature f : all_features) {
    CHECK(probe(f, *buffer).is_yes());
  }
  CHECK(buffer->info()->name == "before");
  CHECK(buffer->poll(access::write) == wait_status::signaled);
  CHECK(open_descriptors() == descriptors);
}

TEST_CASE("heap buffer is mapped, bracketed, written and read back (HP1, HP2, AH5)") {
  const auto buffer = system_heap().allocate(1 << 20U, "camera");
  REQUIRE(buffer);
  CHECK(buffer->size() == 1 << 20U);
  auto mapping = buffer->map(access::read_write);
  REQUIRE(mapping);
  {
    auto guard = cpu_access<access::write>::begin(*mapping);
    REQUIRE(guard);
    std::fill(guard->bytes().begin(), guard->bytes().end(), std::byte{0x5a});
    CHECK(guard->finish());
  }
  const auto second = buffer->map(access::read);
  REQUIRE(second);
  auto guard = cpu_access<access::read>::begin(*second);
  REQUIRE(guard);
  CHECK(all_are(guard->bytes(), std::byte{0x5a}));
  CHECK(guard->finish());
  auto both = cpu_access<access::read_write>::begin(*mapping);
  REQUIRE(both);
  CHECK(both->finish());
}

TEST_CASE("heap memory is zeroed, also when it was used before (HP3 to HP6, AH4)") {
  const auto heap = system_heap();
  for (const std::uint64_t size : {std::uint64_t{4096}, std::uint64_t{1} << 20U}) {
    for (const bool first : {true, false}) {
      std::vector<dma_buf_fd> kept;
      for (int i = 0; i < 32; ++i) {
        auto buffer = heap.allocate(size);
        REQUIRE(buffer);
        const auto mapping = buffer->map(access::read_write);
        REQUIRE(mapping);
        auto guard = cpu_access<access::read_write>::begin(*mapping);
        REQUIRE(guard);
        REQUIRE(all_are(guard->bytes(), std::byte{0}));
        if (first) {
          std::fill(guard->bytes().begin(), guard->bytes().end(), std::byte{0xff});
        }
        REQUIRE(guard->finish());
        kept.push_back(std::move(*buffer));
      }
    }
  }
}

TEST_CASE("heap allocation errors are typed and keep their errno (HP9, HP19)") {
  CHECK(dma_heap::open("no-such-heap").error() == error{errc::not_found, ENOENT, ""});
  CHECK(dma_heap::open("../udmabuf").error() == errc::invalid_argument);
  CHECK(dma_heap::open("null", "/dev")->allocate(page).error() == error{errc::bad_fd, ENOTTY, ""});
  CHECK(system_heap().allocate(0).error() == error{errc::invalid_argument, EINVAL, ""});
  CHECK(system_heap().allocate(std::uint64_t{1} << 40U).error() == errc::limit_reached);
  CHECK(system_heap().allocate(page, std::string(32, 'x')).error() == errc::invalid_argument);
}

TEST_CASE("heap allocation rounds to whole pages, and repeats without growth (AH1, AH3)") {
  const auto heap = system_heap();
  const int descriptors = open_descriptors();
  for (const std::uint64_t size : {std::uint64_t{1}, page, std::uint64_t{64} * 1024 + 1, std::uint64_t{2} << 20U}) {
    for (int i = 0; i < 256; ++i) {
      const auto buffer = heap.allocate(size);
      REQUIRE(buffer);
      REQUIRE(buffer->size() == detail::round_up_to_page(size));
    }
  }
  CHECK(open_descriptors() == descriptors);
}

TEST_CASE("heaps are listed, and system is among them (HP18, AH7)") {
  const auto heaps = list_dma_heaps();
  REQUIRE(heaps);
  const auto system = std::find_if(heaps->begin(), heaps->end(), [](const auto& h) { return h.name == "system"; });
  REQUIRE(system != heaps->end());
  CHECK_FALSE(system->refused);
  const auto ranked = rank_dma_heaps(*heaps, {.cpu_access = true});
  CHECK(ranked.front().heap.name == "system");
}

TEST_CASE("udmabuf shows the memfd's bytes, and the memfd the udmabuf's (UD4)") {
  const auto made = udmabuf::create(node(), 4 * page, "frame");
  REQUIRE(made);
  CHECK(made->size() == 4 * page);
  const auto memory = made->memory().map();
  REQUIRE(memory);
  memory->bytes()[page] = std::byte{11};
  const auto mapping = made->buffer().map(access::read_write);
  REQUIRE(mapping);
  auto guard = cpu_access<access::read_write>::begin(*mapping);
  REQUIRE(guard);
  CHECK(guard->bytes()[page] == std::byte{11});
  guard->bytes()[3 * page + 5] = std::byte{22};
  CHECK(guard->finish());
  CHECK(memory->bytes()[3 * page + 5] == std::byte{22});
}

TEST_CASE("udmabuf access is bracketed around the memfd's own mapping") {
  const auto made = udmabuf::create(node(), page);
  REQUIRE(made);
  const auto memory = made->memory().map();
  REQUIRE(memory);
  auto guard = cpu_access<access::write>::begin(made->buffer(), memory->bytes());
  REQUIRE(guard);
  guard->bytes()[0] = std::byte{7};
  CHECK(guard->finish());
  const auto mapping = made->buffer().map(access::read);
  REQUIRE(mapping);
  CHECK(mapping->unsynchronized_bytes()[0] == std::byte{7});
}

TEST_CASE("udmabuf of a list puts windows of several memfds one after the other (UD5)") {
  const auto a = memfd::create(4 * page);
  const auto b = memfd::create(2 * page);
  REQUIRE((a && b));
  const auto bytes_a = a->map();
  const auto bytes_b = b->map();
  REQUIRE((bytes_a && bytes_b));
  bytes_a->bytes()[3 * page] = std::byte{1};
  bytes_b->bytes()[0] = std::byte{2};
  bytes_a->bytes()[0] = std::byte{3};
  const udmabuf_window windows[]{{a->fd(), 3 * page, page}, {b->fd(), 0, 2 * page}, {a->fd(), 0, page}};
  const auto buffer = node().create(windows);
  REQUIRE(buffer);
  CHECK(buffer->size() == 4 * page);
  const auto mapping = buffer->map(access::read);
  REQUIRE(mapping);
  auto guard = cpu_access<access::read>::begin(*mapping);
  REQUIRE(guard);
  CHECK(guard->bytes()[0] == std::byte{1});
  CHECK(guard->bytes()[page] == std::byte{2});
  CHECK(guard->bytes()[3 * page] == std::byte{3});
}

TEST_CASE("udmabuf refuses bad windows with the reason (UD1, UD2, UD3, UD8, UD13, UD15)") {
  const auto device = node();
  const auto memory = memfd::create(4 * page);
  REQUIRE(memory);
  const auto code = [&](udmabuf_window window) { return device.create(window).error().code; };
  CHECK(code({memory->fd(), page / 2, page}) == errc::misaligned);
  CHECK(code({memory->fd(), 0, page / 2}) == errc::misaligned);
  CHECK(code({memory->fd(), 0, 0}) == errc::invalid_argument);
  CHECK(code({memory->fd(), 4 * page, page}) == errc::out_of_range);
  CHECK(code({memory->fd(), page, 4 * page}) == errc::out_of_range);
  CHECK(code({memory->fd(), page, std::numeric_limits<std::uint64_t>::max() - page + 1}) == errc::out_of_range);
  CHECK(code({device.fd(), 0, page}) == errc::bad_fd);
  CHECK(code({borrowed_fd(), 0, page}) == errc::bad_fd);
  for (const int seals : {0, F_SEAL_GROW, F_SEAL_SHRINK | F_SEAL_WRITE, F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE}) {
    const unique_fd sealed = unique_fd::adopt(::memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::ftruncate(sealed.get(), static_cast<off_t>(page)) == 0);
    REQUIRE(::fcntl(sealed.get(), F_ADD_SEALS, seals) == 0);
    CHECK(code({sealed, 0, page}) == errc::invalid_argument);
  }
  const unique_fd fine = unique_fd::adopt(::memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(::ftruncate(fine.get(), static_cast<off_t>(page)) == 0);
  REQUIRE(::fcntl(fine.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
  CHECK(device.create(udmabuf_window{fine, 0, page}));

  const int descriptors = open_descriptors();
  const std::vector<udmabuf_window> many(1025, udmabuf_window{memory->fd(), 0, page});
  CHECK(device.create(many).error() == error{errc::limit_reached, EINVAL, ""});
  CHECK(device.create(std::span(many).first(1024)));
  const udmabuf_window second_bad[]{{memory->fd(), 0, page}, {device.fd(), 0, page}};
  CHECK(device.create(second_bad).error() == errc::bad_fd);
  const udmabuf_window second_too_long[]{{memory->fd(), 0, page}, {memory->fd(), page, 4 * page}};
  CHECK(device.create(second_too_long).error() == errc::out_of_range);
  CHECK(open_descriptors() == descriptors);
}

TEST_CASE("udmabuf's own limit is told from bad arguments (UD11)") {
  const auto device = node();
  CHECK(udmabuf::create(device, std::uint64_t{64} << 20U));
  const auto too_large = udmabuf::create(device, std::uint64_t{65} << 20U);
  REQUIRE_FALSE(too_large);
  CHECK(too_large.error() == error{errc::limit_reached, EINVAL, ""});
  CHECK(std::string(too_large.error().where).find("size_limit_mb") != std::string::npos);
}

TEST_CASE("udmabuf mapping outlives the buffer and its memory (UD18, PM4)") {
  auto made = udmabuf::create(node(), page);
  REQUIRE(made);
  auto mapping = made->buffer().map(access::read_write);
  REQUIRE(mapping);
  made = fail(errc::canceled, "dropped");
  auto guard = cpu_access<access::read_write>::begin(*mapping);
  REQUIRE(guard);
  guard->bytes()[0] = std::byte{1};
  CHECK(guard->finish());
}

TEST_CASE("dma-buf identity is one over dup, transfer and import, and another for each buffer (P4, PM8, VK5, VK6)") {
  const auto buffers = one_of_each(page);
  CHECK_FALSE(buffers[0] == buffers[1]);
  for (const dma_buf_fd& buffer : buffers) {
    const auto copy = buffer.dup();
    REQUIRE(copy);
    CHECK(copy->fd().get() != buffer.fd().get());
    CHECK(copy->id() == buffer.id());
    CHECK(*copy == buffer);
    CHECK(dma_buf_fd::borrow(buffer.fd())->id() == buffer.id());

    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    const unique_fd to = unique_fd::adopt(ends[0]);
    const unique_fd from = unique_fd::adopt(ends[1]);
    char byte = 0;
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* const head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    const int raw = buffer.fd().get();
    std::memcpy(CMSG_DATA(head), &raw, sizeof raw);
    REQUIRE(::sendmsg(to.get(), &message, 0) == 1);
    REQUIRE(::recvmsg(from.get(), &message, MSG_CMSG_CLOEXEC) == 1);
    int received = -1;
    const cmsghdr* const came = CMSG_FIRSTHDR(&message);
    REQUIRE(came != nullptr);
    std::memcpy(&received, CMSG_DATA(came), sizeof received);
    const auto imported = dma_buf_fd::adopt(unique_fd::adopt(received));
    REQUIRE(imported);
    CHECK(imported->id() == buffer.id());
    CHECK(imported->size() == buffer.size());
  }
}

TEST_CASE("dma-buf name and exporter are in fdinfo (DX5, DX10, BI2)") {
  const char* const exporters[]{"system", "udmabuf"};
  const auto buffers = one_of_each(2 * page);
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    REQUIRE(buffers[i].set_name(std::string(31, 'n')));
    const auto info = buffers[i].info();
    REQUIRE(info);
    CHECK(info->name == std::string(31, 'n'));
    CHECK(info->exporter == exporters[i]);
    CHECK(info->size == 2 * page);
    CHECK(info->references >= 1);
    CHECK(buffers[i].set_name(""));
    CHECK(buffers[i].info()->name.empty());
    CHECK(buffers[i].set_name(std::string(32, 'n')).error() == errc::invalid_argument);
    // What others may write, straight to the kernel.
    REQUIRE(::ioctl(buffers[i].fd().get(), uapi::dma_buf_set_name_b, "x\nsize:\t1") == 0);
    CHECK(buffers[i].info()->name == "x\nsize:\t1");
    CHECK(buffers[i].info()->size == 2 * page);
  }
}

TEST_CASE("dma-buf mapping errors are typed (PM11, DX8)") {
  for (const dma_buf_fd& buffer : one_of_each(2 * page)) {
    CHECK(buffer.map(access::read, 2 * page, page).error() == errc::out_of_range);
    CHECK(buffer.map(access::read, page, 2 * page).error() == errc::out_of_range);
    CHECK(buffer.map(access::read, 1, page).error() == errc::misaligned);
    CHECK(buffer.map(access::read, 0, 0).error() == errc::invalid_argument);
    const auto window = buffer.map(access::read, page, page);
    REQUIRE(window);
    CHECK(window->size() == page);
    CHECK(window->permits() == access::read);
    CHECK(cpu_access<access::write>::begin(*window).error() == errc::permission);
  }
}

TEST_CASE("dma-buf made read-only is mapped for reading alone (HP16, X75)") {
  const auto heap = system_heap();
  uapi::dma_heap_allocation argument{};
  argument.len = page;
  argument.fd_flags = O_RDONLY | O_CLOEXEC;
  REQUIRE(::ioctl(heap.fd().get(), uapi::dma_heap_ioctl_alloc, &argument) == 0);
  const auto buffer = dma_buf_fd::adopt(unique_fd::adopt(static_cast<int>(argument.fd)));
  REQUIRE(buffer);
  CHECK(buffer->map(access::write).error() == errc::permission);
  CHECK(buffer->map(access::read));
}

TEST_CASE("dma-buf handles are CLOEXEC whoever makes them (DX14)") {
  const auto cloexec = [](borrowed_fd fd) { return (::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0; };
  for (const dma_buf_fd& buffer : one_of_each(page)) {
    CHECK(cloexec(buffer.fd()));
    CHECK(cloexec(buffer.dup()->fd()));
    const auto fence = buffer.export_sync_file(access::read);
    REQUIRE(fence);
    CHECK(cloexec(fence->fd()));
    CHECK(cloexec(sync_file::merge(*fence, *fence)->fd()));
  }
}

TEST_CASE("dma-buf calls at the descriptor limit fail cleanly (SF15)") {
  const auto buffer = system_heap().allocate(page);
  const auto fence = buffer->export_sync_file(access::read);
  REQUIRE(fence);
  const int descriptors = open_descriptors();
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none{static_cast<rlim_t>(descriptors), before.rlim_max};
  std::vector<unique_fd> filler;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  for (;;) {
    auto fd = unique_fd::dup(buffer->fd());
    if (!fd) {
      break;
    }
    filler.push_back(std::move(*fd));
  }
  const auto heap_answer = buffer->export_sync_file(access::read);
  const auto merge_answer = sync_file::merge(*fence, *fence);
  const auto dup_answer = buffer->dup();
  const auto map_answer = buffer->map(access::read);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  filler.clear();
  CHECK(heap_answer.error() == error{errc::limit_reached, EMFILE, ""});
  CHECK(merge_answer.error() == error{errc::limit_reached, EMFILE, ""});
  CHECK(dup_answer.error() == error{errc::limit_reached, EMFILE, ""});
  CHECK(map_answer.error() == error{errc::limit_reached, EMFILE, ""});
  CHECK(open_descriptors() == descriptors);
}

TEST_CASE("dma-buf planes of one buffer behind two descriptors take one bracket") {
  const auto buffers = one_of_each(2 * page);
  const auto again = buffers[0].dup();
  REQUIRE(again);
  const auto y = buffers[0].map(access::read_write, 0, page);
  const auto uv = again->map(access::read_write, page, page);
  const auto other = buffers[1].map(access::read_write);
  REQUIRE((y && uv && other));
  auto guard = cpu_access_planes<access::read_write>::begin(*y, *uv, *other);
  REQUIRE(guard);
  guard->plane(0)[0] = std::byte{1};
  guard->plane(1)[0] = std::byte{2};
  CHECK(guard->plane(2).size() == 2 * page);
  CHECK(guard->finish());
  const auto whole = buffers[0].map(access::read);
  CHECK(whole->unsynchronized_bytes()[page] == std::byte{2});
}

TEST_CASE("dma-buf of the page size is imported by vgem (UD19, HP1)") {
  const vgem device;
  for (const dma_buf_fd& buffer : one_of_each(page)) {
    const auto first = device.import(buffer);
    CHECK(first == device.import(*buffer.dup()));
  }
}

}  // namespace paddock::kernel
