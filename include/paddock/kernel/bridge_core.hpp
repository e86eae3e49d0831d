// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a fence_bridge is inside: descriptors that are waited for, and who is told.
#pragma once

#include <sys/epoll.h>
#include <sys/types.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <span>

#include <boost/intrusive/set.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/process_id.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/detail/thread.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// A descriptor in the bridge, until it is ready or taken back.
class bridged : public boost::intrusive::set_base_hook<> {
 public:
  bridged(const bridged&) = delete;
  bridged& operator=(const bridged&) = delete;

 protected:
  bridged() noexcept = default;
  ~bridged() = default;

 private:
  friend class bridge_core;

  struct id_of {
    using type = std::uint64_t;
    std::uint64_t operator()(const bridged& entry) const noexcept { return entry.id_; }
  };
  /// It is ready, or in error, or (0) nobody can watch it, and in the bridge no more. Called without a lock, by whoever
  /// dispatches.
  virtual void ready(std::uint32_t events) noexcept = 0;

  std::uint64_t id_{0};
  int fd_{-1};
};

/// Waits for many descriptors, by one thread that is there while something is pending, or by the caller's event loop.
/// Told by number who is ready, not by address: whoever is taken back meanwhile is not found any more.
/// A forked child has the parent's epoll, which is one set for both, and none of its threads: here it changes nothing.
/// Thread-safety: any thread.
class bridge_core {
 public:
  bridge_core(const bridge_core&) = delete;
  bridge_core& operator=(const bridge_core&) = delete;

  /// Errors: limit_reached, out_of_memory. `own_thread`: else somebody calls dispatch().
  [[nodiscard]] static result<boost::intrusive_ptr<bridge_core>> create(bool own_thread) noexcept {
    unique_fd epoll = unique_fd::adopt(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll.valid()) {
      return fail_errno("epoll_create1");
    }
    auto* const made = new (std::nothrow) bridge_core(std::move(epoll), own_thread);
    if (made == nullptr) {
      return fail(errc::out_of_memory, "fence_bridge::create");
    }
    return boost::intrusive_ptr<bridge_core>(made);
  }

  [[nodiscard]] borrowed_fd fd() const noexcept { return epoll_.borrow(); }
  [[nodiscard]] bool is_of_this_process() const noexcept { return process_ == process_id(); }

