// SPDX-License-Identifier: BSL-1.0
/// \file
/// `fence`: a one-shot promise of completion, with an error, a timestamp and callbacks; `fence_ptr` counts references.
/// The contract is the kernel's dma_fence (drivers/dma-buf/dma-fence.c), with the races of its users closed.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <utility>

#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/detail/futex.hpp>
#include <paddock/fence/callback.hpp>

namespace paddock {

class fence;
class fence_context;

/// What a source of fences may add. Every entry may be null.
struct fence_ops {
  /// Called once, by the first who is interested (a wait or a callback), before that interest is recorded; others may
  /// record theirs meanwhile. Returns false when the work is already done: the fence is then signaled at once.
  bool (*enable_signaling)(fence&) noexcept = nullptr;
  /// Asks the source. Returns true when the work is done; may also signal the fence itself.
  bool (*poll)(fence&) noexcept = nullptr;
  /// A waiter would like completion by then. A hint; calls may overlap, and the earliest is the one to keep.
  void (*set_deadline)(fence&, deadline) noexcept = nullptr;
  /// The last reference is gone. Null: nothing is done, unless fence_context::create() made the fence, which is then
  /// deleted.
  void (*release)(fence&) noexcept = nullptr;
};

/// Pending, then signaled or failed, once and for all.
/// Thread-safety: everything from any thread, and from inside callbacks. Not async-signal-safe.
class fence {
 public:
  /// The next fence of a context, as a base or member of the driver's own job structure; on the heap alone it is made
  /// by fence_context::create(). It has one reference, which is the caller's. Requires: `ops` outlives the fence.
  /// `source` is the driver's, given back by source().
  explicit fence(fence_context& context, const fence_ops* ops = nullptr, void* source = nullptr) noexcept;
  fence(const fence&) = delete;
  fence& operator=(const fence&) = delete;
  fence(fence&&) = delete;
  fence& operator=(fence&&) = delete;

  /// True once complete, with or without error. A pure load: it never asks the source.
  [[nodiscard]] bool is_signaled() const noexcept {
    // order: pairs with the exchange in complete(): who sees "signaled" sees error and timestamp.
    return (state_.load(std::memory_order_acquire) & complete_bit) != 0;
  }

  /// Asks the source whether it is done, and completes the fence when it is. Returns is_signaled() after that.
  /// Kernel: dma_fence_is_signaled with ops->signaled.
  bool poll() noexcept {
    if (!is_signaled() && ops_->poll != nullptr && ops_->poll(*this)) {
      signal();
    }
    return is_signaled();
  }

  /// Completes without error. Returns whether this call was the one; false: it was complete already.
  bool signal() noexcept { return complete(0); }
  /// Completes with an error: the errno whose general meaning the code is. Returns as signal().
  bool fail(errc why) noexcept { return complete(detail::errno_from_errc(why)); }
  /// Completes with the errno that a kernel interface gave; one outside [1, 4095] becomes EIO. Returns as signal().
  bool fail(int sys_errno) noexcept { return complete(sys_errno >= 1 && sys_errno <= 4095 ? sys_errno : EIO); }

  /// 0 while pending and after success, else the errno given to fail(); EDEADLK when the fence was abandoned.
  [[nodiscard]] int sys_errno() const noexcept { return is_signaled() ? sys_errno_ : 0; }
  /// The error of a failed fence. Requires: sys_errno() != 0.
  [[nodiscard]] struct error error() const noexcept { return error_from_errno(sys_errno(), name_); }
  /// Pending fences give timed_out: nothing is known of them yet.
  [[nodiscard]] wait_status status() const noexcept {
    if (!is_signaled()) {
      return wait_status::timed_out;
    }
    return sys_errno_ == 0 ? wait_status::signaled : wait_status::failed;
  }
  /// When it completed. Requires: is_signaled().
  [[nodiscard]] monotonic_clock::time_point timestamp() const noexcept { return timestamp_; }

  /// Queues a callback, or says that the fence is complete and the callback will never run. Never both, never neither.
  /// Kernel: dma_fence_add_callback.
  add_outcome add_callback(fence_callback& node) noexcept;
  /// Takes a callback back, see remove_outcome. Kernel: dma_fence_remove_callback.
  remove_outcome remove_callback(fence_callback& node) noexcept;

  /// Makes sure that the source will signal by itself. Kernel: dma_fence_enable_sw_signaling.
  void enable_signaling() noexcept;
  /// Passes on a wish; the earliest is kept. Kernel: dma_fence_set_deadline.
  void set_deadline(deadline wish) noexcept;

