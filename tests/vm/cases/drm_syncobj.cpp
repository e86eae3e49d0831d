// SPDX-License-Identifier: BSL-1.0
// Syncobjs: what becomes of waits, and what fences they carry.
#include <paddock/drm/fences.hpp>
#include <paddock/drm/points.hpp>
#include <paddock/drm/wait.hpp>

#include <poll.h>
#include <sys/eventfd.h>

#include <thread>
#include <vector>

#include "drm_support.hpp"

namespace paddock::drm {

namespace {

using namespace std::chrono_literals;
constexpr auto done = wait_status::signaled;
constexpr auto late = wait_status::timed_out;
constexpr timeline_point point(std::uint64_t value) { return timeline_point(value); }

bool is_readable(borrowed_fd fd) {
  pollfd entry{fd.get(), POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

}  // namespace

TEST_CASE("a syncobj tells an empty box, a pending fence and a signaled one apart") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  const auto box = syncobj::create(gpu);
  REQUIRE(box);
  CHECK(code_of(box->wait(deadline::now())) == errc::not_submitted);
  CHECK(box->wait_for_submit(deadline::in(20ms)) == late);
  CHECK(code_of(box->export_sync_file()) == errc::not_submitted);
  const auto work = kernel::pending_fence::make(vgem);
  REQUIRE(box->import_sync_file(work.file));
  CHECK(box->wait(deadline::now()) == late);
  CHECK(box->wait_submitted(point(0), deadline::now()) == done);
  work.complete();
  CHECK(box->wait(deadline::in(5s)) == done);
  REQUIRE(box->reset());
  CHECK(code_of(box->wait(deadline::now())) == errc::not_submitted);
  REQUIRE(box->signal());
  CHECK(box->wait(deadline::now()) == done);
}

TEST_CASE("points are submitted, then signaled, in their order") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  const auto line = syncobj::create(gpu);
  REQUIRE(line);
  const auto first = kernel::pending_fence::make(vgem);
  const auto second = kernel::pending_fence::make(vgem);
  REQUIRE(line->import_sync_file(first.file, point(5)));
  REQUIRE(line->import_sync_file(second.file, point(9)));
  CHECK(line->signaled() == point(0));
  CHECK(line->submitted() == point(9));
  second.complete();
  CHECK(line->wait(point(9), deadline::in(20ms)) == late);  // The one before it is pending.
  first.complete();
  CHECK(line->wait(point(9), deadline::in(5s)) == done);
  CHECK(line->signaled() == point(9));
  CHECK(code_of(line->wait(point(10), deadline::now())) == errc::not_submitted);
  REQUIRE(line->signal(point(10)));
  CHECK(line->wait(point(10), deadline::now()) == done);
  CHECK(code_of(line->signal(point(0))) == errc::invalid_argument);
}

TEST_CASE("a wait sleeps until its point is submitted and signaled") {
  const device gpu = open_gpu();
  const auto line = syncobj::create(gpu);
  std::thread other([&] {
    std::this_thread::sleep_for(50ms);
    CHECK(line->signal(point(1)));
  });
  CHECK(line->wait_for_submit(point(1), deadline::in(10s)) == done);
  other.join();
}

TEST_CASE("who waits for a device that is lost is told at once") {
  const device gpu = open_gpu();
  const auto line = syncobj::create(gpu);
  const auto box = syncobj::create(gpu);
  const std::vector<syncobj_point> both{{&*line, point(3)}, {&*box, point(0)}};
  std::vector<std::thread> threads;
  const auto begin = monotonic_clock::now();
  threads.emplace_back([&] { CHECK(code_of(line->wait_for_submit(point(3), deadline::never())) == errc::no_device); });
  threads.emplace_back(
      [&] { CHECK(code_of(wait_all(both, deadline::never(), {.for_submit = true})) == errc::no_device); });
  threads.emplace_back(
      [&] { CHECK(code_of(wait_any(both, deadline::never(), {.for_submit = true})) == errc::no_device); });
  std::this_thread::sleep_for(100ms);
  gpu.mark_lost();
  for (std::thread& each : threads) {
    each.join();
  }
  CHECK(monotonic_clock::now() - begin < 900ms);  // Woken, not found at the next turn of a second.
  CHECK(code_of(line->wait(point(3), deadline::now())) == errc::no_device);
}

TEST_CASE("waits for several say which one, and wait for all") {
  const device gpu = open_gpu();
  constexpr std::size_t count = 20;  // More than need no allocation.
  std::vector<syncobj> boxes;
  std::vector<syncobj_point> all;
  boxes.reserve(count);
  all.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    boxes.push_back(*syncobj::create(gpu));
  }
  for (const syncobj& each : boxes) {
    all.push_back({&each, point(0)});
  }
  CHECK(code_of(wait_any(all, deadline::now())) == errc::not_submitted);
  CHECK(wait_any(all, deadline::in(20ms), {.for_submit = true})->status == late);
  REQUIRE(boxes[17].signal());
  const auto woken = wait_any(all, deadline::in(5s), {.for_submit = true});
  REQUIRE(woken);
  CHECK(woken->status == done);
  CHECK(woken->index == 17);
  CHECK(wait_all(all, deadline::in(20ms), {.for_submit = true}) == late);
  std::thread other([&] {
    for (const syncobj& each : boxes) {
      CHECK(each.signal());
    }
  });
  CHECK(wait_all(all, deadline::in(10s), {.for_submit = true, .wish = deadline::in(1ms)}) == done);
  other.join();
  CHECK(wait_all({}, deadline::now()) == done);
}

