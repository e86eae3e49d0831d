// SPDX-License-Identifier: BSL-1.0
// Two jobs, the second of which needs the first, as a coroutine: it awaits their fences and goes on in the program's
// own loop.
#include <chrono>
#include <condition_variable>
#include <coroutine>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>

#include <fmt/format.h>

#include <paddock/fence/await.hpp>
#include <paddock/fence/context.hpp>

using namespace std::chrono_literals;

namespace {

/// Whatever loop the program has: other threads give it coroutines, and one thread resumes them.
class event_loop {
 public:
  void post(std::coroutine_handle<> ready) {
    const std::lock_guard guard(mutex_);
    ready_.push_back(ready);
    changed_.notify_one();
  }
  void run_one() {
    std::unique_lock guard(mutex_);
    changed_.wait(guard, [this] { return !ready_.empty(); });
    const std::coroutine_handle<> next = ready_.front();
    ready_.pop_front();
    guard.unlock();
    next.resume();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::coroutine_handle<>> ready_;
};

/// What takes a coroutine to the loop. It is called in the signaling thread. A constructor of its own keeps g++ 12 from
/// destroying it twice, as it does with aggregates in a co_await expression.
class to_loop {
 public:
  explicit to_loop(event_loop& loop) noexcept : loop_(&loop) {}
  void operator()(std::coroutine_handle<> ready) const noexcept { loop_->post(ready); }

 private:
  event_loop* loop_;
};

/// A coroutine that starts at once and frees itself at its end.
struct driver {
  struct promise_type {
    driver get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::abort(); }
  };
};

/// A device that takes one job at a time, and signals its fence when it is done.
class device {
 public:
  [[nodiscard]] paddock::fence_ptr submit() {
    auto job = queue_.create();
    if (!job) {
      fmt::print("no memory for a fence: {}\n", job.error());
      std::exit(1);
    }
    working_ = std::jthread([done = *job] {
      std::this_thread::sleep_for(10ms);
      done->signal();
    });
    return *job;
  }

 private:
  paddock::fence_context queue_{"example device", 1s};
  std::jthread working_;  // One at a time: the next one waits for the last.
};

driver copy_and_flush(device& drive, event_loop& loop, bool& ended) {
  const auto started = std::this_thread::get_id();
  const paddock::fence_outcome copied = co_await paddock::resume_on(drive.submit(), to_loop(loop));
  fmt::print("copied, errno {}; still in the same thread: {}\n", copied.sys_errno,
             std::this_thread::get_id() == started);
  if (copied.sys_errno == 0) {
    const paddock::fence_outcome flushed = co_await paddock::resume_on(drive.submit(), to_loop(loop));
    fmt::print("flushed, errno {}\n", flushed.sys_errno);
  }
  ended = true;
}

}  // namespace

int main() {
  device drive;
  event_loop loop;
  bool ended = false;
  copy_and_flush(drive, loop, ended);  // Returns at the first co_await.
  while (!ended) {
    loop.run_one();
  }
}