  [[nodiscard]] std::uint64_t context() const noexcept { return context_; }
  [[nodiscard]] std::uint64_t seqno() const noexcept { return seqno_; }
  [[nodiscard]] const char* name() const noexcept { return name_; }
  [[nodiscard]] void* source() const noexcept { return source_; }

  /// One more reference.
  void get() noexcept {
    // order: a new reference is made from one that is held, so nothing has to be seen.
    references_.fetch_add(1, std::memory_order_relaxed);
  }
  /// One less. The last one of a pending fence fails it with EDEADLK, then releases it.
  void put() noexcept;

  /// Sleeps until completion or the deadline, without spinning. fence/wait.hpp has the policies.
  [[nodiscard]] bool sleep_until(deadline until) noexcept;

 protected:
  ~fence() = default;

 private:
  friend class fence_callback;
  friend class fence_context;

  static constexpr std::uint32_t sleeper_bit = 1;
  static constexpr std::uint32_t complete_bit = 2;
  static constexpr fence_ops no_ops{};

  /// The fences that this thread completed inside a callback: their callbacks run after the current one returns, so
  /// that a chain of completions takes constant stack.
  struct trampoline {
    fence* first{nullptr};
    fence** last{&first};
  };
  /// One a shared object: the stack is bounded by their number, not by the length of the chain.
  static trampoline*& this_threads_trampoline() noexcept {
    static thread_local trampoline* current = nullptr;
    return current;
  }

  static void delete_from_heap(fence& f) noexcept { delete &f; }
  bool complete(int sys_errno) noexcept;
  void run_callbacks() noexcept;
  static void run_one(fence_callback& node, const fence_outcome& outcome, const bool& left) noexcept;

  std::atomic<std::uint32_t> state_{0};
  std::atomic<std::uint32_t> references_{1};
  std::mutex mutex_;  ///< Guards callbacks_, enabled_, deadline_.
  boost::intrusive::list<fence_callback, boost::intrusive::constant_time_size<false>> callbacks_;
  bool enabled_{false};
  int sys_errno_{0};
  deadline deadline_{deadline::never()};
  monotonic_clock::time_point timestamp_{};
  fence* next_completed_{nullptr};
  const fence_ops* ops_;
  void (*release_)(fence&) noexcept;
  void* source_;
  const char* name_;
  std::uint64_t context_;
  std::uint64_t seqno_;
};

/// A counted reference to a fence; may be empty.
class fence_ptr {
 public:
  constexpr fence_ptr() noexcept = default;
  /// Shares a fence that somebody else holds.
  explicit fence_ptr(fence& shared) noexcept : fence_(&shared) { shared.get(); }
  /// Takes over a reference that the caller owned.
  [[nodiscard]] static fence_ptr adopt(fence* owned) noexcept {
    fence_ptr made;
    made.fence_ = owned;
    return made;
  }
  fence_ptr(const fence_ptr& other) noexcept : fence_(other.fence_) {
    if (fence_ != nullptr) {
      fence_->get();
    }
  }
  fence_ptr(fence_ptr&& other) noexcept : fence_(std::exchange(other.fence_, nullptr)) {}
  fence_ptr& operator=(fence_ptr other) noexcept {
    std::swap(fence_, other.fence_);
    return *this;
  }
  ~fence_ptr() { reset(); }

  void reset() noexcept {
    if (fence* old = std::exchange(fence_, nullptr); old != nullptr) {
      old->put();
    }
  }
  [[nodiscard]] fence* get() const noexcept { return fence_; }
  [[nodiscard]] fence& operator*() const noexcept { return *fence_; }
  [[nodiscard]] fence* operator->() const noexcept { return fence_; }
  explicit operator bool() const noexcept { return fence_ != nullptr; }
  friend bool operator==(const fence_ptr&, const fence_ptr&) noexcept = default;

