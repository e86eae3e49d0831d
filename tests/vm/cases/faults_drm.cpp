// SPDX-License-Identifier: BSL-1.0
// Every system call of drm/, libdrm's among them, fails in every way, on vgem and virtio-gpu.
#include <sys/eventfd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_access.hpp>
#include <paddock/drm/dumb_buffer.hpp>
#include <paddock/drm/fences.hpp>
#include <paddock/drm/gem.hpp>
#include <paddock/drm/importer.hpp>
#include <paddock/drm/points.hpp>
#include <paddock/drm/probe.hpp>
#include <paddock/drm/wait.hpp>
#include <paddock/kernel/udmabuf_exporter.hpp>

#include "drm_support.hpp"
#include "fault_runs.hpp"

namespace paddock::drm {

namespace {

using namespace std::chrono_literals;
using test::faults::unaffected;
constexpr timeline_point point(std::uint64_t value) { return timeline_point(value); }

std::string node_of(const device& of) {
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(of.fd().get())).string();
}
unique_fd make_event() {
  const unaffected by_the_test;
  return unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}
result<void> ended_as(const result<wait_status>& ended, wait_status wanted) {
  if (!ended) {
    return fail(ended.error());
  }
  REQUIRE(*ended == wanted);
  return {};
}

result<void> use_boxes(const std::string& node) {
  PADDOCK_TRY(const device gpu, device::open(node.c_str()));
  PADDOCK_TRY(const syncobj box, syncobj::create(gpu));
  PADDOCK_TRY_VOID(ended_as(box.wait_for_submit(deadline::in(1ms)), wait_status::timed_out));
  PADDOCK_TRY_VOID(box.signal());
  PADDOCK_TRY_VOID(ended_as(box.wait(deadline::in(5s)), wait_status::signaled));
  PADDOCK_TRY(const kernel::sync_file fence, box.export_sync_file());
  PADDOCK_TRY_VOID(box.reset());
  PADDOCK_TRY_VOID(box.import_sync_file(fence));
  PADDOCK_TRY(const unique_fd given, box.export_());
  PADDOCK_TRY(const syncobj same, syncobj::import_(gpu, given));
  PADDOCK_TRY_VOID(ended_as(same.wait(deadline::in(5s)), wait_status::signaled));
  for (const feature each : all_features) {
    if (const auto asked = probe(gpu, each); asked.value == kernel::answer::unknown) {
      return fail(asked.reason);
    }
  }
  PADDOCK_TRY_VOID(device::adopt(test::dup_by_the_test(gpu.fd())));
  return {};
}

result<void> use_points(const std::string& node) {
  PADDOCK_TRY(const device gpu, device::open(node.c_str()));
  PADDOCK_TRY(const syncobj line, syncobj::create(gpu));
  PADDOCK_TRY(const syncobj other, syncobj::create(gpu, true));
  PADDOCK_TRY_VOID(line.signal(point(1)));
  PADDOCK_TRY(const kernel::sync_file fence, line.export_sync_file(point(1)));
  PADDOCK_TRY_VOID(line.import_sync_file(fence, point(2)));
  PADDOCK_TRY(const timeline_point reached, line.signaled());
  REQUIRE(reached == point(2));
  PADDOCK_TRY_VOID(line.submitted());
  PADDOCK_TRY_VOID(line.transfer(point(2), other, point(0)));
  PADDOCK_TRY_VOID(line.transfer_for_submit(point(2), other, point(3), deadline::in(5s)));
  PADDOCK_TRY_VOID(ended_as(line.wait_submitted(point(2), deadline::in(5s)), wait_status::signaled));
  PADDOCK_TRY_VOID(ended_as(line.wait_for_submit(point(9), deadline::in(1ms)), wait_status::timed_out));
  const std::array<syncobj_point, 2> both{{{&line, point(2)}, {&other, point(0)}}};
  PADDOCK_TRY_VOID(ended_as(wait_all(both, deadline::in(5s), {.wish = deadline::in(1s)}), wait_status::signaled));
  const std::array<syncobj_point, 2> later{{{&line, point(9)}, {&other, point(9)}}};
  PADDOCK_TRY_VOID(ended_as(wait_all(later, deadline::in(1ms), {.for_submit = true}), wait_status::timed_out));
  PADDOCK_TRY(const wait_any_outcome any, wait_any(both, deadline::in(5s)));
  REQUIRE(any.status == wait_status::signaled);
  const unique_fd event = make_event();
  PADDOCK_TRY_VOID(line.notify(event, point(2)));

  const acquire_point acquire(line, point(2));
  PADDOCK_TRY_VOID(ended_as(acquire.wait(deadline::in(5s)), wait_status::signaled));
  PADDOCK_TRY(const kernel::sync_file acquired, acquire.export_sync_file());
  release_point release(line, point(5));
  PADDOCK_TRY_VOID(release.submit(acquired));
  const release_point owed(line, point(6));
  return {};
}

result<void> use_fences(const std::string& node) {
  PADDOCK_TRY(const auto bridge, kernel::fence_bridge::for_event_loop());
  PADDOCK_TRY(const device gpu, device::open(node.c_str()));
  PADDOCK_TRY(const syncobj line, syncobj::create(gpu));
  PADDOCK_TRY_VOID(line.signal(point(1)));
  PADDOCK_TRY(const fence_ptr theirs, import_fence(bridge, line, point(1)));
  PADDOCK_TRY(const auto watched, watched_point::watch(bridge, line, point(3)));
  PADDOCK_TRY(const auto dropped, watched_point::watch(bridge, line, point(9), point_stage::submitted));
  PADDOCK_TRY_VOID(export_fence(theirs, line, point(2)));
  fence_context ours("faults", 1s);
  PADDOCK_TRY(const fence_ptr work, ours.create());
  PADDOCK_TRY_VOID(export_fence(work, line, point(3)));
  work->signal();
  PADDOCK_TRY(const timeline_point reached, line.signaled());
  // By a callback, whose failure has nobody to go to.
  if (reached == point(3)) {
    for (const deadline until = deadline::in(5s); !watched.fence().is_signaled();) {
      REQUIRE_FALSE(until.passed());
      PADDOCK_TRY_VOID(bridge.dispatch());
    }
  }
  return {};
}

result<void> use_pictures(const std::string& node, const std::string& importer) {
  PADDOCK_TRY(const device gpu, device::open(node.c_str()));
  PADDOCK_TRY(const device other, device::open(importer.c_str()));
  PADDOCK_TRY(const dumb_buffer picture, dumb_buffer::create(gpu, 64, 32, 32));
  {
    PADDOCK_TRY(const auto bytes, picture.map());
    std::memset(bytes.bytes().data(), 0x5a, bytes.bytes().size());
  }
  PADDOCK_TRY(const auto shared, picture.gem().export_());
  PADDOCK_TRY(const gem first, gem::import_(other, shared));
  PADDOCK_TRY(const gem second, gem::import_(other, shared));
  REQUIRE(first == second);
  PADDOCK_TRY(const auto back, second.export_(access::read));
  REQUIRE(back.id() == shared.id());
  return {};
}

/// Memory as a buffer of the model, attached to a device.
result<void> attach_memory(const std::string& node) {
  using buffer = dma_buf<kernel::udmabuf_exporter>;
  PADDOCK_TRY(const auto memory, kernel::udmabuf_device::open());
  PADDOCK_TRY(auto exporter, kernel::udmabuf_exporter::create(memory, 8192));
  const buffer_id id = exporter.id();
  PADDOCK_TRY(const auto shared, buffer::create(std::move(exporter)));
  PADDOCK_TRY(device gpu, device::open(node.c_str()));
  importer into(std::move(gpu));
  attachment<buffer, importer> link;
  PADDOCK_TRY_VOID(link.attach(shared, into));
  PADDOCK_TRY(auto mapped, link.map(direction::bidirectional));
  PADDOCK_TRY(auto again, link.map(direction::to_device));
  REQUIRE(mapped.mapped().handle() == again.mapped().handle());
  PADDOCK_TRY_VOID(link.unmap(std::move(again)));
  PADDOCK_TRY(const auto seen, mapped.mapped().export_(access::read));
  REQUIRE(seen.id() == id);
  PADDOCK_TRY(auto write, cpu_access<access::write>::begin(*shared));
  std::memset(write.bytes().data(), 0x5a, write.bytes().size());
  PADDOCK_TRY_VOID(write.finish());
  PADDOCK_TRY_VOID(link.unmap(std::move(mapped)));
  return link.detach();
}

/// In a file that stays open, what is left over would be seen.
result<void> make_and_drop(const device& gpu, const device& other) {
  PADDOCK_TRY(const syncobj line, syncobj::create(gpu));
  PADDOCK_TRY_VOID(line.signal(point(1)));
  PADDOCK_TRY(const kernel::sync_file fence, line.export_sync_file(point(1)));
  PADDOCK_TRY_VOID(line.import_sync_file(fence, point(2)));
  PADDOCK_TRY(const unique_fd given, line.export_());
  PADDOCK_TRY_VOID(syncobj::import_(gpu, given));
  PADDOCK_TRY(const dumb_buffer picture, dumb_buffer::create(other, 64, 32, 32));
  PADDOCK_TRY(const auto shared, picture.gem().export_());
  PADDOCK_TRY_VOID(gem::import_(other, shared));
  return {};
}

/// The kernel gives the lowest number that is free: it stays the same, unless the kernel refused to take one back,
/// which was told.
class no_handle_more {
 public:
  no_handle_more(const device& gpu, const device& other) : gpu_(gpu), other_(other), known_(next()) {}
  void operator()(const result<void>&) {
    const auto now = next();
    REQUIRE((now == known_ || test::lost_errors::count() != lost_));
    known_ = now;
    lost_ = test::lost_errors::count();
  }

