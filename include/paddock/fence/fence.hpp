// SPDX-License-Identifier: BSL-1.0
/// \file
/// `fence`: a one-shot promise of completion, with an error, a timestamp and callbacks; `fence_ptr` counts references.
/// The contract is the kernel's dma_fence (drivers/dma-buf/dma-fence.c), with the races of its users closed.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/fence/callback.hpp>
#include <paddock/fence/core.hpp>
#include <paddock/fence/timestamp.hpp>
#include <paddock/fence/traits.hpp>

namespace PADDOCK_NAMESPACE {

class fence;
class fence_context;

/// The place of a fence in its context.
using fence_seqno = strong_id<struct fence_seqno_tag, std::uint64_t>;

/// What a source of fences may add. Every entry may be null.
struct fence_ops {
  /// Called once, by the first who is interested (a wait or a callback), before that interest is recorded; others may
  /// record theirs meanwhile. Returns false when the work is already done: the fence is then signaled at once.
  bool (*enable_signaling)(fence&) noexcept = nullptr;
  /// Asks the source. Returns true when the work is done; may also signal the fence itself.
  bool (*poll)(fence&) noexcept = nullptr;
  /// Sleeps where the work is done, until it is or the deadline passes, and then completes the fence: for a source that
  /// each waiter can sleep at by himself, so that nobody has to be there to signal. A fence that has it is completed by
  /// its source alone. May be called by several threads at once.
  void (*wait)(fence&, deadline) noexcept = nullptr;
  /// A waiter would like completion by then. A hint; calls may overlap, and the earliest is the one to keep.
  void (*set_deadline)(fence&, deadline) noexcept = nullptr;
  /// The last reference is gone: frees whatever the fence is a part of. One that fence_context::create() made is
  /// deleted after that, or without it.
  void (*release)(fence&) noexcept = nullptr;
};

namespace detail {

/// What a fence is, in the tag of its core: containers are told by it, not by the address of their operations, which
/// each shared object has its own of.
struct fence_tag {
  static constexpr std::uint32_t on_heap = 1;   ///< Deleted with its last reference.
  static constexpr std::uint32_t wrapping = 2;  ///< seqno compares in 32 bits, around the wrap.
  static constexpr std::uint32_t array = 4;
  static constexpr std::uint32_t chain = 8;
  static constexpr std::uint32_t any = 16;     ///< An array that the first member completes.
  static constexpr std::uint32_t kernel = 32;  ///< A fence of the kernel's, see kernel/sync_file_fence.hpp.
};

}  // namespace detail

/// Pending, then signaled or failed, once and for all. 64 bytes; nothing here allocates or locks.
/// Thread-safety: everything from any thread, and from inside callbacks. Not async-signal-safe.
class fence {
 public:
  /// The next fence of a context, as a base of the driver's own job structure; on the heap alone it is made
  /// by fence_context::create(). It has one reference, which is the caller's. Requires: `ops` outlives the fence.
  /// `source` is the driver's, given back by source().
  explicit fence(fence_context& context, const fence_ops* ops = nullptr, void* source = nullptr,
                 place made = place::here()) noexcept;
  /// The same with a sequence number that the driver counts itself: where its ring has one, this saves the context's.
  fence(const fence_context& context, fence_seqno seqno, const fence_ops* ops = nullptr, void* source = nullptr,
        place made = place::here()) noexcept;
  fence(const fence&) = delete;
  fence& operator=(const fence&) = delete;
  fence(fence&&) = delete;
  fence& operator=(fence&&) = delete;

  /// True once complete, with or without error. A pure load: it never asks the source.
  [[nodiscard]] bool is_signaled() const noexcept { return core_.is_signaled(); }

  /// Asks the source whether it is done, and completes the fence when it is. Returns is_signaled() after that.
  /// Kernel: dma_fence_is_signaled with ops->signaled.
  bool poll() noexcept {
    if (!is_signaled() && ops_->poll != nullptr && ops_->poll(*this)) {
      signal();
    }
    return is_signaled();
  }

  /// Completes without error. Returns whether this call was the one; false: it was complete already, and stays as it
  /// is. When it returns, or, inside a callback, when that has returned, the callbacks have run. The fence is not
  /// touched after it became complete: whoever waits for it may free it, even while its callbacks run.
  /// Kernel: dma_fence_signal, dma_fence_signal_timestamp.
  template <timestamp_policy Timestamp = clock_timestamp>
  bool signal(Timestamp timestamp = {}, place at = place::here()) noexcept {
    const signaling_section signaling(at);
    return core_.complete(timestamp.success_word());
  }
  bool signal(monotonic_clock::time_point when, place at = place::here()) noexcept {
    return signal(given_timestamp(when), at);
  }
  /// Completes with an error: the errno whose general meaning the code is. Returns as signal().
  template <timestamp_policy Timestamp = clock_timestamp>
  bool fail(errc why, Timestamp timestamp = {}, place at = place::here()) noexcept {
    return fail(detail::errno_from_errc(why), timestamp, at);
  }
  /// Completes with the errno that a kernel interface gave; one outside [1, 4095] becomes EIO. Returns as signal().
  template <timestamp_policy Timestamp = clock_timestamp>
  bool fail(int sys_errno, Timestamp timestamp = {}, place at = place::here()) noexcept {
    const signaling_section signaling(at);
    return core_.complete(detail::signaled_word::failure(valid_errno(sys_errno), timestamp.time()));
  }

