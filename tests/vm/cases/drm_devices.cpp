// SPDX-License-Identifier: BSL-1.0
// DRM devices and GEM handles, on vgem and virtio-gpu.
#include <paddock/drm/dumb_buffer.hpp>
#include <paddock/drm/gem.hpp>
#include <paddock/drm/probe.hpp>
#include <paddock/kernel/dma_buf_info.hpp>

#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "drm_support.hpp"

namespace paddock::drm {

TEST_CASE("a DRM device knows its node, its driver and what it can do") {
  const device gpu = open_gpu();
  CHECK(gpu.type() == node_type::render);
  CHECK(gpu.driver() == "virtio_gpu");
  CHECK(gpu.has(capability::syncobj));
  CHECK(gpu.has(capability::timeline_syncobj));
  CHECK(gpu.has(capability::prime_export));
  CHECK_FALSE(gpu.has(capability::dumb_buffers));  // On the primary node only.

  const device vgem = open_vgem();
  CHECK(vgem.type() == node_type::primary);
  CHECK(vgem.has(capability::prime_import));
  CHECK_FALSE(vgem.has(capability::syncobj));
  CHECK(open_gpu(node_type::primary).has(capability::dumb_buffers));
}

TEST_CASE("drm::probe answers yes for every feature of Linux 7.2, and says who lacks one") {
  kernel::needs_linux(7, 2);
  const device gpu = open_gpu();
  for (const feature each : all_features) {
    INFO(name(each));
    if (each != feature::prime_import) {  // virtio-gpu imports nothing without blobs, whatever it says of itself.
      CHECK(probe(gpu, each).is_yes());
    }
  }
  const auto none = probe(open_vgem(), feature::syncobj_eventfd);
  CHECK(none.value == kernel::answer::no);
  CHECK(none.reason == errc::unsupported_by_device);
}

TEST_CASE("what is no DRM device is not opened as one") {
  CHECK(code_of(device::open("/dev/null")) == errc::bad_fd);
  CHECK(code_of(device::open("/dev/dri/renderD999")) == errc::not_found);
  CHECK(code_of(device::adopt(unique_fd())) == errc::bad_fd);
  CHECK(code_of(device::open_driver("no such driver", node_type::render)) == errc::not_found);
}

TEST_CASE("a buffer that is imported twice is one handle, which the last one closes") {
  const device vgem = open_vgem();
  const auto memory = kernel::udmabuf::create(*kernel::udmabuf_device::open(), 4096, "twice");
  REQUIRE(memory);
  auto first = gem::import_(vgem, memory->buffer());
  auto second = gem::import_(vgem, memory->buffer());
  REQUIRE(first);
  REQUIRE(second);
  CHECK(first->handle() == second->handle());
  CHECK(*first == *second);
  const gem third = *second;
  *first = gem();
  *second = gem();
  CHECK(third.export_());
  const auto again = gem::import_(vgem, memory->buffer());
  CHECK(again->handle() == third.handle());
}

TEST_CASE("the last one that has a handle closes it, and so the kernel lets go of the buffer") {
  const device vgem = open_vgem();
  const auto memory = kernel::udmabuf::create(*kernel::udmabuf_device::open(), 4096, "counted");
  const auto uses = [&] { return kernel::read_dma_buf_info(memory->buffer().fd())->references; };
  const auto before = uses();
  auto first = gem::import_(vgem, memory->buffer());
  auto second = gem::import_(vgem, memory->buffer());
  CHECK(uses() > before);
  gem moved = *std::move(first);
  moved = *second;
  *second = gem();
  CHECK(uses() > before);
  moved = gem();
  CHECK(uses() == before);
}

TEST_CASE("an exported buffer permits what was asked for") {
  const device vgem = open_vgem();
  const auto mode = [&](access what) {
    const auto picture = dumb_buffer::create(vgem, 64, 32, 32);  // Its first export decides.
    REQUIRE(picture);
    const auto made = picture->gem().export_(what);
    REQUIRE(made);
    CHECK((::fcntl(made->fd().get(), F_GETFD) & FD_CLOEXEC) != 0);
    return ::fcntl(made->fd().get(), F_GETFL) & O_ACCMODE;
  };
  CHECK(mode(access::read) == O_RDONLY);
  CHECK(mode(access::write) == O_RDWR);
  CHECK(mode(access::read_write) == O_RDWR);
  CHECK(code_of(gem().export_()) == errc::invalid_argument);
}

TEST_CASE("devices of one open file share their handles, those of two do not") {
  const device vgem = open_vgem();
  auto copy = device::adopt(*unique_fd::dup(vgem.fd()));
  REQUIRE(copy);
  CHECK(*copy == vgem);
  const device other = open_vgem();
  CHECK(other != vgem);

  const auto memory = kernel::udmabuf::create(*kernel::udmabuf_device::open(), 4096, "shared");
  auto first = gem::import_(vgem, memory->buffer());
  auto second = gem::import_(*copy, memory->buffer());
  REQUIRE(first);
  REQUIRE(second);
  CHECK(*first == *second);
  const gem_handle handle = first->handle();
  *first = gem();
  CHECK(second->export_());  // Nobody has closed it.
  *second = gem();
  // Now it is closed: the kernel takes the number again.
  auto third = gem::import_(vgem, memory->buffer());
  CHECK(third->handle() == handle);
  const auto elsewhere = gem::import_(other, memory->buffer());
  CHECK(*elsewhere != *third);
}

TEST_CASE("a dumb buffer keeps its bytes over PRIME, with one identity") {
  const device vgem = open_vgem();
  const auto picture = dumb_buffer::create(vgem, 64, 32, 32);
  REQUIRE(picture);
  CHECK(picture->stride() >= 64 * 4);
  CHECK(picture->size() >= std::uint64_t{picture->stride()} * 32);
  auto bytes = picture->map();
  REQUIRE(bytes);
  std::memset(bytes->bytes().data(), 0x5a, bytes->bytes().size());

  const auto shared = picture->gem().export_();
  REQUIRE(shared);
  const auto again = picture->gem().export_();
  CHECK(shared->id() == again->id());
  CHECK(shared->size() == picture->size());
  const device other = open_vgem();
  const auto imported = gem::import_(other, *shared);
  REQUIRE(imported);
  const auto back = imported->export_();
  REQUIRE(back);
  CHECK(back->id() == shared->id());
}

TEST_CASE("a driver that cannot is an error that says so") {
  const device vgem = open_vgem();
  CHECK(code_of(syncobj::create(vgem)) == errc::unsupported_by_device);
  CHECK(code_of(dumb_buffer::create(open_gpu(), 64, 64, 32)) == errc::permission);
  CHECK(code_of(dumb_buffer::create(vgem, 0, 64, 32)) == errc::invalid_argument);
}

TEST_CASE("a device that is lost refuses new objects, and lets the old ones go") {
  const device vgem = open_vgem();
  const auto memory = kernel::udmabuf::create(*kernel::udmabuf_device::open(), 4096, "lost");
  {
    const auto held = gem::import_(vgem, memory->buffer());
    REQUIRE(held);
    vgem.mark_lost();
    CHECK(vgem.is_lost());
    CHECK(code_of(gem::import_(vgem, memory->buffer())) == errc::no_device);
    CHECK(code_of(held->export_()) == errc::no_device);
  }
  CHECK_FALSE(open_vgem().is_lost());  // Another file: it was this one that was said to be.
}

TEST_CASE("a forked child closes nothing that its parent has") {
  const device gpu = open_gpu(node_type::primary);
  auto picture = std::optional(*dumb_buffer::create(gpu, 64, 64, 32));
  auto line = std::optional(*syncobj::create(gpu));
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    picture.reset();
    line.reset();
    ::_exit(0);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(picture->map());
  CHECK(line->signal());
}

TEST_CASE("a file that is adopted again and again has no syncobj more of each time") {
  const auto node = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(open_gpu().fd().get()));
  const auto lasting = detail::open(node.c_str(), O_RDWR, "open");
  REQUIRE(lasting);
  for (int i = 0; i < 10; ++i) {
    const auto gpu = device::adopt(*unique_fd::dup(*lasting));
    REQUIRE(gpu);
    const auto box = syncobj::create(*gpu);
    REQUIRE(box);
    CHECK(box->wait_for_submit(deadline::in(std::chrono::milliseconds(5))) == wait_status::timed_out);
    const auto next = syncobj::create(*gpu);
    REQUIRE(next);
    CHECK(next->handle().value() <= 3);  // The kernel gives the lowest number that is free; one woke the wait.
  }
}

