// SPDX-License-Identifier: BSL-1.0
// The fences that the kernel gives a process, beside paddock's in the same process. It needs a DRM device, so it is for
// the guest of the VM lane; without one each row says that it is left out.
#include <paddock/fence/merge.hpp>
#include <paddock/fence/timeline.hpp>

#include "../peers/drm_syncobj.hpp"
#include "../peers/paddock_fence.hpp"
#include "../support/batch.hpp"

namespace paddock::bench {
namespace {

/// System calls are slow enough for few of them.
constexpr std::size_t calls = 32;

template <class Run>
void measure_calls(benchmark::State& state, Run run) {
  measure(
      state, calls, [] {},
      [&] {
        for (std::size_t i = 0; i < calls; ++i) {
          run();
          clobber(&run);  // Without a system call, all rounds but the first could be left out.
        }
      });
}

void row_of_paddock(const std::string& row, void (*function)(benchmark::State&)) { add_row(row, "paddock", function); }
void row_of_kernel(const std::string& row, const std::string& subject, void (*function)(benchmark::State&)) {
  add_row(row, subject, [function](benchmark::State& state) {
    if (render_node().valid()) {
      function(state);
    } else {
      state.SkipWithError("left out: no DRM device with timelines here");
    }
  });
}

template <class Event>
void signal(benchmark::State& state) {
  pen<Event, calls> events;
  measure(
      state, calls, [&] { events.fill(calls); },
      [&] {
        for (std::size_t i = 0; i < calls; ++i) {
          events[i].signal();
        }
      });
}

template <class Event>
void wait_on_signaled(benchmark::State& state) {
  Event event;
  if constexpr (requires { event.signal(); }) {
    event.signal();
  }
  measure_calls(state, [&] { event.wait(); });
}

struct paddock_timeline {
  timeline line = *timeline::create();

  void signal(std::uint64_t point) noexcept { line.signal(timeline_point(point)); }
  [[nodiscard]] std::uint64_t signaled() const noexcept { return line.signaled().value(); }
  void wait(std::uint64_t point) const noexcept {
    keep(line.wait(timeline_point(point), deadline::never()).has_value());
  }
};

template <class Timeline>
void signal_points(benchmark::State& state) {
  Timeline timeline;
  measure_calls(state, [&, point = std::uint64_t{0}]() mutable { timeline.signal(++point); });
}

template <class Timeline>
void query(benchmark::State& state) {
  Timeline timeline;
  timeline.signal(10);
  measure_calls(state, [&] { keep(timeline.signaled()); });
}

template <class Timeline>
void wait_for_passed(benchmark::State& state) {
  Timeline timeline;
  timeline.signal(10);
  measure_calls(state, [&] { timeline.wait(5); });
}

const bool registered = [] {
  const std::string life = "kernel: made and dropped";
  row_of_paddock(life, [](benchmark::State& state) { measure_calls(state, [] { keep(context().create()->get()); }); });
  row_of_kernel(life, "syncobj", [](benchmark::State& state) { measure_calls(state, [] { const drm_syncobj made; }); });

  // With the time of the clock, which the kernel takes too.
  const std::string signaling = "kernel: signal";
  row_of_paddock(signaling, signal<paddock_fence<clock_timestamp>>);
  row_of_kernel(signaling, "syncobj", signal<drm_syncobj>);

  const std::string waiting = "kernel: wait on signaled";
  row_of_paddock(waiting, wait_on_signaled<paddock_fence<>>);
  row_of_kernel(waiting, "syncobj", wait_on_signaled<drm_syncobj>);
  row_of_kernel(waiting, "sync_file", wait_on_signaled<sync_file_fd>);

  const std::string merging = "kernel: merge two, complete";
  row_of_paddock(merging, [](benchmark::State& state) {
    fence_context other("other", std::chrono::seconds(1));
    const fence_ptr first = *context().create();
    const fence_ptr second = *other.create();
    first->signal();  // The kernel's are complete as well.
    second->signal();
    measure_calls(state, [&] { keep(merge({first, second})->get()); });
  });
  row_of_kernel(merging, "sync_file", [](benchmark::State& state) {
    sync_file_fd first;
    const sync_file_fd second;
    measure_calls(state, [&] { keep(first.merge(second).get()); });
  });

  const std::string points = "kernel: signal a point";
  row_of_paddock(points, signal_points<paddock_timeline>);
  row_of_kernel(points, "syncobj", signal_points<drm_timeline>);
  const std::string asking = "kernel: query a timeline";
  row_of_paddock(asking, query<paddock_timeline>);
  row_of_kernel(asking, "syncobj", query<drm_timeline>);
  const std::string passed = "kernel: wait for a passed point";
  row_of_paddock(passed, wait_for_passed<paddock_timeline>);
  row_of_kernel(passed, "syncobj", wait_for_passed<drm_timeline>);
  return true;
}();

}  // namespace
}  // namespace paddock::bench
