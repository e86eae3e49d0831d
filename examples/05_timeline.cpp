// SPDX-License-Identifier: BSL-1.0
// A client and a compositor that share one buffer over a timeline: for frame n the client signals the acquire point
// 2n - 1 when the frame is rendered, the compositor the release point 2n when it has shown it.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <thread>

#include <fmt/format.h>

#include <paddock/base/fd.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/timeline.hpp>

using paddock::result;
using paddock::timeline;
using paddock::timeline_point;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t frames = 3;
timeline_point acquire(std::uint64_t frame) { return timeline_point(2 * frame - 1); }
timeline_point release(std::uint64_t frame) { return timeline_point(2 * frame); }

/// Renders each frame into the buffer as soon as the compositor has given it back.
result<void> client(const timeline& points) {
  paddock::fence_context gpu("example gpu", 1s);
  for (std::uint64_t frame = 1; frame <= frames; ++frame) {
    // The compositor has not said yet that it will release the buffer: this waits for the promise as well.
    PADDOCK_TRY(const auto given_back, points.wait_for_submit(release(frame - 1), paddock::deadline::in(1s)));
    if (given_back == paddock::wait_status::timed_out) {
      return paddock::fail(paddock::errc::timed_out, "the compositor keeps the buffer");
    }
    PADDOCK_TRY(const auto rendered, gpu.create());
    PADDOCK_TRY_VOID(points.submit(acquire(frame), rendered));  // From here on others may wait for it.
    std::this_thread::sleep_for(2ms);
    rendered->signal();
  }
  return {};
}

/// Shows each frame when its acquire point is signaled. It never waits but in poll(), where it has more to watch.
result<void> compositor(const timeline& points) {
  const auto event = paddock::unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) {
    return paddock::fail_errno("eventfd");
  }
  for (std::uint64_t frame = 1; frame <= frames; ++frame) {
    PADDOCK_TRY_VOID(points.notify(event, acquire(frame)));
    pollfd entry{event.get(), POLLIN, 0};
    if (::poll(&entry, 1, 1000) != 1) {
      return paddock::fail(paddock::errc::timed_out, "the client renders nothing");
    }
    std::uint64_t count = 0;
    static_cast<void>(::read(event.get(), &count, sizeof count));
    const auto given_back = points.release_at(release(frame));  // At the end of this block, whatever happens.
    fmt::print("frame {} is shown; point {} is signaled\n", frame, points.signaled().value());
  }
  return {};
}

}  // namespace

int main() {
  const auto points = timeline::create();
  if (!points) {
    fmt::print("{}\n", points.error());
    return 1;
  }
  result<void> rendered;
  std::thread rendering([&] { rendered = client(*points); });
  const result<void> shown = compositor(*points);
  rendering.join();
  for (const auto& end : {rendered, shown}) {
    if (!end) {
      fmt::print("{}\n", end.error());
    }
  }
  return rendered && shown && points->signaled() == release(frames) ? 0 : 1;
}