  /// 0 while pending and after success, else the errno given to fail(); EDEADLK when the fence was abandoned.
  [[nodiscard]] int sys_errno() const noexcept {
    const std::uint64_t word = core_.word();
    return core_.is_signaled(word) ? detail::signaled_word::sys_errno(word) : 0;
  }
  /// The error of a failed fence. Requires: sys_errno() != 0.
  [[nodiscard]] struct error error() const noexcept { return error_from_errno(sys_errno(), name_); }
  /// Pending fences give timed_out: nothing is known of them yet.
  [[nodiscard]] wait_status status() const noexcept {
    const std::uint64_t word = core_.word();
    if (!core_.is_signaled(word)) {
      return wait_status::timed_out;
    }
    return (word & detail::signaled_word::failed) == 0 ? wait_status::signaled : wait_status::failed;
  }
  /// When it completed, as far as a timestamp was taken; failures in steps of 256 ns. Requires: is_signaled().
  [[nodiscard]] monotonic_clock::time_point timestamp() const noexcept {
    return detail::signaled_word::timestamp(core_.word());
  }
  /// Error and timestamp, from one look. Requires: is_signaled().
  [[nodiscard]] fence_outcome outcome() const noexcept { return detail::signaled_word::outcome(core_.word()); }

  /// Queues a callback, or says that the fence is complete and the callback will never run. Never both, never neither.
  /// Callbacks run in the order in which they were added. Requires: the node is not queued, and no
  /// removal of it is under way in another thread.
  /// Kernel: dma_fence_add_callback.
  add_outcome add_callback(fence_callback& node) noexcept {
    return core_.add(node, [this]() noexcept { return enable_word(); });
  }
  /// Takes a callback back, see remove_outcome. On a complete fence it waits until that node, and those before it, have
  /// run; inside a callback of the same run, where that would never end, it takes the node out. Two callbacks in two
  /// threads that each remove what the other thread still has to run wait for each other. Kernel:
  /// dma_fence_remove_callback.
  remove_outcome remove_callback(fence_callback& node) noexcept { return core_.remove(node); }
  /// Takes a callback back if the fence is pending and has it; else says false at once, and the callback runs, runs
  /// now, or has run.
  bool try_remove_callback(fence_callback& node) noexcept { return core_.try_remove(node); }

  /// Makes sure that the source will signal by itself. Kernel: dma_fence_enable_sw_signaling.
  void enable_signaling() noexcept {
    core_.arm([this]() noexcept { return enable_word(); });
  }
  /// Passes on a wish; the earliest is kept. Kernel: dma_fence_set_deadline.
  void set_deadline(deadline wish) noexcept {
    if (is_signaled()) {
      return;
    }
    // order: relaxed, both: a hint, which publishes nothing.
    std::int64_t kept = deadline_.load(std::memory_order_relaxed);
    do {
      if (wish.nanoseconds() >= kept) {
        return;
      }
      // order: relaxed, as above.
    } while (!deadline_.compare_exchange_weak(kept, wish.nanoseconds(), std::memory_order_relaxed));
    if (ops_->set_deadline != nullptr) {
      ops_->set_deadline(*this, wish);
    }
  }

  [[nodiscard]] std::uint64_t context() const noexcept { return context_; }
  [[nodiscard]] std::uint64_t seqno() const noexcept { return seqno_; }
  [[nodiscard]] const char* name() const noexcept { return name_; }
  [[nodiscard]] void* source() const noexcept { return source_; }

  /// Whether this one comes after the other in their context; 32-bit sequence numbers compare around their wrap, where
  /// a distance of 2^31 is undecided and counts as "not later". Requires: both are of one context.
  /// Kernel: dma_fence_is_later.
  [[nodiscard]] bool is_later_than(const fence& other) const noexcept {
    if ((core_.tag() & detail::fence_tag::wrapping) != 0) {
      return static_cast<std::int32_t>(static_cast<std::uint32_t>(seqno_) - static_cast<std::uint32_t>(other.seqno_)) >
             0;
    }
    return seqno_ > other.seqno_;
  }
  [[nodiscard]] bool is_array() const noexcept { return (core_.tag() & detail::fence_tag::array) != 0; }
  [[nodiscard]] bool is_chain() const noexcept { return (core_.tag() & detail::fence_tag::chain) != 0; }
  /// Whether it is one of the kernel's, in a sync_file, which the kernel can be given back.
  [[nodiscard]] bool is_kernel_backed() const noexcept { return (core_.tag() & detail::fence_tag::kernel) != 0; }
  /// Whether it stands for other fences, all of which for_each_leaf() visits: a chain, or an array that is not of
  /// `any`.
  [[nodiscard]] bool is_container() const noexcept {
    return is_chain() || (is_array() && (core_.tag() & detail::fence_tag::any) == 0);
  }

