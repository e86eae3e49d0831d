// SPDX-License-Identifier: BSL-1.0
/// \file
/// `tracked_context`: a fence_context that knows its pending fences, for drivers whose ring does not.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>

#include <boost/intrusive/list.hpp>

#include <paddock/base/checking.hpp>
#include <paddock/base/result.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/fence.hpp>

namespace PADDOCK_NAMESPACE {

/// Its fences cost an entry in a list more, and creation a lock; signal, wait and callbacks are those of every fence.
/// The context holds a reference to each fence until it is found complete: creation looks at the oldest two, so that a
/// context that completes in order keeps a few, and one with a fence that hangs keeps what came after it until
/// recovery. So no fence of it is ever abandoned: one that the driver loses is found by timeout() and fail_all().
/// Thread-safety: any thread. The destructor fails what is pending with ECANCELED.
class tracked_context {
 public:
  /// As fence_context.
  tracked_context(const char* name, std::chrono::nanoseconds timeout,
                  fence_context::seqno_order order = fence_context::seqno_order::never_wraps) noexcept
      : context_(name, timeout, order) {}
  tracked_context(const tracked_context&) = delete;
  tracked_context& operator=(const tracked_context&) = delete;
  ~tracked_context() {
    // Again: a callback may have created another.
    while (!pending_.empty()) {
      fail_all(errc::canceled);
    }
  }

  [[nodiscard]] const fence_context& context() const noexcept { return context_; }

  /// A pending fence with the next sequence number, as fence_context::create(). Errors: out_of_memory.
  [[nodiscard]] result<fence_ptr> create(const fence_ops* ops = nullptr, void* source = nullptr,
                                         place made_at = place::here()) noexcept {
    might_alloc(made_at);
    std::unique_ptr<entry> made(new (std::nothrow) entry);
    if (made == nullptr) {
      return fail(errc::out_of_memory, "tracked_context::create");
    }
    PADDOCK_TRY(made->tracked, context_.create(ops, source, made_at));
    fence_ptr created = made->tracked;
    // Freed after the lock: a release operation may come back here.
    const std::unique_ptr<entry> oldest = take_complete();
    const std::unique_ptr<entry> next_oldest = take_complete();
    const std::lock_guard guard(mutex_);
    pending_.push_back(*made.release());
    return created;
  }

  /// Recovery: fails all that is pending, oldest first. Returns how many that were. Fences that are created meanwhile,
  /// by callbacks for instance, stay as they are.
  std::size_t fail_all(errc why) noexcept {
    list all;
    {
      const std::lock_guard guard(mutex_);
      all.swap(pending_);
    }
    std::size_t failed = 0;
    while (!all.empty()) {
      const std::unique_ptr<entry> oldest(&all.front());
      all.pop_front();
      failed += oldest->tracked->fail(why) ? 1U : 0U;
    }
    return failed;
  }

 private:
  struct entry : boost::intrusive::list_base_hook<> {
    entry() noexcept = default;
    entry(const entry&) = delete;
    entry& operator=(const entry&) = delete;
    fence_ptr tracked;
  };
  using list = boost::intrusive::list<entry, boost::intrusive::constant_time_size<false>>;

  /// The oldest, out of the list, if it is complete.
  [[nodiscard]] std::unique_ptr<entry> take_complete() noexcept {
    const std::lock_guard guard(mutex_);
    if (pending_.empty() || !pending_.front().tracked->is_signaled()) {
      return nullptr;
    }
    std::unique_ptr<entry> taken(&pending_.front());
    pending_.pop_front();
    return taken;
  }

  fence_context context_;
  std::mutex mutex_;
  list pending_;
};

}  // namespace PADDOCK_NAMESPACE