TEST_CASE("each of several is waited for at its own point") {
  const device gpu = open_gpu();
  const auto far = syncobj::create(gpu);
  const auto near = syncobj::create(gpu);
  const std::vector<syncobj_point> both{{&*far, point(9)}, {&*near, point(1)}};
  std::thread other([&] {
    std::this_thread::sleep_for(20ms);
    CHECK(far->signal(point(9)));
    CHECK(near->signal(point(1)));
  });
  CHECK(wait_all(both, deadline::in(5s), {.for_submit = true}) == done);
  other.join();
  const std::vector<syncobj_point> one_more{{&*far, point(9)}, {&*near, point(2)}};
  CHECK(wait_all(one_more, deadline::in(20ms), {.for_submit = true}) == late);
}

TEST_CASE("a syncobj that goes gives its handle back") {
  const device gpu = open_gpu();
  for (int i = 0; i < 10; ++i) {
    const auto box = syncobj::create(gpu, true);
    REQUIRE(box);
    CHECK(box->wait(deadline::now()) == done);
    CHECK(box->handle().value() == 1);  // The kernel gives the lowest number that is free.
  }
}

TEST_CASE("what is signaled without a descriptor signals a syncobj, and a point") {
  const device gpu = open_gpu();
  const auto box = syncobj::create(gpu);
  REQUIRE(box->import_sync_file(kernel::sync_file::already_signaled()));
  CHECK(box->wait(deadline::now()) == done);
  const auto line = syncobj::create(gpu);
  REQUIRE(line->import_sync_file(kernel::sync_file::already_signaled(), point(3)));
  CHECK(line->signaled() == point(3));
  auto gone = kernel::sync_file::already_signaled();
  const auto kept = std::move(gone);
  CHECK(code_of(box->import_sync_file(gone)) == errc::bad_fd);  // NOLINT(bugprone-use-after-move): it is promised.
  CHECK(code_of(line->import_sync_file(gone, point(4))) == errc::bad_fd);
}

TEST_CASE("a sync_file of a point comes out as it went in") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  const auto line = syncobj::create(gpu);
  const auto a = kernel::pending_fence::make(vgem);
  const auto b = kernel::pending_fence::make(vgem);
  const auto two = kernel::sync_file::merge(a.file, b.file);
  REQUIRE(line->import_sync_file(*two, point(9)));  // [ST53]
  const auto out = line->export_sync_file(point(9));
  REQUIRE(out);
  CHECK(out->info()->fences().size() == 2);
  CHECK(kernel::sync_file::merge(*out, *two)->info()->fences().size() == 2);
  CHECK(code_of(line->export_sync_file(point(10))) == errc::not_submitted);
  a.complete();
  b.complete();
  CHECK(out->wait(deadline::in(5s)) == done);
}

TEST_CASE("a point moves between syncobjs, devices do not mix") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  const auto line = syncobj::create(gpu);
  const auto box = syncobj::create(gpu);
  const auto work = kernel::pending_fence::make(vgem);
  CHECK(code_of(line->transfer(point(4), *box, point(0))) == errc::not_submitted);
  REQUIRE(line->import_sync_file(work.file, point(4)));
  REQUIRE(line->transfer(point(4), *box, point(0)));
  CHECK(box->wait(deadline::now()) == late);
  work.complete();
  CHECK(box->wait(deadline::in(5s)) == done);
  const auto stranger = syncobj::create(open_gpu());
  CHECK(code_of(line->transfer(point(4), *stranger, point(0))) == errc::invalid_argument);
}

