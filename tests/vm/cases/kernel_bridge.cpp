// SPDX-License-Identifier: BSL-1.0
// Kernel fences as fences of this process, and the fences of a dma-buf and of a reservation brought together.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include <atomic>
#include <filesystem>
#include <iterator>
#include <thread>
#include <vector>

#include <paddock/fence/await.hpp>
#include <paddock/fence/merge.hpp>
#include <paddock/kernel/bridged_event.hpp>
#include <paddock/kernel/fence_bridge.hpp>
#include <paddock/kernel/implicit_sync.hpp>
#include <paddock/resv/registry.hpp>

#include "kernel_support.hpp"
#include "processes.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock::kernel {

namespace {

using namespace std::chrono_literals;
using test::threads;
constexpr auto done = wait_status::signaled;
constexpr auto late = wait_status::timed_out;

template <class T>
errc code_of(const result<T>& answer) {
  return answer ? errc{} : answer.error().code;
}

/// Waits until this process has no more threads: one that has told everything ends a little later.
bool comes_down_to(std::ptrdiff_t wanted) {
  for (int i = 0; i < 300 && threads() > wanted; ++i) {
    std::this_thread::sleep_for(10ms);
  }
  return threads() <= wanted;
}

struct counter final : fence_callback {
  counter() noexcept : fence_callback(&run) {}
  counter(const counter&) = delete;
  counter& operator=(const counter&) = delete;
  ~counter() { retire(); }
  static void run(fence_callback& node, const fence_outcome& outcome) noexcept {
    auto& self = static_cast<counter&>(node);
    self.outcome = outcome;
    ++self.runs;
  }
  std::atomic<int> runs{0};
  fence_outcome outcome{};
};

unique_fd make_event() { return unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }
void add_one(borrowed_fd event) {
  const std::uint64_t one = 1;
  REQUIRE(::write(event.get(), &one, sizeof one) == sizeof one);
}

}  // namespace

TEST_CASE("bridge: a callback of a kernel fence runs when the kernel signals it, with its time") {
  const vgem device;
  const auto bridge = fence_bridge::create();
  REQUIRE(bridge);
  const auto before = threads();
  const auto work = pending_fence::make(device);
  const auto begin = monotonic_clock::now();
  counter told;
  {
    const fence_ptr theirs = *bridge->import_(*work.file.dup());
    CHECK(theirs->is_kernel_backed());
    CHECK_FALSE(theirs->poll());
    CHECK(threads() == before);  // Nobody is interested yet.
    REQUIRE(theirs->add_callback(told) == add_outcome::added);
    CHECK(threads() == before + 1);
  }
  // The callback keeps what it waits for alive.
  work.complete();
  for (int i = 0; i < 500 && told.runs == 0; ++i) {
    std::this_thread::sleep_for(10ms);
  }
  REQUIRE(told.runs == 1);
  CHECK(told.outcome.sys_errno == 0);
  CHECK(told.outcome.timestamp >= begin);
  CHECK(told.outcome.timestamp <= monotonic_clock::now());
  CHECK(comes_down_to(before));  // No thread when nothing is pending.
}

TEST_CASE("bridge: who waits alone sleeps at the descriptor, and starts no thread") {
  const vgem device;
  const auto bridge = fence_bridge::create();
  const auto before = threads();
  const auto wait_by = [&](auto policy) {
    const auto work = pending_fence::make(device);
    const fence_ptr theirs = *bridge->import_(*work.file.dup());
    CHECK(wait(*theirs, deadline::in(20ms), policy) == late);
    CHECK(threads() == before);
    work.complete();
    CHECK(wait(*theirs, deadline::in(5s), policy) == done);
    CHECK(threads() == before);
  };
  wait_by(hybrid_wait{});
  wait_by(futex_wait{});
  wait_by(polling_wait{});
  const auto one = pending_fence::make(device);
  const auto two = pending_fence::make(device);
  const std::vector<fence_ptr> both{*bridge->import_(*one.file.dup()), *bridge->import_(*two.file.dup())};
  CHECK(wait_all(both, deadline::in(20ms)) == late);
  one.complete();
  two.complete();
  CHECK(wait_all(both, deadline::in(5s)) == done);
  CHECK(threads() == before);
}

