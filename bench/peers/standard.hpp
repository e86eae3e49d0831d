// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the standard library has for "it happened": latch, atomic wait and notify, stop_source, promise.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <latch>
#include <optional>
#include <stop_token>

#include "called.hpp"

namespace paddock::bench {

class std_latch {
 public:
  [[nodiscard]] bool is_signaled() const noexcept { return latch_.try_wait(); }
  void signal() noexcept { latch_.count_down(); }
  void wait() const noexcept { latch_.wait(); }

 private:
  std::latch latch_{1};
};

class std_atomic {
 public:
  [[nodiscard]] bool is_signaled() const noexcept { return word_.load(std::memory_order_acquire) != 0; }
  void signal() noexcept {
    word_.store(1, std::memory_order_release);
    word_.notify_all();
  }
  void wait() const noexcept { word_.wait(0, std::memory_order_acquire); }

 private:
  std::atomic<std::uint32_t> word_{0};
};

class std_stop_source {
 public:
  struct node {
    std::optional<std::stop_callback<count_call>> callback;
  };

  [[nodiscard]] bool is_signaled() const noexcept { return token_.stop_requested(); }
  void signal() noexcept { source_.request_stop(); }
  bool add(node& added) {
    added.callback.emplace(token_, count_call{});
    return true;
  }
  void remove(node& gone) noexcept { gone.callback.reset(); }

 private:
  std::stop_source source_;
  std::stop_token token_{source_.get_token()};  // Who adds callbacks has one.
};

class std_promise {
 public:
  [[nodiscard]] bool is_signaled() const {
    return future_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }
  void signal() { promise_.set_value(); }
  void wait() const { future_.wait(); }

 private:
  std::promise<void> promise_;
  std::shared_future<void> future_{promise_.get_future().share()};
};

}  // namespace paddock::bench
