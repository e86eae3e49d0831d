// SPDX-License-Identifier: BSL-1.0
// Two drivers of one process share a buffer and never speak to each other: a camera that fills it and a display that
// shows it. Each asks the buffer's reservation what to wait for and leaves its job's fence there, and so the frames
// come out whole and in order. Prints what was shown.
#include <array>
#include <cstdio>
#include <functional>
#include <thread>

#include <paddock/fence/context.hpp>
#include <paddock/resv/lock_set.hpp>
#include <paddock/resv/reservation.hpp>

struct frame_buffer {
  std::array<int, 1024> pixels{};
  paddock::reservation fences;
};

/// An engine that does one job after the other, each when its dependencies are done.
class engine {
 public:
  explicit engine(const char* name) : jobs_(name, std::chrono::seconds(1)) {}

  /// Records a job that accesses the buffer. Its fence is there before anybody else can look.
  paddock::result<void> submit(frame_buffer& buffer, paddock::access how, std::function<void()> work) {
    paddock::lock_set locks;
    PADDOCK_TRY_VOID(locks.lock_all([&] { return locks.lock(buffer.fences, 1); }));
    PADDOCK_TRY(const paddock::fence_ptr before, buffer.fences.dependencies(locks.held(buffer.fences), how));
    PADDOCK_TRY(paddock::fence_ptr job, jobs_.create());
    PADDOCK_TRY_VOID(buffer.fences.commit(locks.held(buffer.fences), job, how));
    // In place of hardware: a thread that waits as an engine would, and then signals.
    running_ = std::jthread([before, job, work = std::move(work), last = std::move(running_)]() mutable {
      last = {};  // One after the other.
      if (wait(*before, paddock::deadline::in(std::chrono::seconds(1))) == paddock::wait_status::signaled) {
        work();
        job->signal();
      } else {
        job->fail(paddock::errc::timed_out);
      }
    });
    return {};
  }

 private:
  paddock::fence_context jobs_;
  std::jthread running_;
};

int main() {
  constexpr int frames = 10;
  frame_buffer buffer;
  int shown = 0;
  bool torn = false;
  {
    engine camera("camera");
    engine display("display");
    for (int frame = 1; frame <= frames; ++frame) {
      const auto captured =
          camera.submit(buffer, paddock::access::write, [&buffer, frame] { buffer.pixels.fill(frame); });
      const auto scanned = display.submit(buffer, paddock::access::read, [&] {
        ++shown;
        for (const int pixel : buffer.pixels) {
          torn = torn || pixel != shown;
        }
      });
      if (!captured || !scanned) {
        return 1;
      }
    }
  }
  std::printf("%d frames shown, %s\n", shown, torn ? "some of them torn" : "each whole and in its turn");
  return shown == frames && !torn ? 0 : 1;
}