TEST_CASE("a point that is not submitted yet moves when it is, until the deadline") {
  const device gpu = open_gpu();
  const auto line = syncobj::create(gpu);
  const auto box = syncobj::create(gpu);
  CHECK(code_of(line->transfer_for_submit(point(4), *box, point(0), deadline::in(20ms))) == errc::timed_out);
  std::thread other([&] {
    std::this_thread::sleep_for(50ms);
    CHECK(line->signal(point(4)));
  });
  CHECK(line->transfer_for_submit(point(4), *box, point(0)));
  CHECK(box->wait(deadline::now()) == done);
  other.join();
  std::thread loser([&] {
    std::this_thread::sleep_for(50ms);
    gpu.mark_lost();
  });
  const auto begin = monotonic_clock::now();
  CHECK(code_of(line->transfer_for_submit(point(5), *box, point(0))) == errc::no_device);
  CHECK(monotonic_clock::now() - begin < 900ms);
  loser.join();
}

TEST_CASE("a syncobj goes to another file by descriptor, and is one object there") {
  const device gpu = open_gpu();
  const auto line = syncobj::create(gpu);
  auto fd = line->export_();
  REQUIRE(fd);
  const auto other = syncobj::import_(open_gpu(), *fd);
  REQUIRE(other);
  REQUIRE(line->signal(point(7)));
  CHECK(other->signaled() == point(7));
  CHECK(code_of(syncobj::import_(gpu, gpu.fd())) == errc::bad_fd);
}

TEST_CASE("an eventfd is told when a point is submitted, or signaled") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  const auto line = syncobj::create(gpu);
  const unique_fd submitted = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const unique_fd signaled = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  REQUIRE(line->notify(submitted, point(1), point_stage::submitted));
  REQUIRE(line->notify(signaled, point(1)));
  CHECK_FALSE(is_readable(submitted));
  const auto work = kernel::pending_fence::make(vgem);
  REQUIRE(line->import_sync_file(work.file, point(1)));
  CHECK(is_readable(submitted));
  CHECK_FALSE(is_readable(signaled));
  work.complete();
  CHECK(line->wait(point(1), deadline::in(5s)) == done);
  CHECK(is_readable(signaled));
  CHECK(code_of(line->notify(gpu.fd(), point(1))) == errc::bad_fd);
}

TEST_CASE("a release point that is forgotten is signaled all the same") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  const auto line = syncobj::create(gpu);
  { const release_point forgotten(*line, point(1)); }
  CHECK(line->signaled() == point(1));
  release_point owed(*line, point(2));
  const auto work = kernel::pending_fence::make(vgem);
  REQUIRE(owed.submit(work.file));
  CHECK_FALSE(owed.is_owed());
  CHECK(code_of(owed.signal()) == errc::invalid_argument);
  const acquire_point awaited(*line, point(2));
  CHECK(awaited.wait(deadline::now()) == late);
  const acquire_point unsubmitted(*line, point(3));
  CHECK(unsubmitted.wait(deadline::in(20ms)) == late);
  CHECK(code_of(unsubmitted.export_sync_file()) == errc::not_submitted);
  work.complete();
  CHECK(awaited.wait(deadline::in(5s)) == done);
}

TEST_CASE("a release point that is moved is owed once") {
  const device gpu = open_gpu();
  const auto line = syncobj::create(gpu);
  {
    release_point first(*line, point(1));
    release_point second = std::move(first);
    CHECK_FALSE(first.is_owed());  // NOLINT(bugprone-use-after-move): it is promised.
    CHECK(second.is_owed());
    release_point third(*line, point(2));
    second = std::move(third);  // What it owed until now is signaled.
    CHECK(line->signaled() == point(1));
    CHECK(second.point() == point(2));
    CHECK(second.signal());
    CHECK(line->signaled() == point(2));
  }
}

TEST_CASE("a point is a fence of what is up to it, and not of what comes later") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  const auto bridge = kernel::fence_bridge::create();
  const auto line = syncobj::create(gpu);
  REQUIRE(line->signal(point(1)));
  const auto work = kernel::pending_fence::make(vgem);
  REQUIRE(line->import_sync_file(work.file, point(2)));
  CHECK(wait(**import_fence(*bridge, *line, point(1)), deadline::in(5s)) == done);
  const auto all = import_fence(*bridge, *line);
  CHECK(wait(**all, deadline::in(20ms)) == late);
  work.complete();
  CHECK(wait(**all, deadline::in(5s)) == done);
}

