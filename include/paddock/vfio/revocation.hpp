// SPDX-License-Identifier: BSL-1.0
/// \file
/// Who has to be told before a device's storage goes away: mappings of its BARs, windows on them, and the driver.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include <boost/intrusive/list.hpp>

namespace paddock::vfio {

/// Why the storage goes away.
enum class revoke_reason : std::uint8_t {
  reset,            ///< The device, or the set it belongs to, is about to be reset.
  memory_disabled,  ///< Memory decoding is about to be switched off.
  powered_down,     ///< The device is about to leave D0.
  removed,          ///< The kernel wants the device back.
  closed,           ///< This process closes the device.
};

class revocation_list;

/// Somebody who is told, once: after on_revoke() it is off the list. Neither copied nor moved.
class revocable : public boost::intrusive::list_base_hook<> {
 public:
  revocable() = default;
  revocable(const revocable&) = delete;
  revocable& operator=(const revocable&) = delete;
  revocable(revocable&&) = delete;
  revocable& operator=(revocable&&) = delete;

  /// Called before the storage goes away, while it still answers, with the list locked: it must not wait for another
  /// thread that may be leaving the list. It may leave others.
  virtual void on_revoke(revoke_reason reason) noexcept = 0;

 protected:
  ~revocable() = default;
};

/// The listeners of one device. Outlives the device as long as a listener holds it.
/// Thread-safety: any thread. leave() waits for a revocation that is under way in another thread.
class revocation_list {
 public:
  /// The driver joins in front, so that it quiesces its queues before their storage is unmapped.
  void join_first(revocable& listener) {
    const std::lock_guard guard(mutex_);
    listeners_.push_front(listener);
  }
  void join(revocable& listener) {
    const std::lock_guard guard(mutex_);
    listeners_.push_back(listener);
  }
  void leave(revocable& listener) noexcept {
    const std::lock_guard guard(mutex_);
    if (listener.is_linked()) {
      listeners_.erase(listeners_.iterator_to(listener));
    }
  }
  /// Held while somebody looks at the storage and joins, so that no revocation falls in between.
  [[nodiscard]] std::unique_lock<std::recursive_mutex> lock() { return std::unique_lock(mutex_); }
  /// Tells everyone and empties the list.
  void revoke(revoke_reason reason) noexcept {
    const std::lock_guard guard(mutex_);
    while (!listeners_.empty()) {
      revocable& next = listeners_.front();
      listeners_.pop_front();
      next.on_revoke(reason);
    }
  }

 private:
  // Recursive, because a listener may drop the last reference of another one.
  std::recursive_mutex mutex_;
  boost::intrusive::list<revocable, boost::intrusive::constant_time_size<false>> listeners_;
};

}  // namespace paddock::vfio
