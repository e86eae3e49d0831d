// SPDX-License-Identifier: BSL-1.0
// sync_files, implicit fences and CPU access that waits, with pending fences from vgem. Names in brackets are those of

#include <poll.h>
#include <sys/epoll.h>
#include <sys/time.h>

#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include <paddock/buffer/cpu_access.hpp>
#include <paddock/kernel/sync_file.hpp>

#include "kernel_support.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::kernel {

namespace {

using namespace std::chrono_literals;
constexpr auto ready = wait_status::signaled;
constexpr auto busy = wait_status::timed_out;

/// Readers have to wait, writers have to wait: by poll and by what would be exported, which have to agree.
void check_busy(const dma_buf_fd& buffer, wait_status readers, wait_status writers) {
  CHECK(buffer.poll(access::read) == readers);
  CHECK(buffer.poll(access::write) == writers);
  CHECK(buffer.poll(access::read_write) == writers);
  CHECK(buffer.export_sync_file(access::read)->wait(deadline::now()) == readers);
  CHECK(buffer.export_sync_file(access::write)->wait(deadline::now()) == writers);
  CHECK(buffer.export_sync_file(access::read_write)->wait(deadline::now()) == writers);
}

}  // namespace

TEST_CASE("sync_file of an idle buffer is signaled (D10)") {
  const auto buffer = dma_heap::open("system")->allocate(4096);
  REQUIRE(buffer);
  for (const access what : {access::read, access::write, access::read_write}) {
    const auto fence = buffer->export_sync_file(what);
    REQUIRE(fence);
    CHECK_FALSE(fence->is_already_signaled());
    CHECK(fence->wait(deadline::now()) == ready);
    CHECK(fence->status() == sync_status::signaled);
    CHECK(fence->info()->fences().size() == 1);
  }
}

TEST_CASE("sync_file of a pending fence times out, then is signaled (YL1, YL3)") {
  const vgem device;
  const auto fence = pending_fence::make(device);
  const auto begin = monotonic_clock::now();
  CHECK(fence.file.wait(deadline::now()) == busy);
  CHECK(fence.file.wait(deadline::in(50ms)) == busy);
  CHECK(monotonic_clock::now() - begin >= 50ms);
  const auto pending = fence.file.info();
  REQUIRE(pending);
  CHECK(pending->status() == sync_status::pending);
  REQUIRE(pending->fences().size() == 1);
  CHECK_FALSE(pending->fences()[0].driver().empty());
  CHECK_FALSE(pending->fences()[0].timeline().empty());
  CHECK_FALSE(pending->fences()[0].timestamp());

  std::thread other([&] {
    std::this_thread::sleep_for(50ms);
    fence.complete();
  });
  CHECK(fence.file.wait(deadline::in(9s)) == ready);
  other.join();
  const auto done = fence.file.info();
  REQUIRE(done);
  CHECK(done->status() == sync_status::signaled);
  const auto when = done->fences()[0].timestamp();
  REQUIRE(when);
  CHECK(*when >= begin + 50ms);
  CHECK(*when <= monotonic_clock::now());
}

TEST_CASE("sync_file wait keeps its deadline through signals (SF20)") {
  const vgem device;
  const auto fence = pending_fence::make(device);
  struct sigaction action {};
  action.sa_handler = [](int) {};
  REQUIRE(::sigaction(SIGALRM, &action, nullptr) == 0);
  const itimerval every{{0, 5000}, {0, 5000}};
  REQUIRE(::setitimer(ITIMER_REAL, &every, nullptr) == 0);
  const auto begin = monotonic_clock::now();
  CHECK(fence.file.wait(deadline::in(200ms)) == busy);
  const auto took = monotonic_clock::now() - begin;
  const itimerval off{};
  ::setitimer(ITIMER_REAL, &off, nullptr);
  CHECK(took >= 200ms);
  CHECK(took < 2s);
}

