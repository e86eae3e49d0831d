// SPDX-License-Identifier: BSL-1.0
// The cases of IGT's prime_vgem, which share a buffer of vgem's with a second device: vkms where the kernel has it,
// else a second file of vgem. The job of the other device is a fence that the case completes. PV9 and PV10 are with
// the other accesses by CPU in kernel_fences.cpp; PV11 asks for a flag that no kernel ever had.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xf86drmMode.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <paddock/buffer/cpu_access.hpp>
#include <paddock/drm/dumb_buffer.hpp>
#include <paddock/drm/gem.hpp>

#include "drm_support.hpp"
#include "processes.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::drm {

namespace {

using namespace std::chrono_literals;

template <class T>
T unwrap(result<T> made) {
  REQUIRE(made);
  return std::move(*made);
}

device open_second() {
  auto opened = device::open_driver("vkms", node_type::primary);
  return opened ? *std::move(opened) : open_vgem();
}

constexpr std::size_t words_a_page = 4096 / sizeof(std::uint32_t);
template <class Bytes>
auto words_of(Bytes& of) {
  using byte = std::remove_pointer_t<decltype(of.bytes().data())>;
  using word = std::conditional_t<std::is_const_v<byte>, const std::uint32_t, std::uint32_t>;
  return std::launder(reinterpret_cast<word*>(of.bytes().data()));
}

/// A picture of vgem's, as its own mapping and as the dma-buf that a second device has imported.
struct shared_picture {
  device vgem = open_vgem();
  dumb_buffer picture;
  kernel::mapped_memory own;
  kernel::dma_buf_fd buffer;
  kernel::dma_buf_mapping other;
  gem imported;
  kernel::vgem jobs;  ///< By a file of its own.
  std::uint32_t job_handle;

  explicit shared_picture(std::uint32_t width = 1024, std::uint32_t height = 16, const device& by = open_second())
      : picture(unwrap(dumb_buffer::create(vgem, width, height, 32))),
        own(unwrap(picture.map())),
        buffer(unwrap(picture.gem().export_())),
        other(unwrap(buffer.map(access::read_write))),
        imported(unwrap(gem::import_(by, buffer))),
        job_handle(jobs.import(buffer)) {}
  [[nodiscard]] std::uint32_t start(access what) const { return jobs.attach(job_handle, what); }
  [[nodiscard]] std::size_t pages() const { return buffer.size() / 4096; }
};

}  // namespace

TEST_CASE("prime_vgem: a word in each page arrives at the other side, in both directions (PV1)") {
  shared_picture shared;
  REQUIRE(shared.pages() >= 16);
  for (std::uint32_t page = 0; page < shared.pages(); ++page) {
    words_of(shared.own)[page * words_a_page + page] = 0xc0de0000U + page;
  }
  {
    auto read = unwrap(cpu_access<access::read>::begin(shared.other));
    for (std::uint32_t page = 0; page < shared.pages(); ++page) {
      REQUIRE(words_of(read)[page * words_a_page + page] == 0xc0de0000U + page);
    }
  }
  {
    auto write = unwrap(cpu_access<access::write>::begin(shared.other));
    for (std::uint32_t page = 0; page < shared.pages(); ++page) {
      words_of(write)[page * words_a_page + page] = ~page;
    }
    REQUIRE(write.finish());
  }
  for (std::uint32_t page = 0; page < shared.pages(); ++page) {
    REQUIRE(words_of(shared.own)[page * words_a_page + page] == ~page);
  }
}

TEST_CASE("prime_vgem: words that both sides write by turns are always the newest (PV2)") {
  shared_picture shared;
  for (std::uint32_t i = 0; i < 2000; ++i) {
    const std::size_t at = (i * std::size_t{97}) % (shared.buffer.size() / 4);
    {
      auto write = unwrap(cpu_access<access::read_write>::begin(shared.other));
      words_of(write)[at] = i;
      REQUIRE(write.finish());
    }
    REQUIRE(words_of(shared.own)[at] == i);
    words_of(shared.own)[at] = ~i;
    auto read = unwrap(cpu_access<access::read>::begin(shared.other));
    REQUIRE(words_of(read)[at] == ~i);
  }
}