TEST_CASE("bridge: waits that somebody has to be told of are, by the thread") {
  const vgem device;
  const auto bridge = fence_bridge::shared();
  REQUIRE(bridge);
  const auto wait_by = [&](auto policy) {
    const auto work = pending_fence::make(device);
    const fence_ptr theirs = *bridge->import_(*work.file.dup());
    std::thread other([&] {
      std::this_thread::sleep_for(20ms);
      work.complete();
    });
    CHECK(wait(*theirs, deadline::in(5s), policy) == done);
    other.join();
  };
  wait_by(eventfd_wait{});
  wait_by(spin_wait{});
  const auto one = pending_fence::make(device);
  const auto two = pending_fence::make(device);
  const std::vector<fence_ptr> both{*bridge->import_(*one.file.dup()), *bridge->import_(*two.file.dup())};
  two.complete();
  CHECK(wait_any(both, deadline::in(5s))->index == 1);
  const fence_ptr merged = *merge(both);
  one.complete();
  CHECK(wait(*merged, deadline::in(5s)) == done);
}

TEST_CASE("bridge: -1 is signaled, and a sync_file that was moved away is an error") {
  const auto bridge = fence_bridge::create();
  const fence_ptr always = *bridge->import_(sync_file::already_signaled());
  CHECK(always->is_signaled());
  auto gone = sync_file::already_signaled();
  const auto kept = std::move(gone);
  CHECK(code_of(bridge->import_(std::move(gone))) == errc::bad_fd);  // NOLINT(bugprone-use-after-move): the case.
}

TEST_CASE("bridge: an event loop of the caller's is told by a descriptor, and completes fences itself") {
  const vgem device;
  auto bridge = fence_bridge::for_event_loop();
  REQUIRE(bridge);
  const auto before = threads();
  const auto work = pending_fence::make(device);
  const auto other = pending_fence::make(device);
  counter told;
  counter untold;
  const fence_ptr theirs = *bridge->import_(*work.file.dup());
  const fence_ptr left = *bridge->import_(*other.file.dup());
  REQUIRE(theirs->add_callback(told) == add_outcome::added);
  REQUIRE(left->add_callback(untold) == add_outcome::added);
  CHECK(threads() == before);
  CHECK(*bridge->dispatch() == 0);
  work.complete();
  pollfd entry{bridge->fd().get(), POLLIN, 0};
  REQUIRE(::poll(&entry, 1, 5000) == 1);
  CHECK(told.runs == 0);
  CHECK(*bridge->dispatch() == 1);
  CHECK(told.runs == 1);
  // Without a loop nobody would tell the other one; "failed" would say that the device is done with its memory.
  const auto later = pending_fence::make(device);
  const fence_ptr outlives = *bridge->import_(*later.file.dup());
  bridge = fail(errc::canceled, "the bridge goes");
  CHECK_FALSE(left->is_signaled());
  counter asked_later;
  REQUIRE(outlives->add_callback(asked_later) == add_outcome::added);
  other.complete();
  later.complete();
  for (int i = 0; i < 500 && (untold.runs == 0 || asked_later.runs == 0); ++i) {
    std::this_thread::sleep_for(10ms);
  }
  CHECK(untold.runs == 1);
  CHECK(left->status() == done);
  CHECK(asked_later.runs == 1);
  CHECK(comes_down_to(before));
}