TEST_CASE("sync_file merge waits for all and keeps its members apart (Y13, SF5, YK6)") {
  const vgem device;
  const auto a = pending_fence::make(device);
  const auto b = pending_fence::make(device);
  const auto done = dma_heap::open("system")->allocate(4096)->export_sync_file(access::write);
  REQUIRE(done);

  const auto same = sync_file::merge(a.file, a.file);
  REQUIRE(same);
  CHECK(same->info()->fences().size() == 1);

  const auto with_done = sync_file::merge(a.file, *done, "with done");
  REQUIRE(with_done);
  CHECK(with_done->info()->name() == "with done");
  CHECK(with_done->wait(deadline::now()) == busy);

  const auto both = sync_file::merge(a.file, b.file);
  REQUIRE(both);
  CHECK(both->info()->fences().size() == 2);
  a.complete();
  CHECK(with_done->wait(deadline::now()) == ready);
  CHECK(both->wait(deadline::now()) == busy);
  const auto half = both->info();
  REQUIRE(half);
  CHECK(half->status() == sync_status::pending);
  int signaled = 0;
  for (const fence_info& fence : half->fences()) {
    signaled += fence.status() == sync_status::signaled ? 1 : 0;
    CHECK((fence.status() == sync_status::signaled) == fence.timestamp().has_value());
  }
  CHECK(signaled == 1);
  CHECK(a.file.wait(deadline::now()) == ready);
  CHECK(b.file.wait(deadline::now()) == busy);
  b.complete();
  CHECK(both->wait(deadline::now()) == ready);

  std::vector<sync_file> all;
  all.push_back(sync_file::already_signaled());
  const auto c = pending_fence::make(device);
  all.push_back(std::move(*c.file.dup()));
  all.push_back(sync_file::already_signaled());
  const auto merged = sync_file::merge(all);
  REQUIRE(merged);
  CHECK(merged->wait(deadline::now()) == busy);
  c.complete();
  CHECK(merged->wait(deadline::now()) == ready);
}

TEST_CASE("sync_file is adopted only when it is one (Y10, SF3)") {
  const vgem device;
  const auto fence = pending_fence::make(device);
  CHECK(sync_file::dup(fence.file.fd())->wait(deadline::now()) == busy);
  CHECK(sync_file::dup(device.fd()).error() == errc::bad_fd);
  CHECK(sync_file::dup(fence.where.buffer().fd()).error() == errc::bad_fd);
  CHECK(sync_file::dup(borrowed_fd(-1)).error() == errc::bad_fd);
  CHECK(sync_file::adopt_or_signaled(unique_fd())->wait(deadline::now()) == ready);
  fence.complete();
}

TEST_CASE("sync_file takes a deadline hint (SF11)") {
  const vgem device;
  const auto fence = pending_fence::make(device);
  CHECK(fence.file.set_deadline(deadline::in(16ms)));
  CHECK(fence.file.set_deadline(deadline::now()));
  CHECK(fence.file.set_deadline(deadline::never()));
  uapi::sync_set_deadline bad{0, 1};
  CHECK(::ioctl(fence.file.fd().get(), uapi::sync_ioc_set_deadline, &bad) == -1);
  CHECK(errno == EINVAL);
  fence.complete();
}

