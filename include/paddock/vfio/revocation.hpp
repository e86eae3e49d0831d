// SPDX-License-Identifier: BSL-1.0
/// \file
/// Who has to be told before a device's storage goes away: mappings of its BARs, windows on them, and the driver.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include <boost/intrusive/list.hpp>

#include <paddock/base/checking.hpp>
#include <paddock/base/result.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// Why the storage goes away.
enum class revoke_reason : std::uint8_t {
  reset,            ///< The device, or the set it belongs to, is about to be reset.
  memory_disabled,  ///< Memory decoding is about to be switched off.
  powered_down,     ///< The device is about to leave D0.
  removed,          ///< The kernel wants the device back.
  closed,           ///< This process closes the device.
};

/// Somebody who is told, once: before on_revoke() runs it is off the list. Neither copied nor moved.
class revocable : public boost::intrusive::list_base_hook<> {
 public:
  revocable() = default;
  revocable(const revocable&) = delete;
  revocable& operator=(const revocable&) = delete;
  revocable(revocable&&) = delete;
  revocable& operator=(revocable&&) = delete;

  /// Called before the storage goes away, while it still answers. It may leave and drop others, drop mappings of other
  /// devices' BARs, signal fences, and join again for the next time. It must not map BARs: a device that is being
  /// revoked in another thread would wait for this one.
  virtual void on_revoke(revoke_reason reason) noexcept = 0;

 protected:
  // Listeners are owned by those who made them, never through this base.
  ~revocable() = default;
};

/// The listeners of one device. Outlives the device as long as a listener holds it.
/// Thread-safety: any thread. leave() waits while another thread is telling that very listener.
class revocation_list {
 public:
  /// For checked programs: what is taken before reservations. One kind for all devices: who is told of one device's
  /// revocation does not begin another one's.
  static constexpr const char* lock_name = "a device's revocation";

  /// Held over whatever takes the storage away or brings it back, and over mapping it, so that neither falls into the
  /// middle of the other. Not needed to join or leave. Recursive: on_revoke() may ask for more of the same.
  [[nodiscard]] std::unique_lock<std::recursive_mutex> lock() { return std::unique_lock(storage_); }

  /// The same if it is to be had at once: for those who hold what is taken after it.
  [[nodiscard]] std::unique_lock<std::recursive_mutex> try_lock() { return {storage_, std::try_to_lock}; }

  /// The driver joins in front, so that it quiesces its queues before their storage is unmapped.
  /// Errors: no_device (the device is closed: nobody would ever be told).
  [[nodiscard]] result<void> join_first(revocable& listener) { return insert(listener, true); }
  [[nodiscard]] result<void> join(revocable& listener) { return insert(listener, false); }

  void leave(revocable& listener) noexcept {
    std::unique_lock guard(mutex_);
    if (listener.is_linked()) {
      // Either list: a node unlinks itself the same way.
      listeners_.erase(listeners_.iterator_to(listener));
      return;
    }
    told_one_.wait(guard, [&] { return !is_being_told(listener) || ::pthread_equal(teller_, ::pthread_self()) != 0; });
  }

  /// Tells everyone who is on the list now. Requires: lock() is held; the thread holds no reservation, since buffers
  /// take theirs when they are told (a checked program says so).
  void revoke(revoke_reason reason, place at = place::here()) noexcept {
    std::optional<checked_lock_section> order;
    if (telling_ == nullptr) {  // Else it is this thread, in the middle of the same.
      order.emplace(lock_name, this, at);
    }
    std::unique_lock guard(mutex_);
    // A list of the object's, not of this call: when on_revoke() leads here again, by destroying the device, say, all
    // who are left are told before that call goes on.
    to_tell_.splice(to_tell_.end(), listeners_);
    while (!to_tell_.empty()) {
      frame now{&to_tell_.front(), telling_};
      to_tell_.pop_front();
      telling_ = &now;
      teller_ = ::pthread_self();
      guard.unlock();
      now.told->on_revoke(reason);
      guard.lock();
      telling_ = now.outer;
      told_one_.notify_all();
    }
  }

  /// Whether this thread, or another one, is in the middle of revoke().
  [[nodiscard]] bool is_revoking() const noexcept {
    const std::lock_guard guard(mutex_);
    return telling_ != nullptr || !to_tell_.empty();
  }

  /// No device any more: nobody can join. Requires: lock() is held.
  void close() noexcept {
    const std::lock_guard guard(mutex_);
    closed_ = true;
  }
  [[nodiscard]] bool closed() const noexcept {
    const std::lock_guard guard(mutex_);
    return closed_;
  }

 private:
  using list = boost::intrusive::list<revocable, boost::intrusive::constant_time_size<false>>;

  [[nodiscard]] result<void> insert(revocable& listener, bool first) {
    const std::lock_guard guard(mutex_);
    if (closed_) {
      return fail(errc::no_device, "revocation_list::join");
    }
    listeners_.insert(first ? listeners_.begin() : listeners_.end(), listener);
    return {};
  }

  /// A call of on_revoke() that has not returned; they nest in one thread.
  struct frame {
    revocable* told;
    frame* outer;
  };
  [[nodiscard]] bool is_being_told(const revocable& listener) const noexcept {
    for (const frame* each = telling_; each != nullptr; each = each->outer) {
      if (each->told == &listener) {
        return true;
      }
    }
    return false;
  }

  std::recursive_mutex storage_;
  mutable std::mutex mutex_;  ///< Guards everything below; never held while a listener is told.
  std::condition_variable told_one_;
  list listeners_;
  list to_tell_;
  frame* telling_{nullptr};
  pthread_t teller_{};
  bool closed_{false};
};

}  // namespace PADDOCK_NAMESPACE::vfio
