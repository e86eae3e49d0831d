// SPDX-License-Identifier: BSL-1.0
/// \file
/// One thread that watches the clock for those who asked, as long as somebody does.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <new>

#include <boost/intrusive/set.hpp>

#include <paddock/base/error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/detail/thread.hpp>

namespace PADDOCK_NAMESPACE::detail {

class expiry_watch;

/// Something that happens at a time, unless it is called off.
class expiry : public boost::intrusive::set_base_hook<> {
 public:
  expiry() noexcept = default;
  expiry(const expiry&) = delete;
  expiry& operator=(const expiry&) = delete;

 protected:
  ~expiry() = default;

 private:
  friend class expiry_watch;
  /// Called once, in the watching thread, without a lock. It must not block.
  virtual void expired() noexcept = 0;

  friend bool operator<(const expiry& a, const expiry& b) noexcept { return a.when_ < b.when_; }
  deadline when_{deadline::never()};
};

/// The watch of a shared object. Its thread starts with the first entry and ends with the last one; it is detached, and
/// the watch is never destroyed, so that a process may exit at any time. Thread-safety: any thread.
class expiry_watch {
 public:
  [[nodiscard]] static expiry_watch& instance() noexcept {
    alignas(expiry_watch) static std::byte room[sizeof(expiry_watch)];
    static auto* const one = new (room) expiry_watch;
    return *one;
  }

  /// Errors: limit_reached when no thread can be started.
  [[nodiscard]] result<void> add(expiry& entry, deadline when) noexcept {
    const std::lock_guard guard(mutex_);
    entry.when_ = when;
    const auto at = entries_.insert(entry);
    if (!watching_) {
      const auto run = [](void* self) noexcept -> void* {
        static_cast<expiry_watch*>(self)->watch();
        return nullptr;
      };
      if (auto started = start_thread(run, this); !started) {
        entries_.erase(at);
        return started;
      }
      watching_ = true;
    } else if (at == entries_.begin()) {
      changed_.notify_one();
    }
    return {};
  }

  /// Calls off. False: it was not there, or happens now.
  bool remove(expiry& entry) noexcept {
    const std::lock_guard guard(mutex_);
    if (!entry.is_linked()) {
      return false;
    }
    const bool was_first = entries_.iterator_to(entry) == entries_.begin();
    entries_.erase(entries_.iterator_to(entry));
    if (was_first) {
      changed_.notify_one();  // The thread waits for another entry now, or for none.
    }
    return true;
  }

 private:
  expiry_watch() = default;

  void watch() noexcept {
    using namespace std::chrono_literals;
    std::unique_lock guard(mutex_);
    while (!entries_.empty()) {
      expiry& first = *entries_.begin();
      if (const auto left = first.when_.remaining(); left > std::chrono::nanoseconds::zero()) {
        // In pieces: far enough ahead, the sum would overflow.
        changed_.wait_until(guard, std::chrono::steady_clock::now() + std::min<std::chrono::nanoseconds>(left, 1h));
        continue;
      }
      entries_.erase(entries_.begin());
      guard.unlock();
      first.expired();
      guard.lock();
    }
    watching_ = false;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  boost::intrusive::multiset<expiry, boost::intrusive::constant_time_size<false>> entries_;
  bool watching_{false};
};

}  // namespace PADDOCK_NAMESPACE::detail