  /// `fd` stays open until it is ready, or taken back. Errors: limit_reached (descriptors that epoll may watch,
  /// threads), out_of_memory, bad_fd, permission (a file that cannot be waited for), invalid_argument (a forked child).
  [[nodiscard]] result<void> add(bridged& entry, borrowed_fd fd) noexcept {
    PADDOCK_TRY_VOID(check_process());
    const std::lock_guard guard(mutex_);
    entry.id_ = ++last_id_;
    entry.fd_ = fd.get();
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    wanted.data.u64 = entry.id_;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, entry.fd_, &wanted) != 0) {
      return fail_errno("epoll_ctl");
    }
    entries_.insert(entry);
    if (auto started = ensure_thread(); !started) {
      take_out(entry);
      return started;
    }
    return {};
  }
  /// Takes it back. False: it is not there, or is being told now.
  bool remove(bridged& entry) noexcept {
    if (!is_of_this_process()) {  // Somebody may have had the lock when it was forked.
      return false;
    }
    const std::lock_guard guard(mutex_);
    if (!entry.is_linked()) {
      return false;
    }
    take_out(entry);
    return true;
  }

  /// Tells who is ready, without waiting; at most 64, so that an event loop gets its turn.
  /// Returns how many were told. Errors: those of epoll_wait; invalid_argument (a forked child).
  [[nodiscard]] result<std::size_t> dispatch(int timeout_ms = 0) noexcept {
    PADDOCK_TRY_VOID(check_process());
    std::array<epoll_event, 64> ready{};
    const int count = retry<false>(
        [&] { return ::epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), timeout_ms); });
    if (count < 0) {
      return fail_errno("epoll_wait");
    }
    std::size_t told = 0;
    for (const epoll_event& each : std::span(ready).first(static_cast<std::size_t>(count))) {
      const std::uint64_t id = each.data.u64;  // A value: the kernel packs the struct.
      if (bridged* const entry = claim(id); entry != nullptr) {
        entry->ready(each.events);
        ++told;
      }
    }
    return told;
  }

  /// The event loop is gone: a thread takes over what is pending, or will be. Where none can be started, all that are
  /// left are told so.
  void leave_loop() noexcept {
    if (!is_of_this_process()) {
      return;
    }
    {
      const std::lock_guard guard(mutex_);
      own_thread_ = true;
      if (entries_.empty() || ensure_thread()) {
        return;
      }
    }
    for (;;) {
      bridged* left = nullptr;
      {
        const std::lock_guard guard(mutex_);
        if (entries_.empty()) {
          return;
        }
        left = &*entries_.begin();
        take_out(*left);
      }
      left->ready(0);
    }
  }

  friend void intrusive_ptr_add_ref(bridge_core* held) noexcept { held->references_.fetch_add(1); }
  // Out of line: inlined, g++ 12 takes it for a write through a null pointer, which boost has ruled out.
  [[gnu::noinline]] friend void intrusive_ptr_release(bridge_core* held) noexcept {
    if (held->references_.fetch_sub(1) == 1) {
#ifndef __clang_analyzer__  // It does not follow the count.
      delete held;
#endif
    }
  }

 private:
  /// For so long the thread stays when nothing is pending: less than a frame's pause, more than a new thread costs.
  static constexpr int linger_ms = 50;

  bridge_core(unique_fd epoll, bool own_thread) noexcept : epoll_(std::move(epoll)), own_thread_(own_thread) {}
  ~bridge_core() = default;

  [[nodiscard]] result<void> check_process() const noexcept {
    return is_of_this_process() ? result<void>()
                                : result<void>(fail(errc::invalid_argument, "fence_bridge of the process before fork"));
  }
  /// Requires: the lock.
  [[nodiscard]] result<void> ensure_thread() noexcept {
    if (!own_thread_ || is_running_) {
      return {};
    }
    const auto run = [](void* self) noexcept -> void* {
      static_cast<bridge_core*>(self)->run();
      return nullptr;
    };
    intrusive_ptr_add_ref(this);  // The thread's.
    auto started = start_thread(run, this);
    if (started) {
      is_running_ = true;
    } else {
      intrusive_ptr_release(this);
    }
    return started;
  }
  [[nodiscard]] bridged* claim(std::uint64_t id) noexcept {
    const std::lock_guard guard(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) {
      return nullptr;
    }
    bridged& entry = *found;
    take_out(entry);
    return &entry;
  }
  /// Requires: the lock. A file may have other descriptors, so that closing this one would not do.
  void take_out(bridged& entry) noexcept {
    epoll_event ignored{};
    static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, entry.fd_, &ignored));
    entries_.erase(entries_.iterator_to(entry));
  }
  void run() noexcept {
    for (;;) {
      const auto told = dispatch(linger_ms);
      const std::lock_guard guard(mutex_);
      if ((told && *told != 0) || !entries_.empty()) {
        continue;
      }
      is_running_ = false;
      break;
    }
    intrusive_ptr_release(this);
  }

  const unique_fd epoll_;
  const pid_t process_{process_id()};
  std::atomic<std::uint32_t> references_{0};

  std::mutex mutex_;  ///< Guards everything below.
  boost::intrusive::set<bridged, boost::intrusive::key_of_value<bridged::id_of>> entries_;
  std::uint64_t last_id_{0};
  bool own_thread_;
  bool is_running_{false};
};

}  // namespace PADDOCK_NAMESPACE::detail
