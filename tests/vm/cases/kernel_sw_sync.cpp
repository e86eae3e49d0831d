// SPDX-License-Identifier: BSL-1.0
// IGT's sw_sync and the kernel's own selftest sync: fences of one context, and fences that fail. They need a kernel
// with CONFIG_SW_SYNC and debugfs.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include <paddock/base/uapi/ioctl_number.hpp>
#include <paddock/kernel/fence_bridge.hpp>
#include <paddock/kernel/implicit_sync.hpp>
#include <paddock/kernel/sync_file.hpp>

#include "kernel_support.hpp"
#include "processes.hpp"

namespace paddock::kernel {

namespace {

using namespace std::chrono_literals;
constexpr auto done = wait_status::signaled;
constexpr auto late = wait_status::timed_out;

/// A timeline of the kernel's: a fence of it is done when it has come to the fence's value.
class sw_timeline {
 public:
  sw_timeline() : fd_(unique_fd::adopt(::open("/sys/kernel/debug/sync/sw_sync", O_RDWR | O_CLOEXEC))) {
    if (!fd_.valid()) {
      test::skip("this kernel has no sw_sync");
    }
  }
  [[nodiscard]] sync_file fence(std::uint32_t value) const {
    create_argument argument{};
    argument.value = value;
    std::strncpy(argument.name, "paddock", sizeof argument.name - 1);
    REQUIRE(::ioctl(fd_.get(), uapi::iowr<create_argument>('W', 0), &argument) == 0);
    auto made = sync_file::adopt(unique_fd::adopt(argument.fence));
    REQUIRE(made);
    return *std::move(made);
  }
  void advance(std::uint32_t by) const { REQUIRE(advance_by(fd_.get(), by) == 0); }
  void close() { fd_ = unique_fd(); }
  [[nodiscard]] borrowed_fd fd() const { return fd_; }

  static int advance_by(int fd, std::uint32_t by) { return ::ioctl(fd, uapi::iow<std::uint32_t>('W', 1), &by); }

 private:
  struct create_argument {
    std::uint32_t value;
    char name[32];
    std::int32_t fence;
  };
  unique_fd fd_;
};

}  // namespace

TEST_CASE("sw_sync: fences of one timeline complete in their order (Y1, Y2, Y7, YK4)") {
  const sw_timeline line;
  CHECK(line.fence(0).wait(deadline::now()) == done);
  const auto five = line.fence(5);
  CHECK(five.wait(deadline::now()) == late);
  line.advance(1);
  CHECK(five.wait(deadline::in(10ms)) == late);
  line.advance(4);
  CHECK(five.wait(deadline::now()) == done);
  line.advance(5);
  CHECK(five.wait(deadline::now()) == done);
  std::uint32_t now = 10;
  for (const std::uint32_t step : {2U, 3U, 5U, 7U, 11U, 13U, 17U, 19U, 23U, 29U}) {
    const auto next = line.fence(now + step);
    line.advance(step);
    now += step;
    CHECK(next.wait(deadline::now()) == done);
  }
}

TEST_CASE("sw_sync: a timeline that is closed leaves what was done, and fails the rest (Y5)") {
  sw_timeline line;
  const auto bridge = fence_bridge::create();
  REQUIRE(bridge);
  const auto first = line.fence(1);
  const auto second = line.fence(2);
  const fence_ptr lost = *bridge->import_(*second.dup());
  line.advance(1);
  line.close();
  CHECK(first.wait(deadline::now()) == done);
  CHECK(second.wait(deadline::in(5s)) == wait_status::failed);
  CHECK(second.info()->sys_errno() == ENOENT);
  CHECK(wait(*lost, deadline::in(5s)) == wait_status::failed);
  CHECK(lost->sys_errno() == ENOENT);
}

TEST_CASE("sw_sync: a failure reaches the callbacks of the bridge with its errno and its time") {
  sw_timeline line;
  const auto bridge = fence_bridge::create();
  const fence_ptr pending = *bridge->import_(line.fence(1));
  const auto begin = monotonic_clock::now();
  std::thread closer([&] {
    std::this_thread::sleep_for(20ms);
    line.close();
  });
  CHECK(wait(*pending, deadline::in(5s), eventfd_wait{}) == wait_status::failed);
  closer.join();
  CHECK(pending->sys_errno() == ENOENT);
  CHECK(pending->timestamp() >= begin);
}

TEST_CASE(
    "sw_sync: a child completes what its parent waits for, by what it inherited and by what it is sent (Y8, Y9)") {
  for (const bool sent : {false, true}) {
    const sw_timeline line;
    const auto fence = line.fence(1);
    int sockets[2]{-1, -1};
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0);
    const auto here = unique_fd::adopt(sockets[0]);
    const auto there = unique_fd::adopt(sockets[1]);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      int timeline = line.fd().get();
      if (sent) {
        ::close(timeline);
        timeline = test::receive_raw(there);
      }
      ::usleep(300000);
      ::_exit(sw_timeline::advance_by(timeline, 1) == 0 ? 0 : 1);
    }
    if (sent) {
      test::send_raw(here, "t", 1, {line.fd().get()});
    }
    CHECK(fence.wait(deadline::in(50ms)) == late);
    CHECK(fence.wait(deadline::in(10s)) == done);
    int status = -1;
    CHECK(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
}

TEST_CASE("sw_sync: a merge of one timeline keeps the latest, of several it waits for all (Y6, Y12, Y13, YK6, YK7)") {
  const sw_timeline a;
  const sw_timeline b;
  const sw_timeline c;
  const auto same = sync_file::merge(a.fence(5), a.fence(3));
  REQUIRE(same);
  CHECK(same->info()->fences().size() == 1);
  const std::vector<sync_file> parts = [&] {
    std::vector<sync_file> made;
    made.push_back(a.fence(5));
    made.push_back(b.fence(5));
    made.push_back(c.fence(5));
    return made;
  }();
  const auto all = sync_file::merge(parts);
  REQUIRE(all);
  CHECK(all->info()->fences().size() == 3);
  a.advance(5);
  CHECK(same->wait(deadline::now()) == done);
  CHECK(all->wait(deadline::now()) == late);
  b.advance(5);
  CHECK(all->wait(deadline::now()) == late);
  c.advance(5);
  CHECK(all->wait(deadline::now()) == done);
}

TEST_CASE("sw_sync: merging what is done is done at once, however often (Y17)") {
  const sw_timeline line;
  line.advance(100);
  const auto one = line.fence(1);
  for (int i = 0; i < 1000; ++i) {
    const auto merged = sync_file::merge(one, one);
    REQUIRE(merged);
    REQUIRE(merged->wait(deadline::never()) == done);
  }
}

TEST_CASE("dmabuf_sync_file: three fences imported to read, to write and for both (D5)") {
  const auto buffer = dma_heap::open("system")->allocate(4096);
  REQUIRE(buffer);
  const auto bridge = fence_bridge::create();
  implicit_sync kernels(buffer->borrow(), *bridge);
  for (const access how : {access::read, access::write, access::read_write}) {
    const sw_timeline line;
    REQUIRE(kernels.import_(*bridge->import_(line.fence(1)), how));
    const bool holds_readers = how != access::read;
    CHECK((*kernels.export_(access::read))->is_signaled() == !holds_readers);
    CHECK_FALSE((*kernels.export_(access::write))->is_signaled());
    CHECK(buffer->poll(access::read) == (holds_readers ? late : done));
    CHECK(buffer->poll(access::write) == late);
    line.advance(1);
    CHECK(buffer->wait(access::write, deadline::in(5s)) == done);
  }
}

}  // namespace paddock::kernel