TEST_CASE("sync_file wakes an event loop once (SF14)") {
  const vgem device;
  const auto fence = pending_fence::make(device);
  const unique_fd loop = unique_fd::adopt(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  REQUIRE(::epoll_ctl(loop.get(), EPOLL_CTL_ADD, fence.file.fd().get(), &event) == 0);
  CHECK(::epoll_wait(loop.get(), &event, 1, 0) == 0);
  fence.complete();
  CHECK(::epoll_wait(loop.get(), &event, 1, 1000) == 1);
  CHECK(::epoll_wait(loop.get(), &event, 1, 0) == 0);
}

TEST_CASE("implicit fences: readers wait for writers, writers for everybody (D1, V12)") {
  const vgem device;
  const auto shared = fenced_buffer::make(device);
  check_busy(shared.buffer(), ready, ready);
  const auto reader = shared.start(access::read);
  check_busy(shared.buffer(), ready, busy);
  device.signal(reader);
  check_busy(shared.buffer(), ready, ready);
  const auto writer = shared.start(access::write);
  check_busy(shared.buffer(), busy, busy);
  device.signal(writer);
  check_busy(shared.buffer(), ready, ready);
}

TEST_CASE("implicit fences: an exported snapshot completes with what was in it (D2, D15)") {
  const vgem device;
  const auto shared = fenced_buffer::make(device);
  const auto idle = shared.buffer().export_sync_file(access::write);
  const auto reader = shared.start(access::read);
  const auto for_read = shared.buffer().export_sync_file(access::read);
  const auto for_write = shared.buffer().export_sync_file(access::write);
  REQUIRE((idle && for_read && for_write));
  CHECK(idle->wait(deadline::now()) == ready);
  CHECK(for_read->wait(deadline::now()) == ready);
  CHECK(for_write->wait(deadline::now()) == busy);
  device.signal(reader);
  CHECK(for_write->wait(deadline::now()) == ready);
}

TEST_CASE("implicit fences: an imported sync_file makes others wait as its access says (D5, D9)") {
  const vgem device;
  const auto target = fenced_buffer::make(device);
  const auto as_reader = pending_fence::make(device);
  REQUIRE(target.buffer().import_sync_file(as_reader.file, access::read));
  check_busy(target.buffer(), ready, busy);
  as_reader.complete();
  check_busy(target.buffer(), ready, ready);

  for (const access what : {access::write, access::read_write}) {
    const auto fence = pending_fence::make(device);
    REQUIRE(target.buffer().import_sync_file(fence.file, what));
    check_busy(target.buffer(), busy, busy);
    CHECK(target.buffer().wait(access::read, deadline::in(30ms)) == busy);
    fence.complete();
    check_busy(target.buffer(), ready, ready);
    // Signaled: nothing to wait for, whether there is a descriptor or not.
    CHECK(target.buffer().import_sync_file(fence.file, what));
    CHECK(target.buffer().import_sync_file(sync_file::already_signaled(), what));
    check_busy(target.buffer(), ready, ready);
  }
}

TEST_CASE("implicit fences: many imported readers hold off the writer until the last (D6)") {
  const vgem device;
  const auto target = fenced_buffer::make(device);
  std::vector<pending_fence> readers;
  for (int i = 0; i < 32; ++i) {
    readers.push_back(pending_fence::make(device));
    REQUIRE(target.buffer().import_sync_file(readers.back().file, access::read));
  }
  CHECK(target.buffer().export_sync_file(access::write)->info()->fences().size() == 32);
  while (!readers.empty()) {
    CHECK(target.buffer().poll(access::read) == ready);
    CHECK(target.buffer().poll(access::write) == busy);
    readers.back().complete();
    readers.pop_back();
  }
  check_busy(target.buffer(), ready, ready);
}

TEST_CASE("implicit fences: a wait on a buffer ends when the writer does, also after a dup was closed (D17)") {
  const vgem device;
  const auto shared = fenced_buffer::make(device);
  const auto writer = shared.start(access::write);
  std::thread other([&] {
    { const auto copy = shared.buffer().dup(); }
    std::this_thread::sleep_for(50ms);
    device.signal(writer);
  });
  CHECK(shared.buffer().wait(access::read, deadline::in(9s)) == ready);
  other.join();
}

TEST_CASE("cpu_access START waits for the pending writer, and sees its bytes (PV9u)") {
  const vgem device;
  const auto shared = fenced_buffer::make(device);
  const auto mapping = shared.buffer().map(access::read_write);
  REQUIRE(mapping);
  const auto writer = shared.start(access::write);
  std::atomic<bool> completed{false};
  std::thread job([&] {
    std::this_thread::sleep_for(100ms);
    mapping->unsynchronized_bytes()[0] = std::byte{42};
    completed = true;
    device.signal(writer);
  });
  auto guard = cpu_access<access::read>::begin(*mapping);
  const bool waited = completed;
  job.join();
  REQUIRE(guard);
  CHECK(waited);
  CHECK(guard->bytes()[0] == std::byte{42});
  CHECK(guard->finish());
}

TEST_CASE("cpu_access for reading does not wait for readers, for writing it does (PV10u)") {
  const vgem device;
  const auto shared = fenced_buffer::make(device);
  const auto mapping = shared.buffer().map(access::read_write);
  REQUIRE(mapping);
  const auto reader = shared.start(access::read);
  const auto begin = monotonic_clock::now();
  CHECK(cpu_access<access::read>::begin(*mapping));
  CHECK(monotonic_clock::now() - begin < 5s);

  std::atomic<bool> completed{false};
  std::thread job([&] {
    std::this_thread::sleep_for(100ms);
    completed = true;
    device.signal(reader);
  });
  const auto guard = cpu_access<access::write>::begin(*mapping);
  const bool waited = completed;
  job.join();
  REQUIRE(guard);
  CHECK(waited);
}

TEST_CASE("cpu_access START survives signals while it waits (PM15)") {
  const vgem device;
  const auto shared = fenced_buffer::make(device);
  const auto mapping = shared.buffer().map(access::read_write);
  REQUIRE(mapping);
  const auto writer = shared.start(access::write);
  struct sigaction action {};
  action.sa_handler = [](int) {};
  REQUIRE(::sigaction(SIGALRM, &action, nullptr) == 0);
  // The job must not take the signals that are meant for the waiter.
  sigset_t alarm;
  ::sigemptyset(&alarm);
  ::sigaddset(&alarm, SIGALRM);
  ::pthread_sigmask(SIG_BLOCK, &alarm, nullptr);
  std::thread job([&] {
    std::this_thread::sleep_for(200ms);
    device.signal(writer);
  });
  ::pthread_sigmask(SIG_UNBLOCK, &alarm, nullptr);
  const itimerval every{{0, 3000}, {0, 3000}};
  REQUIRE(::setitimer(ITIMER_REAL, &every, nullptr) == 0);
  const auto begin = monotonic_clock::now();
  const auto guard = cpu_access<access::read>::begin(*mapping);
  const auto took = monotonic_clock::now() - begin;
  const itimerval off{};
  ::setitimer(ITIMER_REAL, &off, nullptr);
  job.join();
  CHECK(guard);
  CHECK(took > 100ms);
}

}  // namespace paddock::kernel