 private:
  [[nodiscard]] std::pair<std::uint32_t, std::uint32_t> next() const {
    return {syncobj::create(gpu_)->handle().value(), dumb_buffer::create(other_, 64, 32, 32)->gem().handle().value()};
  }
  const device& gpu_;
  const device& other_;
  std::pair<std::uint32_t, std::uint32_t> known_;
  int lost_{0};
};

/// All of it, and a device that goes in the middle of it.
void run(const test::scenario& what) {
  test::fail_each_call(what);
  test::fail_each_call(what, test::device_loss);
}

}  // namespace

TEST_CASE("faults: binary syncobjs, and probes") {
  const std::string node = node_of(open_gpu());
  run({.name = "boxes", .run = [&] { return use_boxes(node); }, .retries_again = true, .least = 30});
}
TEST_CASE("faults: points of syncobjs, and waits") {
  const std::string node = node_of(open_gpu());
  run({.name = "points", .run = [&] { return use_points(node); }, .retries_again = true, .least = 30});
}
TEST_CASE("faults: syncobjs and fences of this process") {
  const std::string node = node_of(open_gpu());
  run({.name = "fences", .run = [&] { return use_fences(node); }, .retries_again = true, .least = 20});
}
TEST_CASE("faults: pictures, and handles of them") {
  const std::string node = node_of(open_gpu(node_type::primary));
  const std::string importer = node_of(open_vgem());
  run({.name = "pictures of vgem",
       .run = [&] { return use_pictures(importer, importer); },
       .retries_again = true,
       .least = 30});
  run({.name = "pictures of virtio-gpu",
       .run = [&] { return use_pictures(node, node); },
       .retries_again = true,
       .least = 30});
}
TEST_CASE("faults: memory that is attached to a DRM device") {
  const std::string node = node_of(open_vgem());
  run({.name = "attached memory", .run = [&] { return attach_memory(node); }, .retries_again = true, .least = 20});
}
TEST_CASE("faults: handles in a file that stays open") {
  const device gpu = open_gpu();
  const device other = open_vgem();
  test::fail_each_call({.name = "handles",
                        .run = [&] { return make_and_drop(gpu, other); },
                        .retries_again = true,
                        .least = 15,
                        .check = no_handle_more(gpu, other)});
}
TEST_CASE("faults: a driver that is looked for") {
  open_gpu();
  test::fail_each_call({.name = "look",
                        .run = []() -> result<void> {
                          PADDOCK_TRY_VOID(device::open_driver("virtio_gpu", node_type::render));
                          return {};
                        },
                        .retries_again = true,
                        .least = 10});
}

}  // namespace paddock::drm
