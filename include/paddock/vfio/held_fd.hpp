// SPDX-License-Identifier: BSL-1.0
/// \file
/// An FD that is closed only when nobody uses it. The users are counted in one word, so that a use is two locked
/// instructions: a shared lock would be a twelfth of the system call that it protects.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>

namespace PADDOCK_NAMESPACE::vfio::detail {

/// Thread-safety: any thread, but for open(), which comes first. A use may be inside another one. It outlives its uses.
class held_fd {
 public:
  held_fd() noexcept = default;
  held_fd(const held_fd&) = delete;
  held_fd& operator=(const held_fd&) = delete;
  ~held_fd() = default;

  /// Requires: it is closed, and nobody uses it yet.
  void open(unique_fd fd) noexcept {
    fd_ = std::move(fd);
    state_.store(fd_.valid() ? is_open : 0);
  }

  /// Runs `use(borrowed_fd)`; close() waits until it returns. Errors: no_device once it is closed, with `what`.
  template <class Use>
  auto with(const char* what, Use use) -> decltype(use(borrowed_fd{})) {
    // Who is refused has not counted, or a crowd that tries again and again could keep close() waiting for ever.
    auto now = is_open;  // That nobody else uses it is a good guess.
    while (!state_.compare_exchange_weak(now, now + 1)) {
      if (now < is_open) [[unlikely]] {
        return fail(errc::no_device, what);
      }
    }
    const hold held(state_);
    return use(fd_.borrow());
  }

  /// Refuses whoever comes from here on, waits for those who use it, and closes. Again: nothing happens. Requires: the
  /// thread is in no use of it, and no other one closes it.
  void close() noexcept {
    state_.fetch_and(~is_open);
    for (auto now = state_.load(); now != 0; now = state_.load()) {
      state_.wait(now);
    }
    fd_.reset();
  }
  /// In a forked child, where the threads that use it do not run. Requires: the child has one thread, in no use of it.
  void close_inherited() noexcept {
    state_.store(0);
    fd_.reset();
  }

 private:
  static constexpr std::uint32_t is_open = std::uint32_t{1} << 31U;  ///< Below it: how many use it.

  struct hold {
    explicit hold(std::atomic<std::uint32_t>& counted) noexcept : state(counted) {}
    hold(const hold&) = delete;
    hold& operator=(const hold&) = delete;
    ~hold() {
      if (state.fetch_sub(1) == 1) [[unlikely]] {  // The last one of what is closed.
        wake(state);
      }
    }
    std::atomic<std::uint32_t>& state;
  };
  /// Out of line, since it would be most of each use.
  [[gnu::cold]] [[gnu::noinline]] static void wake(std::atomic<std::uint32_t>& state) noexcept { state.notify_all(); }

  std::atomic<std::uint32_t> state_{0};
  unique_fd fd_;
};

}  // namespace PADDOCK_NAMESPACE::vfio::detail