TEST_CASE("a device that is taken away ends waits and lets its buffers go, also where callbacks drop them") {
  // By the driver, as an unplugged device; the node's number goes with it.
  auto gpu = std::optional(open_gpu(node_type::primary));
  struct stat node {};
  REQUIRE(::fstat(gpu->fd().get(), &node) == 0);
  const auto place = std::filesystem::canonical("/sys/dev/char/" + std::to_string(major(node.st_rdev)) + ":" +
                                                std::to_string(minor(node.st_rdev)) + "/device");
  const auto driver = std::filesystem::canonical(place / "driver");
  const auto tell = [&](const char* what) { std::ofstream(driver / what) << place.filename().string() << std::flush; };
  const auto line = syncobj::create(*gpu);
  REQUIRE(line);
  auto one = std::optional(*dumb_buffer::create(*gpu, 64, 64, 32));
  auto two = std::optional(*dumb_buffer::create(*gpu, 64, 64, 32));
  struct dropping final : fence_callback {
    explicit dropping(std::optional<dumb_buffer>& of) noexcept : fence_callback(&run), gone(of) {}
    dropping(const dropping&) = delete;
    dropping& operator=(const dropping&) = delete;
    ~dropping() { retire(); }
    static void run(fence_callback& node, const fence_outcome&) noexcept { static_cast<dropping&>(node).gone.reset(); }
    std::optional<dumb_buffer>& gone;
  } at_loss(two);
  REQUIRE(gpu->lost().add_callback(at_loss) == add_outcome::added);
  std::thread waiter([&] {
    CHECK(code_of(line->wait_for_submit(timeline_point(1), deadline::in(std::chrono::seconds(20)))) == errc::no_device);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  tell("unbind");
  one.reset();
  CHECK(gpu->is_lost());
  CHECK_FALSE(two.has_value());
  const auto begin = monotonic_clock::now();
  waiter.join();
  CHECK(monotonic_clock::now() - begin < std::chrono::seconds(5));  // By its next turn.
  CHECK(code_of(syncobj::create(*gpu)) == errc::no_device);
  tell("bind");
  CHECK_FALSE(open_gpu().is_lost());
}

}  // namespace paddock::drm
