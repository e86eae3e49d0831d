// SPDX-License-Identifier: BSL-1.0
/// \file
/// `user_fence`: a completion that nobody has promised, and `bounded`, which makes a promise of it.
#pragma once

#include <cstdint>
#include <new>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/detail/expiry.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/fence/wait.hpp>

namespace PADDOCK_NAMESPACE {

namespace detail {

/// A fence outside any fence_context.
class bare_fence : public fence {
 public:
  explicit bare_fence(const char* name, const fence_ops* ops = nullptr) noexcept
      : fence(parts{allocate_context_ids(1), 1, name, ops, nullptr, 0}) {}
  bare_fence(const bare_fence&) = delete;
  bare_fence& operator=(const bare_fence&) = delete;
  virtual ~bare_fence() = default;

  static const fence_ops heap_ops;
};

struct user_fence_access;

inline constexpr fence_ops bare_fence::heap_ops{
    .release = [](fence& f) noexcept { delete static_cast<bare_fence*>(&f); }};

}  // namespace detail

/// A fence without the promise: an unsubmitted point, a value in shared memory, an eventfd. It can be waited for, with
/// a deadline, but it is no `fence` and does not become one, so that no reservation and no merge accepts it: memory
/// management that waited for it could wait for ever. bounded() makes a fence of it.
/// A counted reference, as fence_ptr. Thread-safety: as fence.
class user_fence {
 public:
  constexpr user_fence() noexcept = default;

  /// A pending one, which its owner signals or fails. Requires: `name` is a string literal, or outlives it.
  /// Errors: out_of_memory.
  [[nodiscard]] static result<user_fence> create(const char* name, place at = place::here()) noexcept {
    might_alloc(at);
    auto* const made = new (std::nothrow) detail::bare_fence(name, &detail::bare_fence::heap_ops);
    if (made == nullptr) {
      return paddock::fail(errc::out_of_memory, "user_fence::create");
    }
    return user_fence(fence_ptr::adopt(made));
  }

  explicit operator bool() const noexcept { return static_cast<bool>(inner_); }

  // The rest as in fence. Requires: not empty.
  [[nodiscard]] bool is_signaled() const noexcept { return inner_->is_signaled(); }
  template <timestamp_policy Timestamp = clock_timestamp>
  bool signal(Timestamp timestamp = {}) const noexcept {
    return inner_->signal(timestamp);
  }
  bool fail(errc why) const noexcept { return inner_->fail(why); }
  bool fail(int sys_errno) const noexcept { return inner_->fail(sys_errno); }
  [[nodiscard]] wait_status status() const noexcept { return inner_->status(); }
  [[nodiscard]] int sys_errno() const noexcept { return inner_->sys_errno(); }
  [[nodiscard]] struct error error() const noexcept { return inner_->error(); }
  [[nodiscard]] fence_outcome outcome() const noexcept { return inner_->outcome(); }
  add_outcome add_callback(fence_callback& node) const noexcept { return inner_->add_callback(node); }
  remove_outcome remove_callback(fence_callback& node) const noexcept { return inner_->remove_callback(node); }

 private:
  friend class timeline;
  friend struct detail::user_fence_access;

  explicit user_fence(fence_ptr inner) noexcept : inner_(std::move(inner)) {}

  fence_ptr inner_;
};

namespace detail {

/// The fence inside, for the functions of this room.
struct user_fence_access {
  [[nodiscard]] static const fence_ptr& inner(const user_fence& f) noexcept { return f.inner_; }
};

/// Completes with the inner fence, or with ETIME.
class bounded_fence final : public bare_fence, private expiry {
 public:
  explicit bounded_fence(fence_ptr inner) noexcept
      : bare_fence("bounded", &heap_ops), node_(*this), inner_(std::move(inner)) {}

  /// Errors: those of starting the thread that watches the clock.
  [[nodiscard]] result<void> start(deadline at_the_latest) noexcept {
    get();  // The callback's.
    if (inner_->add_callback(node_) == add_outcome::already_signaled) {
      finish(inner_->outcome());
      put();
      return {};
    }
    if (at_the_latest.is_never()) {
      return {};
    }
    get();  // The clock's.
    if (auto watched = expiry_watch::instance().add(*this, at_the_latest); !watched) {
      put();
      if (inner_->remove_callback(node_) == remove_outcome::removed) {
        put();
      }
      return watched;
    }
    // The callback may have run before there was something to call off.
    if (is_signaled()) {
      call_off();
    }
    return {};
  }

 private:
  struct callback final : fence_callback {
    explicit callback(bounded_fence& of) noexcept : fence_callback(&run), owner(of) {}
    callback(const callback&) = delete;
    callback& operator=(const callback&) = delete;
    ~callback() { retire(); }
    static void run(fence_callback& node, const fence_outcome& outcome) noexcept {
      bounded_fence& owner = static_cast<callback&>(node).owner;
      owner.finish(outcome);
      owner.call_off();
      owner.put();
    }
    bounded_fence& owner;
  };

  void finish(const fence_outcome& outcome) noexcept {
    if (outcome.sys_errno == 0) {
      signal(outcome.timestamp);
    } else {
      fail(outcome.sys_errno, given_timestamp(outcome.timestamp));
    }
  }
  void call_off() noexcept {
    if (expiry_watch::instance().remove(*this)) {
      put();
    }
  }
  void expired() noexcept override {
    fail(ETIME);
    // What it waited for may never end: the callback would keep this object as long.
    if (inner_->try_remove_callback(node_)) {
      put();
    }
    put();
  }

  callback node_;
  fence_ptr inner_;
};

}  // namespace detail

/// A fence that ends as `f` does, or with ETIME at the deadline. That makes it a promise, which may be waited for by
/// anybody. Errors: out_of_memory, limit_reached (no thread can be started), invalid_argument for deadline::never() and
/// an empty user_fence.
[[nodiscard]] inline result<fence_ptr> bounded(const user_fence& f, deadline at_the_latest,
                                               place at = place::here()) noexcept {
  might_alloc(at);
  if (!f || at_the_latest.is_never()) {
    return fail(errc::invalid_argument, "bounded: an empty user_fence, or no bound");
  }
  auto* const made = new (std::nothrow) detail::bounded_fence(detail::user_fence_access::inner(f));
  if (made == nullptr) {
    return fail(errc::out_of_memory, "bounded");
  }
  fence_ptr owned = fence_ptr::adopt(made);
  PADDOCK_TRY_VOID(made->start(at_the_latest));
  return owned;
}

/// Waits as for a fence. Requires: not empty.
template <wait_policy Policy = hybrid_wait>
[[nodiscard]] result<wait_status> wait(const user_fence& f, deadline until, Policy policy = {},
                                       place at = place::here()) noexcept {
  return wait(*detail::user_fence_access::inner(f), until, policy, at);
}

}  // namespace PADDOCK_NAMESPACE
