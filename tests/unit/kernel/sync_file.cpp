// SPDX-License-Identifier: BSL-1.0
#include <paddock/kernel/sync_file.hpp>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "catch.hpp"

// In the namespace, because at global scope `access` is also access(2).
// Moved-from objects are promised to be empty, and Catch2's checks are loops to clang-tidy.
// NOLINTBEGIN(bugprone-use-after-move)
namespace paddock::kernel {
using namespace std::chrono_literals;

static_assert(!std::is_copy_constructible_v<sync_file> && !std::is_default_constructible_v<sync_file>);

TEST_CASE("a descriptor that is no sync_file is refused, and consumed by adopt") {
  const int raw = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK(sync_file::dup(borrowed_fd(raw)).error() == errc::bad_fd);
  CHECK(::fcntl(raw, F_GETFD) != -1);
  CHECK(sync_file::adopt(unique_fd::adopt(raw)).error() == errc::bad_fd);
  CHECK(::fcntl(raw, F_GETFD) == -1);
}

TEST_CASE("a missing descriptor means signaled only to the call that says so") {
  CHECK(sync_file::adopt(unique_fd()).error() == errc::bad_fd);
  const auto fence = sync_file::adopt_or_signaled(unique_fd::adopt(-1));
  REQUIRE(fence);
  CHECK(fence->is_already_signaled());
  CHECK(fence->fd().get() == -1);
}

TEST_CASE("already signaled answers like a completed fence") {
  const auto fence = sync_file::already_signaled();
  CHECK(fence.wait(deadline::now()) == wait_status::signaled);
  CHECK(fence.status() == sync_status::signaled);
  CHECK(fence.set_deadline(deadline::in(1ms)));
  const auto info = fence.info();
  REQUIRE(info);
  CHECK(info->status() == sync_status::signaled);
  CHECK(info->fences().empty());
  const auto copy = fence.dup();
  REQUIRE(copy);
  CHECK(copy->is_already_signaled());
}

TEST_CASE("a sync_file that was moved from is no fence at all, never a signaled one") {
  auto fence = sync_file::already_signaled();
  const auto taken = std::move(fence);
  CHECK(taken.is_already_signaled());
  CHECK_FALSE(fence.is_already_signaled());  // NOLINT(bugprone-use-after-move): the moved-from state is promised.
  CHECK(fence.wait(deadline::never()).error() == errc::bad_fd);
  CHECK(fence.status().error() == errc::bad_fd);
  CHECK(fence.dup().error() == errc::bad_fd);
  CHECK(fence.info().error() == errc::bad_fd);
  CHECK(fence.set_deadline(deadline::in(1s)).error() == errc::bad_fd);
  CHECK(sync_file::merge(taken, fence).error() == errc::bad_fd);
  CHECK(sync_file::merge(fence, taken).error() == errc::bad_fd);
}

TEST_CASE("merging nothing, or what has completed, has completed") {
  const auto done = sync_file::already_signaled();
  CHECK(sync_file::merge(done, done)->is_already_signaled());
  CHECK(sync_file::merge(std::span<const sync_file>())->is_already_signaled());
  std::vector<sync_file> many;
  many.push_back(sync_file::already_signaled());
  many.push_back(sync_file::already_signaled());
  CHECK(sync_file::merge(many)->is_already_signaled());
}

TEST_CASE("a merge with a name too long is refused, not cut") {
  const auto done = sync_file::already_signaled();
  CHECK(sync_file::merge(done, done, std::string(31, 'x')));
  CHECK(sync_file::merge(done, done, std::string(32, 'x')).error() == errc::invalid_argument);
  CHECK(sync_file::merge(done, done, std::string_view("a\0b", 3)).error() == errc::invalid_argument);
}

TEST_CASE("release gives the descriptor, or -1 for Vulkan") {
  auto done = sync_file::already_signaled();
  CHECK(std::move(done).release().get() == -1);
  CHECK_FALSE(done.is_already_signaled());  // NOLINT(bugprone-use-after-move): the moved-from state is promised.
}

TEST_CASE("a hang-up or a closed descriptor is no readiness") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const unique_fd read_end = unique_fd::adopt(ends[0]);
  unique_fd write_end = unique_fd::adopt(ends[1]);
  CHECK(detail::wait_ready(read_end, POLLIN, deadline::now()) == wait_status::timed_out);
  write_end.reset();  // POLLHUP without POLLIN.
  CHECK(detail::wait_ready(read_end, POLLIN, deadline::in(1s)).error() == errc::io);
  CHECK(detail::wait_ready(borrowed_fd(1000000), POLLIN, deadline::in(1s)).error() == errc::bad_fd);
  CHECK(detail::wait_ready(borrowed_fd(), POLLIN, deadline::in(1s)).error() == errc::bad_fd);
}

TEST_CASE("fence records are read to the end of their fields, terminated or not") {
  uapi::sync_fence_info raw{};
  std::fill(std::begin(raw.obj_name), std::end(raw.obj_name), 't');
  raw.driver_name[0] = 'd';
  raw.status = -ETIME;
  raw.timestamp_ns = 7;
  const fence_info fence(raw);
  CHECK(fence.timeline() == std::string(32, 't'));
  CHECK(fence.driver() == "d");
  CHECK(fence.status() == sync_status::failed);
  CHECK(fence.sys_errno() == ETIME);
  CHECK(fence.timestamp() == monotonic_clock::time_point(7ns));
  CHECK_FALSE(fence_info().timestamp());
  CHECK(fence_info().status() == sync_status::pending);
}

}  // namespace paddock::kernel
// NOLINTEND(bugprone-use-after-move)