TEST_CASE("a point may be watched until it is submitted; one that is not watched any more is canceled") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  const auto bridge = kernel::fence_bridge::create();
  const auto line = syncobj::create(gpu);
  const auto submitted = watched_point::watch(*bridge, *line, point(1), point_stage::submitted);
  auto signaled = watched_point::watch(*bridge, *line, point(1));
  REQUIRE(submitted);
  REQUIRE(signaled);
  const user_fence of_signaled = signaled->fence();
  const auto work = kernel::pending_fence::make(vgem);
  REQUIRE(line->import_sync_file(work.file, point(1)));
  CHECK(wait(submitted->fence(), deadline::in(5s)) == done);
  CHECK(wait(of_signaled, deadline::in(20ms)) == late);
  watched_point moved = *std::move(signaled);
  moved = *watched_point::watch(*bridge, *line, point(2));
  CHECK(of_signaled.sys_errno() == ECANCELED);
  work.complete();
  gpu.mark_lost();
  CHECK(moved.fence().sys_errno() == ENODEV);
  CHECK(code_of(watched_point::watch(*bridge, *line, point(3))) == errc::no_device);
}

TEST_CASE("a fence of this process signals a syncobj without points") {
  const device gpu = open_gpu();
  const auto box = syncobj::create(gpu);
  fence_context context("test", 1s);
  const fence_ptr job = *context.create();
  REQUIRE(export_fence(job, *box));
  CHECK(code_of(box->wait(deadline::now())) == errc::not_submitted);
  job->fail(EIO);  // Which a syncobj cannot carry.
  CHECK(box->wait(deadline::now()) == done);
  const auto again = syncobj::create(gpu);
  REQUIRE(export_fence(job, *again));
  CHECK(again->wait(deadline::now()) == done);
}

TEST_CASE("a submitted point is a fence, with callbacks") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  const auto bridge = kernel::fence_bridge::create();
  const auto line = syncobj::create(gpu);
  CHECK(code_of(import_fence(*bridge, *line, point(1))) == errc::not_submitted);
  const auto work = kernel::pending_fence::make(vgem);
  REQUIRE(line->import_sync_file(work.file, point(1)));
  const auto reached = import_fence(*bridge, *line, point(1));
  REQUIRE(reached);
  CHECK((*reached)->is_kernel_backed());
  CHECK(wait(**reached, deadline::in(20ms)) == late);
  work.complete();
  CHECK(wait(**reached, deadline::in(5s)) == done);
}

TEST_CASE("a point that is not submitted is watched, and fails with its device") {
  const device gpu = open_gpu();
  const auto bridge = kernel::fence_bridge::create();
  const auto line = syncobj::create(gpu);
  const auto one = watched_point::watch(*bridge, *line, point(1));
  const auto two = watched_point::watch(*bridge, *line, point(2));
  REQUIRE(one);
  REQUIRE(two);
  REQUIRE(line->signal(point(1)));
  CHECK(wait(one->fence(), deadline::in(5s)) == done);
  CHECK_FALSE(two->fence().is_signaled());
  gpu.mark_lost();
  CHECK(wait(two->fence(), deadline::in(5s)) == wait_status::failed);
  CHECK(two->fence().sys_errno() == ENODEV);
}

TEST_CASE("a fence of this process signals a point, and one of the kernel's is submitted to it") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  const auto bridge = kernel::fence_bridge::create();
  const auto line = syncobj::create(gpu);
  fence_context context("test", 1s);
  const fence_ptr job = *context.create();
  REQUIRE(export_fence(job, *line, point(1)));
  CHECK(line->submitted() == point(0));
  job->signal();
  CHECK(line->wait(point(1), deadline::now()) == done);

  const auto work = kernel::pending_fence::make(vgem);
  const auto theirs = bridge->import_(*work.file.dup());
  REQUIRE(theirs);
  REQUIRE(export_fence(*theirs, *line, point(2)));
  CHECK(line->submitted() == point(2));
  CHECK(line->wait(point(2), deadline::now()) == late);
  work.complete();
  CHECK(line->wait(point(2), deadline::in(5s)) == done);
}

}  // namespace paddock::drm
