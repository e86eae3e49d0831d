// SPDX-License-Identifier: BSL-1.0
/// \file
/// `fence_callback`: an intrusive node that runs once when its fence completes.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>

#include <boost/intrusive/list.hpp>

#include <paddock/base/time.hpp>

namespace paddock {

class fence;

/// How a fence completed, as its callbacks are told: by value, since an earlier callback may have dropped the last
/// reference of the fence.
struct fence_outcome {
  int sys_errno{0};  ///< 0 for success; EDEADLK when the fence was abandoned.
  monotonic_clock::time_point timestamp{};
};

/// How fence::add_callback ended.
enum class add_outcome : std::uint8_t {
  added,             ///< The callback will run, once.
  already_signaled,  ///< The fence is complete; the callback will not run.
};

/// How fence::remove_callback ended.
enum class remove_outcome : std::uint8_t {
  removed,       ///< It will not run.
  ran,           ///< It has run and finished, or was never added: its memory may go.
  running_here,  ///< Asked from inside the callback itself.
};

/// A node for one callback, owned by the caller, queued on at most one fence at a time. Neither copied nor moved.
/// The destructor removes the node; where the callback runs in another thread at that moment, it waits for the end.
/// A derived class whose callback uses members of its own calls retire() in its destructor: those members are gone when
/// this destructor runs. Inside the callback itself the node may be destroyed, or queued on another fence.
class fence_callback : public boost::intrusive::list_base_hook<> {
 public:
  /// Called in the signaling thread, without any lock held. It must not block. Whatever else it needs, the fence
  /// included, stands in the object that the node is a base of.
  using function = void (*)(fence_callback&, const fence_outcome&) noexcept;

  explicit fence_callback(function run) noexcept : run_(run) {}
  fence_callback(const fence_callback&) = delete;
  fence_callback& operator=(const fence_callback&) = delete;
  fence_callback(fence_callback&&) = delete;
  fence_callback& operator=(fence_callback&&) = delete;
  ~fence_callback() { retire(); }

  /// Takes the node off whatever fence it is queued on, and waits where it runs in another thread; afterwards it does
  /// not run. Inside the callback itself it only says that the node is about to go.
  void retire() noexcept;

 private:
  friend class fence;

  enum state : std::uint32_t { idle, queued, removing, running };

  /// True in the callback itself, as long as the node still belongs to the run that called it. Threads are told apart
  /// by pthread_self(), which is one for all shared objects, where a thread_local of a header is not.
  [[nodiscard]] bool runs_here() const noexcept {
    return state_.load() == running && runner_.load() == ::pthread_self();
  }

  function run_;
  std::atomic<fence*> fence_{nullptr};
  std::atomic<std::uint32_t> state_{idle};
  std::atomic<pthread_t> runner_{};
  bool* left_{
      nullptr};  ///< Tells the run that the node is destroyed or queued elsewhere. Used by the running thread only.
};

}  // namespace paddock
