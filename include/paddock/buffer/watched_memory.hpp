// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a memory_monitor knows of one watch.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <boost/intrusive/set.hpp>

#include <paddock/base/checking.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/memory_event.hpp>
#include <paddock/detail/futex.hpp>
#include <paddock/fence/eventfd.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/fence/wait.hpp>
#include <paddock/resv/cursor.hpp>
#include <paddock/resv/reservation.hpp>
#include <paddock/resv/usage.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// How many are about to start a job, and whether one more may. Who enters never waits.
class use_gate {
 public:
  /// Errors: revoked, when it is closed for good; busy, when it is for now.
  [[nodiscard]] result<void> enter() noexcept {
    std::uint32_t seen = word_.load();
    do {
      if ((seen & closed_for_good) != 0) {
        return fail(errc::revoked, "memory_watch::use");
      }
      if ((seen & closed_for_now) != 0) {
        return fail(errc::busy, "memory_watch::use: being released");
      }
    } while (!word_.compare_exchange_weak(seen, seen + 1));
    return {};
  }
  /// True: somebody may wait for it, since it was the last one and the gate is closed.
  [[nodiscard]] bool leave() noexcept {
    const std::uint32_t before = word_.fetch_sub(1);
    if (before > count && (before & count) == 1) {
      futex_wake_all(&word_);
      return true;
    }
    return false;
  }

  void close_for_now() noexcept { word_.fetch_or(closed_for_now); }
  void open_again() noexcept { word_.fetch_and(~closed_for_now); }
  void close_for_good() noexcept { word_.fetch_or(closed_for_good); }

  [[nodiscard]] bool is_empty() const noexcept { return (word_.load() & count) == 0; }
  /// Whether it was empty by then.
  [[nodiscard]] bool wait_empty(deadline until) const noexcept {
    for (std::uint32_t seen = word_.load(); (seen & count) != 0; seen = word_.load()) {
      if (until.passed()) {
        return false;
      }
      static_cast<void>(futex_sleep(&word_, seen, until));
    }
    return true;
  }

 private:
  static constexpr std::uint32_t closed_for_good = 1U << 31U;
  static constexpr std::uint32_t closed_for_now = 1U << 30U;
  static constexpr std::uint32_t count = closed_for_now - 1;

  std::atomic<std::uint32_t> word_{0};
};

/// One watch. The monitor guards it by its mutex, and lets go of that while one thread has it `busy`: only that thread
/// calls what is the user's.
class watched_memory : public boost::intrusive::set_base_hook<> {
 public:
  /// `wake`: an eventfd that outlives it.
  watched_memory(std::span<std::byte> its_range, const reservation& its_fences, borrowed_fd wake) noexcept
      : range(its_range), fences(its_fences), waker_(wake) {}
  watched_memory(const watched_memory&) = delete;
  watched_memory& operator=(const watched_memory&) = delete;
  virtual ~watched_memory() = default;

  [[nodiscard]] virtual borrowed_fd fd() noexcept = 0;
  [[nodiscard]] virtual result<std::size_t> read(std::span<memory_event> into) noexcept = 0;
  /// Ends the registration.
  virtual void let_go() noexcept = 0;
  virtual void unmap() noexcept = 0;
  virtual void tell(const memory_report& what) noexcept = 0;

  const std::span<std::byte> range;
  const reservation& fences;
  std::uint64_t id{0};
  use_gate gate;
  std::atomic<memory_status> status{memory_status::live};

  // Guarded by the monitor.
  bool pending{false};                ///< It has an event that is not read yet.
  bool ended{false};                  ///< Its addresses were taken away, or the monitor is gone.
  bool busy{false};                   ///< A thread does something for it without the mutex.
  bool orphan{false};                 ///< Dropped by that very thread, which deletes it.
  pthread_t busy_in{};                ///< That thread.
  const void* releaser{nullptr};      ///< Who releases it, or waits in order to drop it.
  deadline until{deadline::never()};  ///< When the event is let go at the latest.

  [[nodiscard]] bool is_busy_here() const noexcept { return busy && ::pthread_equal(busy_in, ::pthread_self()) != 0; }

  /// Whether nobody starts a job and all are done; if not, the eventfd is written to when that may have
  /// changed. For who has it busy.
  [[nodiscard]] bool is_quiet_or_wakes() noexcept {
    if (waits_for_ && !waits_for_->is_signaled()) {
      return false;
    }
    stop_waiting();
    if (!gate.is_empty()) {
      return false;  // The last one to leave wakes.
    }
    fence_cursor pending_fences(fences, usage::bookkeep);
    while (fence_ptr next = pending_fences.next()) {
      if (next->add_callback(waker_) == add_outcome::added) {
        waits_for_ = std::move(next);
        return false;
      }
    }
    return true;
  }
  /// For who has it busy.
  void stop_waiting() noexcept {
    waker_.retire();
    waits_for_ = fence_ptr();
  }

  /// Waits until it is quiet; false: not by then. For anybody.
  [[nodiscard]] bool wait_quiet(deadline until_then, place at) const noexcept {
    const monitor_section in_monitor(at);
    if (!gate.wait_empty(until_then)) {
      return false;
    }
    const auto ended_as = fences.wait(usage::bookkeep, until_then, hybrid_wait{}, at);
    return ended_as && *ended_as != wait_status::timed_out;
  }

 private:
  fence_ptr waits_for_;
  eventfd_callback waker_;  // Goes first.
};

struct id_of_watch {
  using type = std::uint64_t;
  [[nodiscard]] type operator()(const watched_memory& w) const noexcept { return w.id; }
};

}  // namespace PADDOCK_NAMESPACE::detail
