// SPDX-License-Identifier: BSL-1.0
// Every system call of kernel/ fails once, in every way: what comes back is a typed error or a success, no descriptor
// is lost, and no bracket stays open.
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <paddock/buffer/cpu_access.hpp>
#include <paddock/kernel/dma_heap.hpp>
#include <paddock/kernel/p2pmem.hpp>
#include <paddock/kernel/probe.hpp>
#include <paddock/kernel/udmabuf.hpp>

#include "catch.hpp"
#include "fake_kernel.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::kernel {

namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t size = 8192;

std::vector<error> lost;
struct collect_lost {
  collect_lost() {
    lost.clear();
    set_lost_error_handler([](const error& e) noexcept { lost.push_back(e); });
    fake_kernel::fences = {};
    fake_kernel::interrupt_every_ms = 0;
  }
  ~collect_lost() { set_lost_error_handler(nullptr); }
};

result<void> write_through(const dma_buf_fd& buffer) {
  PADDOCK_TRY(auto mapping, buffer.map(access::read_write));
  PADDOCK_TRY(auto window, buffer.map(access::read, 4096, 4096));
  {
    PADDOCK_TRY(auto guard, cpu_access<access::write>::begin(mapping));
    guard.bytes()[0] = std::byte{1};
    auto moved = std::move(guard);
    PADDOCK_TRY_VOID(moved.finish());
  }
  PADDOCK_TRY(auto planes, cpu_access_planes<access::read>::begin(mapping, window));
  PADDOCK_TRY_VOID(planes.finish());
  return mapping.unmap();
}

result<void> use_heap() {
  PADDOCK_TRY(const auto heap, dma_heap::open("system"));
  PADDOCK_TRY(const auto buffer, heap.allocate(size, "fault"));
  return write_through(buffer);
}

result<void> use_udmabuf() {
  PADDOCK_TRY(const auto device, udmabuf_device::open());
  PADDOCK_TRY(auto whole, udmabuf::create(device, size, "fault"));
  PADDOCK_TRY(const auto address, whole.memory().map());
  PADDOCK_TRY(auto memory, memfd::adopt(std::move(whole).release().second.release()));
  const udmabuf_window parts[]{{memory.fd(), 0, 4096}, {memory.fd(), 4096, 4096}};
  PADDOCK_TRY(const auto list, device.create(parts));
  PADDOCK_TRY(auto copy, list.dup());
  PADDOCK_TRY(auto again, dma_buf_fd::adopt(std::move(copy).release()));
  return write_through(again);
}

result<void> use_fences() {
  PADDOCK_TRY(const auto heap, dma_heap::open("system"));
  PADDOCK_TRY(const auto buffer, heap.allocate(size));
  PADDOCK_TRY(const auto a, buffer.export_sync_file(access::read));
  PADDOCK_TRY(const auto b, buffer.export_sync_file(access::write));
  PADDOCK_TRY(auto both, sync_file::merge(a, b));
  PADDOCK_TRY_VOID(both.wait(deadline::in(1s)));
  PADDOCK_TRY_VOID(both.set_deadline(deadline::in(1s)));
  PADDOCK_TRY_VOID(both.status());
  PADDOCK_TRY_VOID(both.info());
  PADDOCK_TRY(auto copy, both.dup());
  PADDOCK_TRY(auto again, sync_file::adopt_or_signaled(std::move(copy).release()));
  PADDOCK_TRY_VOID(buffer.import_sync_file(again, access::write));
  std::vector<sync_file> many;
  many.push_back(std::move(both));
  many.push_back(std::move(again));
  PADDOCK_TRY_VOID(sync_file::merge(many));
  PADDOCK_TRY_VOID(buffer.wait(access::write, deadline::in(1s)));
  return {};
}

result<void> use_probe() {
  for (const feature f : all_features) {
    const auto answered = probe(f);
    if (answered.value == answer::unknown) {
      return fail(answered.reason);
    }
  }
  return {};
}

/// A sysfs in which a file stands for a provider's memory.
struct provider_folder {
  std::filesystem::path root = std::filesystem::temp_directory_path() / ("paddock-fault-" + std::to_string(::getpid()));
  provider_folder() {
    const auto folder = root / "sys/bus/pci/devices/0000:01:00.0/p2pmem";
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "allocate") << std::string(size, '\0');
  }
  ~provider_folder() { std::filesystem::remove_all(root); }
};
const provider_folder provider;

result<void> use_p2pmem() {
  PADDOCK_TRY(auto first, p2pmem::allocate(pci::address{0, 1, 0, 0}, size, provider.root));
  PADDOCK_TRY(const auto second, p2pmem::allocate(first.provider(), size, provider.root));
  return first.unmap();
}

const std::vector<std::function<result<void>()>> scenarios{use_heap, use_udmabuf, use_fences, use_probe, use_p2pmem};

bool is_retried(fake_kernel::call hit, int sys_errno) {
  using fake_kernel::call;
  if (hit == call::ioctl) {
    return sys_errno == EINTR || sys_errno == EAGAIN;
  }
  return sys_errno == EINTR && (hit == call::ppoll || hit == call::open || hit == call::ftruncate ||
                                hit == call::fstatfs || hit == call::close);
}

