// SPDX-License-Identifier: BSL-1.0
/// \file
/// Behind memory_monitor and memory_watch: all that does not depend on what tells of events.
#pragma once

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>

#include <boost/intrusive/set.hpp>

#include <paddock/base/checking.hpp>
#include <paddock/base/fd.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/memory_event.hpp>
#include <paddock/buffer/watched_memory.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/resv/reservation.hpp>
#include <paddock/resv/usage.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// What is asked of release().
struct released_pages {
  const watched_memory* one{nullptr};  ///< Null: all watches that have a page of the range.
  std::span<std::byte> range{};
  bool keep{false};  ///< The pages are not given back.

  [[nodiscard]] bool concerns(const watched_memory& watch) const noexcept {
    const auto begin = [](std::span<std::byte> s) noexcept { return reinterpret_cast<std::uintptr_t>(s.data()); };
    return one != nullptr ? one == &watch
                          : begin(watch.range) < begin(range) + range.size() &&
                                begin(range) < begin(watch.range) + watch.range.size();
  }
};

/// Lives as long as the monitor or one of its watches. Once a watch has an event, no call here allocates or locks a
/// reservation for it: whoever caused the event is held, maybe with the locks of malloc.
class monitor_core {
 public:
  using give_back_function = result<void> (*)(std::span<std::byte>) noexcept;

  explicit monitor_core(std::chrono::nanoseconds patience, give_back_function give_back) noexcept
      : patience_(patience), give_back_(give_back) {}
  monitor_core(const monitor_core&) = delete;
  monitor_core& operator=(const monitor_core&) = delete;
  ~monitor_core() = default;

