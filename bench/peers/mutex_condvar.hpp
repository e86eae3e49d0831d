// SPDX-License-Identifier: BSL-1.0
/// \file
/// The textbook: a mutex, a condition variable, and functions to call. The functions run after the lock is released, so
/// a function that was taken back may still be running: less than what a fence promises.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "called.hpp"

namespace paddock::bench {

class mutex_condvar {
 public:
  struct node {
    std::uint64_t id{0};
  };

  [[nodiscard]] bool is_signaled() const noexcept { return signaled_.load(std::memory_order_acquire); }
  void signal() {
    std::vector<entry> run;
    {
      const std::scoped_lock guard(mutex_);
      signaled_.store(true, std::memory_order_release);
      run.swap(functions_);
      changed_.notify_all();
    }
    for (const entry& each : run) {
      each.second();
    }
  }
  void wait() {
    if (is_signaled()) {
      return;
    }
    std::unique_lock guard(mutex_);
    changed_.wait(guard, [this] { return is_signaled(); });
  }
  bool add(node& added) {
    const std::scoped_lock guard(mutex_);
    if (is_signaled()) {
      return false;
    }
    added.id = ++last_id_;
    functions_.emplace_back(added.id, count_call{});
    return true;
  }
  void remove(node& gone) {
    const std::scoped_lock guard(mutex_);
    std::erase_if(functions_, [&](const entry& each) { return each.first == gone.id; });
  }

 private:
  using entry = std::pair<std::uint64_t, std::function<void()>>;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> signaled_{false};
  std::uint64_t last_id_{0};
  std::vector<entry> functions_;
};

}  // namespace paddock::bench