TEST_CASE("prime_vgem: many imports in several processes, as much as the memory takes, leave nothing behind (PV3)") {
  const auto fds = test::descriptors();
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      // Files of its own, since what it inherited is its parent's. 64 MiB in each of four processes at once.
      auto own = device::open_driver("vgem", node_type::primary);
      auto second = device::open_driver("vkms", node_type::primary);
      if (!second) {
        second = device::open_driver("vgem", node_type::primary);
      }
      std::vector<gem> imports;
      bool went_well = own.has_value() && second.has_value();
      for (int buffer = 0; went_well && buffer < 64; ++buffer) {
        const auto picture = dumb_buffer::create(*own, 512, 512, 32);
        const auto fd = picture ? picture->gem().export_() : fail(picture.error());
        auto bytes = picture ? picture->map() : fail(picture.error());
        auto imported = fd ? gem::import_(*second, *fd) : fail(fd.error());
        went_well = bytes && imported;
        if (went_well) {
          std::memset(bytes->bytes().data(), buffer, bytes->bytes().size());
          imports.push_back(*std::move(imported));
        }
      }
      ::_exit(went_well ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  CHECK(test::descriptors() == fds);
}

TEST_CASE("prime_vgem: who looks without the fence sees nothing, who looks after it sees the data (PV5)") {
  shared_picture shared;
  const auto job = shared.start(access::write);
  std::atomic<int> seen_before{-1};
  std::atomic<int> seen_after{-1};
  std::thread reader([&] {
    seen_before = static_cast<int>(words_of(shared.own)[0]);
    auto read = cpu_access<access::read>::begin(shared.other);
    seen_after = read ? static_cast<int>(words_of(*read)[0]) : -2;
  });
  while (seen_before == -1) {
    std::this_thread::yield();
  }
  std::this_thread::sleep_for(50ms);
  CHECK(seen_after == -1);
  words_of(shared.own)[0] = 42;
  shared.jobs.signal(job);
  reader.join();
  CHECK(seen_before == 0);
  CHECK(seen_after == 42);
}

TEST_CASE("prime_vgem: a picture is shown when its writer is done, and not before (PV6)") {
  auto screen = device::open_driver("vkms", node_type::primary);
  if (!screen) {
    test::skip("this kernel has no vkms");
  }
  const int fd = screen->fd().get();
  using resources_ptr = std::unique_ptr<drmModeRes, decltype(&::drmModeFreeResources)>;
  using connector_ptr = std::unique_ptr<drmModeConnector, decltype(&::drmModeFreeConnector)>;
  const resources_ptr resources(::drmModeGetResources(fd), &::drmModeFreeResources);
  REQUIRE((resources && resources->count_crtcs > 0 && resources->count_connectors > 0));
  const std::uint32_t crtc = resources->crtcs[0];
  std::uint32_t connector_id = resources->connectors[0];
  const connector_ptr connector(::drmModeGetConnector(fd, connector_id), &::drmModeFreeConnector);
  REQUIRE((connector && connector->count_modes > 0));
  drmModeModeInfo mode = connector->modes[0];

  const auto frame_of = [fd, &mode](const gem& handle, std::uint32_t stride) {
    std::uint32_t frame = 0;
    REQUIRE(::drmModeAddFB(fd, mode.hdisplay, mode.vdisplay, 24, 32, stride, handle.handle().value(), &frame) == 0);
    return frame;
  };
  const auto first = unwrap(dumb_buffer::create(*screen, mode.hdisplay, mode.vdisplay, 32));
  const shared_picture next(mode.hdisplay, mode.vdisplay, *screen);
  const std::uint32_t frames[]{frame_of(first.gem(), first.stride()), frame_of(next.imported, next.picture.stride())};
  REQUIRE(::drmModeSetCrtc(fd, crtc, frames[0], 0, 0, &connector_id, 1, &mode) == 0);

  const auto job = next.start(access::write);
  int flips = 0;
  REQUIRE(::drmModePageFlip(fd, crtc, frames[1], DRM_MODE_PAGE_FLIP_EVENT, &flips) == 0);
  pollfd events{fd, POLLIN, 0};
  CHECK(::poll(&events, 1, 300) == 0);
  next.jobs.signal(job);
  REQUIRE(::poll(&events, 1, 5000) == 1);
  drmEventContext told{};
  told.version = 2;
  told.page_flip_handler = [](int, unsigned, unsigned, unsigned, void* count) { ++*static_cast<int*>(count); };
  CHECK(::drmHandleEvent(fd, &told) == 0);
  CHECK(flips == 1);
  for (const std::uint32_t frame : frames) {
    CHECK(::drmModeRmFB(fd, frame) == 0);
  }
}

TEST_CASE("prime_vgem: a job's writes are waited for by polls and by waits, and are all there then (PV7, PV8)") {
  shared_picture shared;
  const auto job = shared.start(access::write);
  CHECK(shared.buffer.poll(access::read) == wait_status::timed_out);
  CHECK(shared.buffer.poll(access::write) == wait_status::timed_out);
  std::thread worker([&] {
    std::this_thread::sleep_for(100ms);
    std::fill_n(words_of(shared.own), shared.buffer.size() / 4, 7U);
    shared.jobs.signal(job);
  });
  CHECK(shared.buffer.wait(access::read, deadline::in(10s)) == wait_status::signaled);
  CHECK(shared.buffer.poll(access::write) == wait_status::signaled);
  {
    const auto read = unwrap(cpu_access<access::read>::begin(shared.other));
    CHECK(std::count(words_of(read), words_of(read) + shared.buffer.size() / 4, 7U) ==
          static_cast<std::ptrdiff_t>(shared.buffer.size() / 4));
  }
  worker.join();
  const auto reading = shared.start(access::read);
  CHECK(shared.buffer.poll(access::read) == wait_status::signaled);
  CHECK(shared.buffer.poll(access::write) == wait_status::timed_out);
  shared.jobs.signal(reading);
  CHECK(shared.buffer.wait(access::write, deadline::in(10s)) == wait_status::signaled);
}

}  // namespace paddock::drm