  [[nodiscard]] result<void> open() noexcept {
    epoll_ = unique_fd::adopt(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_) {
      return fail_errno("epoll_create1");
    }
    wake_ = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_) {
      return fail_errno("eventfd");
    }
    timer_ = unique_fd::adopt(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!timer_) {
      return fail_errno("timerfd_create");
    }
    PADDOCK_TRY_VOID(listen_to(wake_, EPOLLIN, own_id));
    return listen_to(timer_, EPOLLIN, own_id);
  }

  /// True in a forked child, which must not touch any of it: threads that it does not have may be in the middle of
  /// something.
  [[nodiscard]] bool is_foreign_process() const noexcept { return ::getpid() != owner_; }

  [[nodiscard]] borrowed_fd fd() const noexcept { return epoll_; }
  /// Makes dispatch() look at everything.
  [[nodiscard]] borrowed_fd wake_fd() const noexcept { return wake_; }
  void wake() const noexcept {
    const std::uint64_t one = 1;
    static_cast<void>(retry<false>([&] { return ::write(wake_.get(), &one, sizeof one); }));
  }

  [[nodiscard]] result<void> add(std::unique_ptr<watched_memory>& made) noexcept {
    const std::lock_guard guard(mutex_);
    if (gave_up_) {  // Nobody would let go who is held.
      return fail(*gave_up_);
    }
    made->id = ++last_id_;
    // Once: after the first event the rest is up to the fences.
    PADDOCK_TRY_VOID(listen_to(made->fd(), EPOLLIN | EPOLLONESHOT, made->id));
    watches_.insert(watches_.end(), *made.release());
    return {};
  }

  [[nodiscard]] result<void> dispatch() noexcept {
    prepare_thread();
    {
      const std::lock_guard guard(mutex_);
      if (dispatching_) {
        again_ = true;
        return {};
      }
      dispatching_ = true;
    }
    for (;;) {
      result<void> ended = take_events();
      std::unique_lock guard(mutex_);
      for (watched_memory* each = next_pending(0); each != nullptr;) {
        const std::uint64_t id = each->id;
        finish(*each, guard, false);
        each = next_pending(id);
      }
      set_timer();
      if (!std::exchange(again_, false)) {
        dispatching_ = false;
        return ended;
      }
    }
  }

  /// Releases a watch, or those of a range, all or none, and then gives the pages back.
  [[nodiscard]] result<void> release(const released_pages& what, deadline until, place at) noexcept {
    std::unique_lock guard(mutex_);
    PADDOCK_TRY_VOID(wait_for_turn(what, guard, until, at));
    const void* const claim = &guard;
    bool stale = false;
    bool again = what.one != nullptr;
    for (watched_memory& each : watches_) {
      if (what.concerns(each)) {
        stale = stale || (each.ended && each.status == memory_status::stale);
        if (!each.ended) {
          each.releaser = claim;
          each.gate.close_for_now();
          again = false;
        }
      }
    }
    for (watched_memory* each = next_of(claim, 0); each != nullptr; each = next_of(claim, each->id)) {
      guard.unlock();
      const bool quiet = each->wait_quiet(until, at);
      guard.lock();
      if (!quiet) {
        give_up(claim, guard);
        return fail(errc::timed_out, "memory_watch::release");
      }
    }
    for (watched_memory* each = next_of(claim, 0); each != nullptr;) {
      const std::uint64_t id = each->id;
      wait_while_busy(*each, guard);
      each->releaser = nullptr;
      stale = stale || each->ended || each->pending;
      if (each->pending) {
        finish(*each, guard, true);
      } else if (!each->ended) {
        take_away(*each, guard, at);
      } else {
        collect(*each, guard);
      }
      changed_.notify_all();
      each = next_of(claim, id);
    }
    guard.unlock();
    if (stale) {
      return fail(errc::revoked, "memory_watch::release: the pages went another way");
    }
    return what.keep || again || what.range.empty() ? result<void>{} : give_back_(what.range);
  }

  /// Ends a watch and deletes it. An event that has begun comes to its end first.
  void drop(watched_memory& gone) noexcept {
    std::unique_lock guard(mutex_);
    if (gone.is_busy_here()) {
      gone.orphan = true;
      gone.gate.close_for_good();
      return;
    }
    {
      const monitor_section in_monitor;
      while (gone.busy || gone.releaser != nullptr) {
        changed_.wait(guard);
      }
    }
    if (gone.pending) {
      gone.releaser = this;
      guard.unlock();
      static_cast<void>(gone.wait_quiet(gone.until, place::here()));
      guard.lock();
      wait_while_busy(gone, guard);
      if (gone.pending) {
        finish(gone, guard, true);
      }
    }
    watches_.erase(watches_.iterator_to(gone));
    changed_.notify_all();
    guard.unlock();
    gone.let_go();
    delete &gone;
  }

  /// Lets events that have begun come to their ends, and ends all watches.
  void close() noexcept {
    while (has_pending()) {
      pollfd ready{epoll_.get(), POLLIN, 0};
      if (!poll(&ready, 1, deadline::never()) || !dispatch()) {
        break;
      }
    }
    end_watches();
  }

  /// A thread that dispatches; signals are the program's. Errors: limit_reached.
  [[nodiscard]] result<void> start_thread() noexcept {
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const auto run = [](void* self) -> void* {
      static_cast<monitor_core*>(self)->run();
      return nullptr;
    };
    const int refused = ::pthread_create(&thread_, nullptr, run, this);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (refused != 0) {
      return fail(errc::limit_reached, "pthread_create");
    }
    has_thread_ = true;
    std::unique_lock guard(mutex_);
    while (!prepared_) {
      changed_.wait(guard);
    }
    return {};
  }
  void stop_thread() noexcept {
    if (std::exchange(has_thread_, false)) {
      stop_ = true;
      wake();
      ::pthread_join(thread_, nullptr);
    }
  }

 private:
  static constexpr std::uint64_t own_id = 0;  ///< Of the eventfd and the timer.

  [[nodiscard]] result<void> listen_to(borrowed_fd fd, std::uint32_t events, std::uint64_t id) noexcept {
    epoll_event entry{};
    entry.events = events;
    entry.data.u64 = id;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &entry) != 0) {
      return fail_errno("epoll_ctl");
    }
    return {};
  }

  /// A thread's first look at a reservation allocates, and must not be the one for an event.
  void prepare_thread() const noexcept { static_cast<void>(empty_.test_signaled(usage::bookkeep)); }

  void run() noexcept {
    prepare_thread();
    {
      const std::lock_guard guard(mutex_);
      prepared_ = true;
      changed_.notify_all();
    }
    while (!stop_) {
      pollfd ready{epoll_.get(), POLLIN, 0};
      result<void> ended;
      if (const auto woken = poll(&ready, 1, deadline::never()); !woken) {
        ended = fail(woken.error());
      } else {
        ended = dispatch();
      }
      if (!ended) {
        report_lost_error(ended.error());
        {
          const std::lock_guard guard(mutex_);
          gave_up_ = ended.error();
        }
        end_watches();  // Rather than to hold threads for ever.
        return;
      }
    }
  }

  /// Reads what there is to read, but for the events of watches, which begin here.
  [[nodiscard]] result<void> take_events() noexcept {
    std::array<epoll_event, 16> ready{};
    const int count =
        retry<false>([&] { return ::epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), 0); });
    if (count < 0) {
      return fail_errno("epoll_wait");
    }
    const std::lock_guard guard(mutex_);
    for (const epoll_event& each : std::span(ready).first(static_cast<std::size_t>(count))) {
      const std::uint64_t id = each.data.u64;  // A value: the kernel packs the struct.
      if (id == own_id) {
        std::uint64_t times = 0;
        static_cast<void>(::read(wake_.get(), &times, sizeof times));
        static_cast<void>(::read(timer_.get(), &times, sizeof times));
      } else if (const auto found = watches_.find(id); found != watches_.end()) {
        begin(*found);
      }
    }
    return {};
  }
  /// Its pages went, or are about to.
  void begin(watched_memory& told) noexcept {
    if (!told.ended && !told.pending) {
      told.gate.close_for_good();
      told.status = memory_status::stale;
      told.until = deadline::in(patience_);
      told.pending = true;
    }
  }

  /// Goes on with an event, to its end if no job uses the pages, the time is over, or `now`.
  void finish(watched_memory& told, std::unique_lock<std::mutex>& guard, bool now) noexcept {
    enter(told);
    guard.unlock();
    const bool done = try_finish(told, now);
    guard.lock();
    if (done) {
      told.pending = false;
      told.ended = true;
    }
    leave(told, guard);
  }
  [[nodiscard]] static bool try_finish(watched_memory& told, bool now) noexcept {
    bool quiet = false;
    {
      const monitor_section in_monitor;
      might_wait();
      quiet = told.is_quiet_or_wakes();
      if (!quiet && !now && !told.until.passed()) {
        return false;
      }
      told.stop_waiting();
      told.unmap();
    }
    std::array<memory_event, 8> events;
    const result<std::size_t> count = told.read(events);
    told.let_go();  // Nobody else is to be held, by a callback least of all.
    if (!count) {
      report_lost_error(count.error());
      return true;
    }
    for (const memory_event& each : std::span(events).first(*count)) {
      if (!told.orphan) {
        told.tell({each, !quiet});
      }
    }
    return true;
  }
  void take_away(watched_memory& released, std::unique_lock<std::mutex>& guard, place at) noexcept {
    enter(released);
    released.ended = true;
    released.gate.close_for_good();
    guard.unlock();
    {
      const monitor_section in_monitor(at);
      released.unmap();
    }
    released.status = memory_status::released;
    released.let_go();
    guard.lock();
    leave(released, guard);
  }

  static void enter(watched_memory& used) noexcept {
    used.busy = true;
    used.busy_in = ::pthread_self();
  }
  void leave(watched_memory& used, std::unique_lock<std::mutex>& guard) noexcept {
    used.busy = false;
    changed_.notify_all();
    collect(used, guard);
  }
  /// Deletes what was dropped by a function of its own, unless another thread has claimed it.
  void collect(watched_memory& used, std::unique_lock<std::mutex>& guard) noexcept {
    if (used.orphan && used.releaser == nullptr) {
      watches_.erase(watches_.iterator_to(used));
      guard.unlock();
      delete &used;
      guard.lock();
    }
  }
  /// For a thread that has claimed it, or has the monitor alone.
  void wait_while_busy(const watched_memory& used, std::unique_lock<std::mutex>& guard) noexcept {
    while (used.busy) {
      changed_.wait(guard);
    }
  }

  /// Until nobody else releases one of them.
  [[nodiscard]] result<void> wait_for_turn(const released_pages& what, std::unique_lock<std::mutex>& guard,
                                           deadline until, place at) noexcept {
    const monitor_section in_monitor(at);
    for (;;) {
      bool taken = false;
      for (const watched_memory& each : watches_) {
        if (what.concerns(each)) {
          if (each.is_busy_here()) {
            return fail(errc::reentrant, "memory_watch::release");
          }
          taken = taken || each.releaser != nullptr || each.busy;
        }
      }
      if (!taken) {
        return {};
      }
      if (until.passed()) {
        return fail(errc::timed_out, "memory_watch::release");
      }
      using namespace std::chrono_literals;
      // In pieces: far enough ahead, the sum would overflow.
      changed_.wait_until(guard,
                          std::chrono::steady_clock::now() + std::min<std::chrono::nanoseconds>(until.remaining(), 1h));
    }
  }
  void give_up(const void* claim, std::unique_lock<std::mutex>& guard) noexcept {
    while (watched_memory* const each = next_of(claim, 0)) {
      each->releaser = nullptr;
      each->gate.open_again();
      if (!each->busy) {
        collect(*each, guard);
      }
    }
    changed_.notify_all();
  }

  void end_watches() noexcept {
    std::unique_lock guard(mutex_);
    for (watched_memory* each = next_after(0); each != nullptr;) {
      const std::uint64_t id = each->id;
      if (each->busy || each->releaser != nullptr) {
        changed_.wait(guard);
        each = next_after(id - 1);
        continue;
      }
      if (each->pending) {
        finish(*each, guard, true);
      } else if (!each->ended) {
        each->ended = true;
        each->gate.close_for_good();
        each->status = memory_status::stale;
        enter(*each);
        guard.unlock();
        each->let_go();
        guard.lock();
        leave(*each, guard);
      }
      each = next_after(id);
    }
  }

  [[nodiscard]] watched_memory* next_after(std::uint64_t id) noexcept {
    const auto next = watches_.upper_bound(id);
    return next != watches_.end() ? &*next : nullptr;
  }
  /// That a thread can go on with.
  [[nodiscard]] watched_memory* next_pending(std::uint64_t id) noexcept {
    watched_memory* next = next_after(id);
    while (next != nullptr && (!next->pending || next->busy)) {
      next = next_after(next->id);
    }
    return next;
  }
  [[nodiscard]] watched_memory* next_of(const void* claim, std::uint64_t id) noexcept {
    watched_memory* next = next_after(id);
    while (next != nullptr && next->releaser != claim) {
      next = next_after(next->id);
    }
    return next;
  }
  [[nodiscard]] bool has_pending() noexcept {
    const std::lock_guard guard(mutex_);
    return std::any_of(watches_.begin(), watches_.end(), [](const watched_memory& each) { return each.pending; });
  }
  /// To the first event that must be let go.
  void set_timer() noexcept {
    deadline first = deadline::never();
    for (const watched_memory& each : watches_) {
      if (each.pending && !each.busy) {
        first = std::min(first, each.until);
      }
    }
    itimerspec when{};
    if (!first.is_never()) {
      when.it_value = first.to_timespec();
    }
    // Cannot fail: it is our timer and a time of its clock. All zeroes stop it.
    static_cast<void>(::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr));
  }

  using watches = boost::intrusive::set<watched_memory, boost::intrusive::key_of_value<id_of_watch>,
                                        boost::intrusive::constant_time_size<false>>;

  const std::chrono::nanoseconds patience_;
  const give_back_function give_back_;
  const pid_t owner_{::getpid()};
  const reservation empty_;
  unique_fd epoll_;
  unique_fd wake_;
  unique_fd timer_;
  pthread_t thread_{};
  bool has_thread_{false};
  std::atomic<bool> stop_{false};

  std::mutex mutex_;  ///< Guards everything below; never held while a function of the user runs.
  std::condition_variable changed_;
  watches watches_;
  std::uint64_t last_id_{own_id};
  bool prepared_{false};
  std::optional<error> gave_up_;  ///< Why the thread has ended before it was told to.
  bool dispatching_{false};
  bool again_{false};
};

}  // namespace PADDOCK_NAMESPACE::detail