TEST_CASE("bridge: a fence has the kernel's time, not that of whoever tells it") {
  const vgem device;
  const auto bridge = fence_bridge::for_event_loop();
  const auto work = pending_fence::make(device);
  counter told;
  const fence_ptr theirs = *bridge->import_(*work.file.dup());
  REQUIRE(theirs->add_callback(told) == add_outcome::added);
  work.complete();
  const auto completed = monotonic_clock::now();
  std::this_thread::sleep_for(50ms);
  CHECK(*bridge->dispatch() == 1);
  CHECK(told.outcome.timestamp <= completed);
}

TEST_CASE("bridge: a sync_file of many fences is one fence") {
  const vgem device;
  const auto bridge = fence_bridge::create();
  std::vector<pending_fence> work;
  auto all = sync_file::already_signaled();
  for (int i = 0; i < 12; ++i) {
    work.push_back(pending_fence::make(device));
    all = *sync_file::merge(all, work.back().file);
  }
  const fence_ptr theirs = *bridge->import_(std::move(all));
  for (const pending_fence& each : work) {
    CHECK_FALSE(theirs->poll());
    each.complete();
  }
  CHECK(wait(*theirs, deadline::in(5s)) == done);
}

TEST_CASE("bridge: fences of one context stand for each other, the later one for the earlier") {
  const vgem device;
  const auto bridge = fence_bridge::create();
  const auto one = pending_fence::make(device);
  const auto two = pending_fence::make(device);
  const std::uint64_t context = detail::allocate_context_ids(1);
  const fence_ptr earlier = *bridge->import_(*one.file.dup(), context, 5);
  const fence_ptr later = *bridge->import_(*two.file.dup(), context, 6);
  CHECK(later->is_later_than(*earlier));
  CHECK(*merge({earlier, later}) == later);
  one.complete();
  two.complete();
}