  /// One more reference. Requires: the caller holds one, or knows that somebody does.
  void get() noexcept { core_.get(); }
  /// One less. The last one of a pending fence fails it with EDEADLK, then releases it.
  void put() noexcept {
    if (!core_.put_is_last()) {
      return;
    }
    const bool on_heap = (core_.tag() & detail::fence_tag::on_heap) != 0;
    // Where nobody can see the end of it, nobody has to be told.
    if (!is_signaled() && !(on_heap && ops_->release == nullptr && core_.is_unobserved())) {
      if (!core_.is_unobserved()) {
        detail::note_fence_abandoned(this, name_, context_, seqno_, __builtin_return_address(0));
      }
      fail(EDEADLK);
    }
    detail::note_fence_gone(this);
    if (ops_->release != nullptr) {
      ops_->release(*this);
    }
    if (on_heap) {
      delete_from_heap(this);
    }
  }

  /// Whether a waiter sleeps where the work is done, and needs nobody who signals.
  [[nodiscard]] bool sleeps_at_source() const noexcept { return ops_->wait != nullptr; }
  /// Sleeps until completion or the deadline, without spinning. fence/wait.hpp has the policies.
  [[nodiscard]] bool sleep_until(deadline until) noexcept {
    if (ops_->wait != nullptr) {
      ops_->wait(*this, until);
      return is_signaled();
    }
    enable_signaling();
    return core_.sleep_until(until);
  }

 protected:
  /// What containers and complete fences are made of.
  struct parts {
    std::uint64_t context{0};
    std::uint64_t seqno{0};
    const char* name{""};
    const fence_ops* ops{nullptr};
    void* source{nullptr};
    std::uint32_t tag{0};
  };
  explicit fence(const parts& p) noexcept : fence(p, p.ops == nullptr || p.ops->enable_signaling == nullptr) {}
  /// Complete from the start.
  fence(const parts& p, fence_outcome outcome) noexcept
      : fence(p, outcome.sys_errno == 0
                     ? detail::signaled_word::success(outcome.timestamp)
                     : detail::signaled_word::failure(valid_errno(outcome.sys_errno), outcome.timestamp)) {}
  ~fence() = default;

  /// Whether the caller's reference is the only one.
  [[nodiscard]] bool is_only_reference() const noexcept { return core_.is_only_reference(); }

 private:
  friend class fence_context;

  static constexpr fence_ops no_ops{};

  // malloc, since operator new and its nothrow form cost a third more. Not inlined: g++ 12 would warn of a free of
  // fences that it sees on the stack, where the tag is never on_heap.
  [[gnu::noinline]] static void delete_from_heap(fence* made) noexcept {
    made->~fence();
#ifndef __clang_analyzer__  // It does not follow the tag, and takes every fence for one on the heap.
    std::free(made);        // NOLINT(cppcoreguidelines-no-malloc): as said above.
#endif
  }

  /// `first`: whether there is nothing to enable, or the state word of a complete fence.
  template <class First>
  fence(const parts& p, First first) noexcept
      : core_(first, p.tag),
        deadline_(deadline::never().nanoseconds()),
        ops_(p.ops != nullptr ? p.ops : &no_ops),
        source_(p.source),
        name_(p.name),
        context_(p.context),
        seqno_(p.seqno) {}

  [[nodiscard]] static constexpr int valid_errno(int sys_errno) noexcept {
    return sys_errno >= 1 && sys_errno <= static_cast<int>(detail::signaled_word::errno_mask) ? sys_errno : EIO;
  }
  /// Asks the source to signal. Returns the word to complete with when the work is done already, else 0.
  [[nodiscard]] std::uint64_t enable_word() noexcept {
    if (ops_->enable_signaling != nullptr && !ops_->enable_signaling(*this)) {
      return clock_timestamp::success_word();
    }
    return 0;
  }

  detail::fence_core<detail::std_traits> core_;
  std::atomic<std::int64_t> deadline_;
  const fence_ops* ops_;
  void* source_;
  const char* name_;
  std::uint64_t context_;
  std::uint64_t seqno_;
};

static_assert(sizeof(fence) == 64);

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
  /// Gives the reference away, to somebody who will put() it.
  [[nodiscard]] fence* release() noexcept { return std::exchange(fence_, nullptr); }
  [[nodiscard]] fence* get() const noexcept { return fence_; }
  [[nodiscard]] fence& operator*() const noexcept { return *fence_; }
  [[nodiscard]] fence* operator->() const noexcept { return fence_; }
  explicit operator bool() const noexcept { return fence_ != nullptr; }
  friend bool operator==(const fence_ptr&, const fence_ptr&) noexcept = default;

 private:
  fence* fence_{nullptr};
};

}  // namespace PADDOCK_NAMESPACE