 private:
  fence* fence_{nullptr};
};

inline add_outcome fence::add_callback(fence_callback& node) noexcept {
  if (is_signaled()) {
    return add_outcome::already_signaled;
  }
  enable_signaling();
  const std::lock_guard guard(mutex_);
  if (is_signaled()) {
    return add_outcome::already_signaled;
  }
  if (node.runs_here()) {
    *node.left_ = true;  // From now on the node belongs to this fence.
  }
  node.fence_.store(this);
  node.state_.store(fence_callback::queued);
  callbacks_.push_back(node);
  return add_outcome::added;
}

inline remove_outcome fence::remove_callback(fence_callback& node) noexcept {
  std::uint32_t expected = fence_callback::queued;
  if (node.fence_.load() == this && node.state_.compare_exchange_strong(expected, fence_callback::removing)) {
    // The signaler does not pass a node in this state, so the fence lives until the node has left the list.
    const std::lock_guard guard(mutex_);
    callbacks_.erase(callbacks_.iterator_to(node));
    node.state_.store(fence_callback::idle);
    return remove_outcome::removed;
  }
  if (node.runs_here()) {
    return remove_outcome::running_here;
  }
  while (node.state_.load() == fence_callback::running) {
    static_cast<void>(
        detail::futex_sleep(node.state_, fence_callback::running, deadline::in(std::chrono::milliseconds(1))));
  }
  return remove_outcome::ran;
}

inline void fence::enable_signaling() noexcept {
  {
    const std::lock_guard guard(mutex_);
    if (std::exchange(enabled_, true) || is_signaled()) {
      return;
    }
  }
  if (ops_->enable_signaling != nullptr && !ops_->enable_signaling(*this)) {
    signal();
  }
}

inline void fence::set_deadline(deadline wish) noexcept {
  {
    const std::lock_guard guard(mutex_);
    if (is_signaled() || wish >= deadline_) {
      return;
    }
    deadline_ = wish;
  }
  if (ops_->set_deadline != nullptr) {
    ops_->set_deadline(*this, wish);
  }
}

inline bool fence::complete(int sys_errno) noexcept {
  std::uint32_t before = 0;
  {
    const std::lock_guard guard(mutex_);
    if (is_signaled()) {
      return false;
    }
    sys_errno_ = sys_errno;
    timestamp_ = monotonic_clock::now();
    get();  // A waiter may drop its reference as soon as it sees the new state.
    // order: release publishes error and timestamp to the load in is_signaled(); acquire sees the sleeper's bit.
    before = state_.exchange(complete_bit, std::memory_order_acq_rel);
  }
  if ((before & sleeper_bit) != 0) {
    detail::futex_wake_all(&state_);
  }
  run_callbacks();
  return true;
}

inline void fence::run_callbacks() noexcept {
  trampoline*& current = this_threads_trampoline();
  if (current != nullptr) {
    *current->last = this;
    current->last = &next_completed_;
    return;
  }
  trampoline run;
  current = &run;
  run.first = this;
  run.last = &next_completed_;
  while (run.first != nullptr) {
    fence* completed = run.first;
    std::unique_lock guard(completed->mutex_);
    while (!completed->callbacks_.empty()) {
      fence_callback& node = completed->callbacks_.front();
      bool left = false;
      node.left_ = &left;
      node.runner_.store(::pthread_self());
      std::uint32_t expected = fence_callback::queued;
      if (!node.state_.compare_exchange_strong(expected, fence_callback::running)) {
        // Another thread is about to take this node out, and needs the mutex for it.
        guard.unlock();
        detail::spin_pause();
        guard.lock();
        continue;
      }
      completed->callbacks_.pop_front();
      guard.unlock();
      run_one(node, {completed->sys_errno_, completed->timestamp_}, left);
      guard.lock();
    }
    guard.unlock();
    run.first = completed->next_completed_;
    if (run.first == nullptr) {
      run.last = &run.first;
    }
    completed->put();
  }
  current = nullptr;
}

inline void fence::run_one(fence_callback& node, const fence_outcome& outcome, const bool& left) noexcept {
  node.run_(node, outcome);
  if (left) {
    return;
  }
  // A thread that waits for the end of the callback may free the node right after the store.
  const std::atomic<std::uint32_t>* word = &node.state_;
  node.state_.store(fence_callback::idle);
  detail::futex_wake_all(word);
}

inline void fence::put() noexcept {
  // order: release puts this thread's use before the end; acquire lets the last one see the use of all others.
  if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) {
    return;
  }
  if (!is_signaled()) {
    // The completion takes a reference of its own and comes back here when its callbacks have run.
    complete(EDEADLK);
    return;
  }
  if (release_ != nullptr) {
    release_(*this);
  }
}

inline bool fence::sleep_until(deadline until) noexcept {
  enable_signaling();
  for (;;) {
    // order: acquire as in is_signaled(); the bit is set before the sleep, and the signaler's exchange sees it.
    std::uint32_t seen = state_.fetch_or(sleeper_bit, std::memory_order_acq_rel) | sleeper_bit;
    if ((seen & complete_bit) != 0) {
      return true;
    }
    if (!detail::futex_sleep(state_, seen, until) && !is_signaled()) {
      return false;
    }
  }
}

inline void fence_callback::retire() noexcept {
  if (runs_here()) {
    *left_ = true;
    runner_.store({});  // A second call finds nothing that runs here.
    state_.store(idle);
    return;
  }
  // Again and again: a callback that runs elsewhere may queue the node on another fence before it returns.
  while (state_.load() != idle) {
    fence_.load()->remove_callback(*this);
  }
}

}  // namespace paddock