/// Runs a scenario once for each of its system calls, which then fails `count` times.
void fail_each_call(const std::function<result<void>()>& scenario, int sys_errno, int count) {
  const int descriptors = fake_kernel::open_descriptors();
  for (int index = 0;; ++index) {
    fake_kernel::fences.growing = 2;
    lost.clear();
    fake_kernel::arm(index, count, sys_errno);
    const auto answered = scenario();
    fake_kernel::disarm();
    INFO("call " << index << " errno " << sys_errno << " hit " << static_cast<int>(fake_kernel::first_injected())
                 << " answer " << (answered ? "success" : fmt::format("{}", answered.error())));
    REQUIRE(fake_kernel::open_descriptors() == descriptors);
    REQUIRE(fake_kernel::starts() == fake_kernel::ends());
    if (!fake_kernel::has_injected()) {
      REQUIRE(answered);
      REQUIRE(index > 5);
      return;
    }
    if (is_retried(fake_kernel::first_injected(), sys_errno)) {
      REQUIRE(answered);
      REQUIRE(lost.empty());
    } else if (!answered) {
      REQUIRE(answered.error().where != std::string_view());
      REQUIRE(answered.error().sys_errno == sys_errno);
    } else if (fake_kernel::first_injected() == fake_kernel::call::close) {
      REQUIRE(lost.size() == 1);
    }
  }
}

}  // namespace

TEST_CASE_METHOD(collect_lost, "every scenario works while nothing fails") {
  for (const auto& scenario : scenarios) {
    CHECK(scenario());
  }
}

TEST_CASE_METHOD(collect_lost, "EINTR and EAGAIN are invisible where the kernel means try again") {
  for (const auto& scenario : scenarios) {
    for (const int sys_errno : {EINTR, EAGAIN}) {
      fail_each_call(scenario, sys_errno, 1);
    }
  }
}

TEST_CASE_METHOD(collect_lost, "a storm of signals changes nothing") {
  for (const auto& scenario : {use_heap, use_fences}) {
    const int descriptors = fake_kernel::open_descriptors();
    // Calls that cannot be interrupted are in between, so the storm stops at each; it starts anew at every call.
    for (int index = 0; index < 40; ++index) {
      fake_kernel::arm(index, 100, EINTR);
      const auto answered = scenario();
      fake_kernel::disarm();
      if (fake_kernel::has_injected() && is_retried(fake_kernel::first_injected(), EINTR)) {
        INFO("call " << index);
        CHECK(answered);
      }
      CHECK(fake_kernel::open_descriptors() == descriptors);
      CHECK(fake_kernel::starts() == fake_kernel::ends());
    }
  }
}

TEST_CASE_METHOD(collect_lost, "every failure of every call is a typed error that leaks nothing") {
  for (const auto& scenario : scenarios) {
    for (const int sys_errno : {EMFILE, ENOMEM, ENOTTY, EFAULT, EBADF, EPERM}) {
      fail_each_call(scenario, sys_errno, 1);
    }
  }
}

TEST_CASE_METHOD(collect_lost, "signals do not extend the deadline of a wait") {
  const auto heap = dma_heap::open("system");
  const auto buffer = heap->allocate(size);
  const auto fence = buffer->export_sync_file(access::write);
  REQUIRE(fence);
  fake_kernel::fences.completes = false;
  fake_kernel::interrupt_every_ms = 2;
  for (const bool of_buffer : {false, true}) {
    const auto begin = monotonic_clock::now();
    const deadline until = deadline::in(60ms);
    CHECK((of_buffer ? buffer->wait(access::read, until) : fence->wait(until)) == wait_status::timed_out);
    const auto took = monotonic_clock::now() - begin;
    CHECK(took >= 60ms);
    CHECK(took < 5s);
  }
  CHECK(fence->wait(deadline::now()) == wait_status::timed_out);
}

TEST_CASE_METHOD(collect_lost, "a fence that completed with an error is failed, and says which") {
  const auto fence = dma_heap::open("system")->allocate(size)->export_sync_file(access::write);
  REQUIRE(fence);
  fake_kernel::fences.status = -ETIME;
  CHECK(fence->wait(deadline::in(1s)) == wait_status::failed);
  CHECK(fence->status() == sync_status::failed);
  CHECK(fence->info()->sys_errno() == ETIME);
}

TEST_CASE_METHOD(collect_lost, "POLLERR and POLLNVAL are no completion") {
  const auto fence = dma_heap::open("system")->allocate(size)->export_sync_file(access::write);
  REQUIRE(fence);
  fake_kernel::fences.extra_revents = POLLERR;
  CHECK(fence->wait(deadline::in(1s)).error() == errc::io);
  fake_kernel::fences.extra_revents = POLLNVAL;
  CHECK(fence->wait(deadline::in(1s)).error() == errc::bad_fd);
}

TEST_CASE_METHOD(collect_lost, "info asks again while fences are added, and gives up on any other refusal") {
  const auto fence = dma_heap::open("system")->allocate(size)->export_sync_file(access::write);
  REQUIRE(fence);
  const auto before = fence->info()->fences().size();
  fake_kernel::fences.growing = 3;
  const auto info = fence->info();
  REQUIRE(info);
  CHECK(info->fences().size() == before + 3);
  CHECK(info->fences()[0].timeline() == "timeline");
  fake_kernel::arm(1, 1, EINVAL);
  const auto refused = fence->info();
  fake_kernel::disarm();
  CHECK(refused.error().sys_errno == EINVAL);
}

TEST_CASE_METHOD(collect_lost, "a START that fails in the kernel hands out no bytes") {
  const auto mapping = dma_heap::open("system")->allocate(size)->map(access::read_write);
  REQUIRE(mapping);
  fake_kernel::arm(0, 1, EIO);
  const auto guard = cpu_access<access::write>::begin(*mapping);
  fake_kernel::disarm();
  REQUIRE_FALSE(guard);
  CHECK(guard.error() == errc::io);
  CHECK(fake_kernel::ends() == 0);
}

}  // namespace paddock::kernel