TEST_CASE("bridge: thousands are pending at once, and each is told once") {
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  const rlimit before = limit;
  limit.rlim_cur = limit.rlim_max;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  const std::size_t count = limit.rlim_cur > 5000 ? 4000 : limit.rlim_cur / 2;
  const vgem device;
  const auto bridge = fence_bridge::create();
  const auto work = fenced_buffer::make(device);
  const std::uint32_t job = work.start(access::write);
  std::vector<counter> told(count);
  for (counter& each : told) {
    const auto file = work.buffer().export_sync_file(access::read);
    REQUIRE(file);
    const fence_ptr theirs = *bridge->import_(*file->dup());
    REQUIRE(theirs->add_callback(each) == add_outcome::added);
  }
  device.signal(job);
  for (counter& each : told) {
    for (int i = 0; i < 1000 && each.runs == 0; ++i) {
      std::this_thread::sleep_for(10ms);
    }
    REQUIRE(each.runs == 1);
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
}

TEST_CASE("bridge: an eventfd is a completion that nobody has promised, and can be taken back") {
  const auto bridge = fence_bridge::create();
  const unique_fd event = make_event();
  auto watched = bridged_event::watch(*bridge, *unique_fd::dup(event));
  REQUIRE(watched);
  CHECK(wait(watched->fence(), deadline::in(20ms)) == late);
  const auto promised = bounded(watched->fence(), deadline::in(10s));
  REQUIRE(promised);
  add_one(event);
  CHECK(wait(**promised, deadline::in(5s)) == done);
  std::uint64_t count = 0;
  CHECK(::read(event.get(), &count, sizeof count) == -1);  // It was taken.

  auto second = bridged_event::watch(*bridge, *unique_fd::dup(event));
  const user_fence canceled = second->fence();
  second->cancel();
  CHECK(canceled.sys_errno() == ECANCELED);
  add_one(event);
  auto third = bridged_event::watch(*bridge, make_event());
  const user_fence dropped = third->fence();
  third = fail(errc::canceled, "dropped");
  CHECK(dropped.sys_errno() == ECANCELED);
  CHECK(code_of(bridged_event::watch(*bridge, unique_fd())) == errc::bad_fd);
  CHECK(code_of(bridged_event::watch(*bridge, *detail::open("/", O_RDONLY, "open"))) == errc::permission);
}

TEST_CASE("bridge: a kernel fence goes back to the kernel, and nobody else's does") {
  const vgem device;
  const auto bridge = fence_bridge::create();
  const auto one = pending_fence::make(device);
  const auto two = pending_fence::make(device);
  const fence_ptr a = *bridge->import_(*one.file.dup());
  const fence_ptr b = *bridge->import_(*two.file.dup());
  const auto both = export_sync_file(*merge({a, b, stub_fence()}));
  REQUIRE(both);
  CHECK(both->info()->fences().size() == 2);
  CHECK(export_sync_file(stub_fence())->is_already_signaled());
  CHECK(export_sync_file(fence_ptr())->is_already_signaled());
  fence_context context("ours", 1s);
  const fence_ptr ours = *context.create();
  CHECK(code_of(export_sync_file(*merge({a, ours}))) == errc::not_exportable);
  ours->signal();
  CHECK(export_sync_file(ours)->is_already_signaled());
  one.complete();
  two.complete();
  CHECK(both->wait(deadline::in(5s)) == done);
}

TEST_CASE("implicit_sync: readers wait for writers, writers for everybody") {
  const vgem device;
  const auto memory = fenced_buffer::make(device);
  const auto bridge = fence_bridge::create();
  implicit_sync kernels(memory.buffer().borrow(), *bridge);
  CHECK((*kernels.export_(access::read))->is_signaled());
  CHECK((*kernels.export_(access::write))->is_signaled());
  const std::uint32_t reading = memory.start(access::read);
  CHECK((*kernels.export_(access::read))->is_signaled());
  const fence_ptr before_writing = *kernels.export_(access::write);
  CHECK(wait(*before_writing, deadline::in(20ms)) == late);
  device.signal(reading);
  CHECK(wait(*before_writing, deadline::in(5s)) == done);
  const std::uint32_t writing = memory.start(access::write);
  const fence_ptr before_reading = *kernels.export_(access::read);
  CHECK(wait(*before_reading, deadline::in(20ms)) == late);
  device.signal(writing);
  CHECK(wait(*before_reading, deadline::in(5s)) == done);
}

TEST_CASE("implicit_sync: a job of the kernel's is given to a buffer, one of this process is not") {
  const vgem device;
  const auto bridge = fence_bridge::create();
  const auto memory = fenced_buffer::make(device);
  implicit_sync kernels(memory.buffer().borrow(), *bridge);
  const auto work = pending_fence::make(device);
  REQUIRE(kernels.import_(*bridge->import_(*work.file.dup()), access::read));
  CHECK(memory.buffer().poll(access::read) == done);
  CHECK(memory.buffer().poll(access::write) == late);
  REQUIRE(kernels.import_(*bridge->import_(*work.file.dup()), access::write));
  CHECK(memory.buffer().poll(access::read) == late);
  work.complete();
  fence_context context("ours", 1s);
  const fence_ptr ours = *context.create();
  CHECK(code_of(kernels.import_(ours, access::write)) == errc::not_exportable);
  ours->signal();
  CHECK(kernels.import_(ours, access::write));
}

TEST_CASE("implicit_sync: a reservation takes over what the kernel keeps, once however often") {
  const vgem device;
  const auto bridge = fence_bridge::create();
  const auto memory = fenced_buffer::make(device);
  implicit_sync kernels(memory.buffer().borrow(), *bridge);
  const auto shared = reservation_of(memory.buffer().id());
  REQUIRE(shared);
  const std::uint32_t reading = memory.start(access::read);
  for (int i = 0; i < 3; ++i) {
    const auto held = (*shared)->lock();
    REQUIRE(kernels.pull(*held, **shared));
  }
  CHECK((*shared)->snapshot(usage::write)->size() == 0);
  CHECK((*shared)->snapshot(usage::read)->size() == 1);
  device.signal(reading);
  CHECK((*shared)->wait(usage::read, deadline::in(5s)) == done);
  const std::uint32_t writing = memory.start(access::write);
  {
    const auto held = (*shared)->lock();
    REQUIRE(kernels.pull(*held, **shared));
  }
  CHECK((*shared)->wait(usage::write, deadline::in(20ms)) == late);
  device.signal(writing);
  CHECK((*shared)->wait(usage::write, deadline::in(5s)) == done);
  reservation other;
  const auto wrong = other.lock();
  CHECK(code_of(kernels.pull(*wrong, **shared)) == errc::wrong_lock);
}

TEST_CASE("implicit_sync: a reservation gives the kernel what is the kernel's, and waits for what is not") {
  const vgem device;
  const auto bridge = fence_bridge::create();
  const auto memory = fenced_buffer::make(device);
  implicit_sync kernels(memory.buffer().borrow(), *bridge);
  reservation jobs;
  const auto work = pending_fence::make(device);
  fence_context context("ours", 1s);
  const fence_ptr ours = *context.create();
  {
    const auto held = jobs.lock();
    REQUIRE(jobs.reserve(*held, 2));
    REQUIRE(jobs.add(*held, *bridge->import_(*work.file.dup()), usage::write));
    REQUIRE(jobs.add(*held, ours, usage::read));
    CHECK(code_of(kernels.push(*held, jobs)) == errc::not_exportable);
  }
  CHECK(memory.buffer().poll(access::read) == done);  // Nothing was given.
  CHECK(kernels.flush_implicit(jobs, deadline::in(20ms)) == late);
  CHECK(memory.buffer().poll(access::read) == done);
  std::thread other([&] {
    std::this_thread::sleep_for(20ms);
    ours->signal();
  });
  CHECK(kernels.flush_implicit(jobs, deadline::in(5s)) == done);
  other.join();
  CHECK(memory.buffer().poll(access::read) == late);  // The kernel has its own job back.
  work.complete();
  CHECK(memory.buffer().wait(access::read, deadline::in(5s)) == done);
}

TEST_CASE("implicit_sync: what readers wait for does not stand for what writers wait for") {
  const vgem device;
  const auto bridge = fence_bridge::create();
  const auto memory = fenced_buffer::make(device);
  implicit_sync kernels(memory.buffer().borrow(), *bridge);
  const auto reading = pending_fence::make(device);
  const auto writing = pending_fence::make(device);
  REQUIRE(memory.buffer().import_sync_file(reading.file, access::read));
  REQUIRE(memory.buffer().import_sync_file(writing.file, access::write));
  const fence_ptr all = *kernels.export_(access::write);
  const fence_ptr writers = *kernels.export_(access::read);
  const fence_ptr both = *merge({all, writers});
  writing.complete();
  CHECK(wait(*writers, deadline::in(5s)) == done);
  CHECK(wait(*both, deadline::in(20ms)) == late);
  reading.complete();
  CHECK(wait(*both, deadline::in(5s)) == done);
}

TEST_CASE("implicit_sync: each usage of a reservation reaches the kernel as what it is") {
  const vgem device;
  const auto bridge = fence_bridge::create();
  const auto check_push = [&](usage as, wait_status for_readers, wait_status for_writers) {
    const auto memory = fenced_buffer::make(device);
    const implicit_sync kernels(memory.buffer().borrow(), *bridge);
    reservation jobs;
    const auto work = pending_fence::make(device);
    {
      const auto held = jobs.lock();
      REQUIRE(jobs.reserve(*held, 1));
      REQUIRE(jobs.add(*held, *bridge->import_(*work.file.dup()), as));
      REQUIRE(kernels.push(*held, jobs));
    }
    CHECK(memory.buffer().poll(access::read) == for_readers);
    CHECK(memory.buffer().poll(access::write) == for_writers);
    work.complete();
  };
  check_push(usage::kernel, late, late);
  check_push(usage::write, late, late);
  check_push(usage::read, done, late);
  check_push(usage::bookkeep, done, done);
}

}  // namespace paddock::kernel
