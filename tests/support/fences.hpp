// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the tests of the fence room share.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include <paddock/fence/context.hpp>
#include <paddock/fence/fence.hpp>

namespace paddock::test {

/// Long enough for a loaded machine: where it is reached, something hangs.
[[nodiscard]] inline deadline long_enough() noexcept { return deadline::in(std::chrono::seconds(60)); }
[[nodiscard]] inline deadline shortly() noexcept { return deadline::in(std::chrono::milliseconds(20)); }

/// A pending fence of a context of its own.
[[nodiscard]] inline fence_ptr make_fence(const fence_ops* ops = nullptr, void* source = nullptr) noexcept {
  fence_context context("test", std::chrono::seconds(1));
  return std::move(*context.create(ops, source));
}
[[nodiscard]] inline std::vector<fence_ptr> make_fences(std::size_t count) {
  std::vector<fence_ptr> made(count);
  for (fence_ptr& each : made) {
    each = make_fence();
  }
  return made;
}

/// Counts the fences made with it that were freed; its address is their source.
struct release_count {
  [[nodiscard]] fence_ptr make() noexcept { return make_fence(&ops, this); }
  static const fence_ops ops;
  std::atomic<int> freed{0};
};
inline constexpr fence_ops release_count::ops{
    .release = [](fence& f) noexcept { ++static_cast<release_count*>(f.source())->freed; }};

struct counting_callback : fence_callback {
  counting_callback() noexcept : fence_callback(&run) {}
  counting_callback(const counting_callback&) = delete;
  counting_callback& operator=(const counting_callback&) = delete;
  ~counting_callback() { retire(); }
  static void run(fence_callback& node, const fence_outcome& outcome) noexcept {
    auto& self = static_cast<counting_callback&>(node);
    self.seen = outcome;
    ++self.runs;
  }
  std::atomic<int> runs{0};
  fence_outcome seen{};
};

/// Calls `Do`, which takes nothing, in the signaling thread.
template <class Do>
struct calling_callback : fence_callback {
  explicit calling_callback(Do what) noexcept : fence_callback(&run), act(std::move(what)) {}
  calling_callback(const calling_callback&) = delete;
  calling_callback& operator=(const calling_callback&) = delete;
  ~calling_callback() { retire(); }
  static void run(fence_callback& node, const fence_outcome&) noexcept { static_cast<calling_callback&>(node).act(); }
  Do act;
};

/// Waits for what another thread does soon; false when it does not.
template <class Done>
[[nodiscard]] bool eventually(Done done) {
  for (const deadline until = long_enough(); !done();) {
    if (until.passed()) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

/// Runs `what` in a thread with half a mebibyte of stack, where no recursion over many fences ends well.
template <class What>
void on_a_small_stack(What what) {
  pthread_attr_t small;
  ::pthread_attr_init(&small);
  ::pthread_attr_setstacksize(&small, std::size_t{512} * 1024);
  pthread_t thread{};
  const auto run = [](void* argument) -> void* {
    (*static_cast<What*>(argument))();
    return nullptr;
  };
  if (::pthread_create(&thread, &small, run, &what) == 0) {
    ::pthread_join(thread, nullptr);
  } else {
    what();
  }
  ::pthread_attr_destroy(&small);
}

/// The same numbers in every run.
class random_numbers {
 public:
  [[nodiscard]] std::uint64_t below(std::uint64_t limit) noexcept {
    state_ ^= state_ << 13U;
    state_ ^= state_ >> 7U;
    state_ ^= state_ << 17U;
    return state_ % limit;
  }
  template <class T>
  void shuffle(std::vector<T>& items) noexcept {
    for (std::size_t left = items.size(); left > 1; --left) {
      std::swap(items[left - 1], items[below(left)]);
    }
  }

 private:
  std::uint64_t state_{88172645463325252U};
};

}  // namespace paddock::test
