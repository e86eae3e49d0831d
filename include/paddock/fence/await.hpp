// SPDX-License-Identifier: BSL-1.0
/// \file
/// `co_await` on fences, and `then`. A coroutine goes on in the signaling thread, or where a function of the caller's
/// puts it.
///
/// Every awaiter has a constructor that its author wrote: g++ 12 destroys aggregates in a co_await expression twice,
/// and closures too: give a lambda that owns something a name before the expression.
#pragma once

#include <atomic>
#include <concepts>
#include <coroutine>
#include <cstdint>
#include <new>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/result.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/fence/user_fence.hpp>

namespace PADDOCK_NAMESPACE {

namespace detail {

/// Resumes in the thread that it is called in.
struct resume_inline {
  void operator()(std::coroutine_handle<> waiting) const noexcept { waiting.resume(); }
};

template <class Post>
class fence_awaiter : private fence_callback {
 public:
  fence_awaiter(fence& on, fence_ptr held, Post post) noexcept
      : fence_callback(&run), on_(on), held_(std::move(held)), post_(std::move(post)) {}
  fence_awaiter(const fence_awaiter&) = delete;
  fence_awaiter& operator=(const fence_awaiter&) = delete;
  ~fence_awaiter() { retire(); }

  [[nodiscard]] bool await_ready() const noexcept { return on_.is_signaled(); }
  // Not inlined: compilers have kept variables of an inlined await_suspend in the frame, which may be gone.
  [[nodiscard, gnu::noinline]] bool await_suspend(std::coroutine_handle<> waiting) noexcept {
    waiting_ = waiting;
    outcome_.reset();
    // Once it is added the coroutine may go on elsewhere, and this be gone.
    return on_.add_callback(*this) == add_outcome::added;
  }
  // Not nodiscard: clang 14 takes a bare `co_await f;` for a discarded value.
  fence_outcome await_resume() const noexcept { return outcome_ ? *outcome_ : on_.outcome(); }

 private:
  static void run(fence_callback& node, const fence_outcome& outcome) noexcept {
    auto& self = static_cast<fence_awaiter&>(node);
    self.outcome_ = outcome;
    // Both leave the awaiter first: the coroutine that goes on destroys it.
    const std::coroutine_handle<> waiting = self.waiting_;
    Post post = std::move(self.post_);
    post(waiting);
  }

  fence& on_;
  fence_ptr held_;
  Post post_;
  std::coroutine_handle<> waiting_;
  std::optional<fence_outcome> outcome_;
};

/// The same with a way out: whoever comes first, fence or stop request, resumes.
template <class Post>
class stoppable_awaiter : private fence_callback {
 public:
  stoppable_awaiter(fence_ptr on, std::stop_token stop, Post post) noexcept
      : fence_callback(&run), on_(std::move(on)), stop_(std::move(stop)), post_(std::move(post)) {}
  stoppable_awaiter(const stoppable_awaiter&) = delete;
  stoppable_awaiter& operator=(const stoppable_awaiter&) = delete;
  ~stoppable_awaiter() {
    on_stop_.reset();
    retire();
  }

  [[nodiscard]] bool await_ready() const noexcept { return on_->is_signaled(); }
  // Not inlined: compilers have kept variables of an inlined await_suspend in the frame, which may be gone.
  [[nodiscard, gnu::noinline]] bool await_suspend(std::coroutine_handle<> waiting) noexcept {
    waiting_ = waiting;
    on_stop_.emplace(stop_, stopper(*this));
    if (on_->add_callback(*this) == add_outcome::already_signaled) {
      return false;
    }
    // Nobody resumes, and nobody else removes the callback, before the turn is `suspended`; after it, this may be gone.
    turn seen = suspending;
    if (turn_.compare_exchange_strong(seen, suspended)) {
      return true;
    }
    if (seen == stopping && on_->try_remove_callback(*this)) {
      canceled_ = true;
      return false;
    }
    return turn_.exchange(suspended) != ended;
  }
  [[nodiscard]] result<fence_outcome> await_resume() const noexcept {
    if (canceled_) {
      return fail(errc::canceled, "co_await");
    }
    return on_->outcome();
  }

 private:
  enum turn : std::uint8_t { suspending, stopping, suspended, ended };

  class stopper {
   public:
    explicit stopper(stoppable_awaiter& of) noexcept : awaiter_(of) {}
    void operator()() const noexcept { awaiter_.stop(); }

   private:
    stoppable_awaiter& awaiter_;
  };

  void stop() noexcept {
    // Until the callback is added, only await_suspend() may remove it, which finds `stopping`.
    turn seen = suspending;
    if (!turn_.compare_exchange_strong(seen, stopping) && seen == suspended && on_->try_remove_callback(*this)) {
      canceled_ = true;
      go_on();
    }
  }
  static void run(fence_callback& node, const fence_outcome&) noexcept {
    auto& self = static_cast<stoppable_awaiter&>(node);
    if (self.turn_.exchange(ended) == suspended) {
      self.go_on();
    }  // Else await_suspend() has not returned yet, and will say that there is nothing to wait for.
  }

  void go_on() noexcept {
    const std::coroutine_handle<> waiting = waiting_;
    Post post = std::move(post_);
    post(waiting);
  }

  fence_ptr on_;
  std::stop_token stop_;
  Post post_;
  std::coroutine_handle<> waiting_;
  std::optional<std::stop_callback<stopper>> on_stop_;
  std::atomic<turn> turn_{suspending};
  bool canceled_{false};
};

}  // namespace detail

/// A function that takes a suspended coroutine to where it shall go on: an executor's post, say. Called in the
/// signaling thread, so it must not block.
template <class Post>
concept resume_function =
    std::is_nothrow_move_constructible_v<Post> && std::is_nothrow_invocable_v<Post&, std::coroutine_handle<>>;

/// `fence_outcome done = co_await *job;` waits for a fence that somebody else holds, and goes on in the signaling
/// thread, inside its callbacks: what comes next must not block. When its last reference goes, the outcome is EDEADLK.
[[nodiscard]] inline detail::fence_awaiter<detail::resume_inline> operator co_await(fence& f) noexcept {
  return {f, {}, {}};
}
/// The same with a reference, which keeps the fence alive meanwhile. Requires: not empty.
[[nodiscard]] inline detail::fence_awaiter<detail::resume_inline> operator co_await(fence_ptr f) noexcept {
  fence& on = *f;
  return {on, std::move(f), {}};
}

/// A user_fence may be awaited as well; nobody has promised that it ever ends. Requires: not empty.
[[nodiscard]] inline detail::fence_awaiter<detail::resume_inline> operator co_await(const user_fence& f) noexcept {
  return operator co_await(detail::user_fence_access::inner(f));
}

/// `co_await resume_on(f, post)` goes on where `post` takes the coroutine. Requires: `f` is not empty.
template <resume_function Post>
[[nodiscard]] detail::fence_awaiter<Post> resume_on(fence_ptr f, Post post) noexcept {
  fence& on = *f;
  return {on, std::move(f), std::move(post)};
}

/// `result<fence_outcome> done = co_await stoppable(f, token);` gives up when a stop is requested: errc::canceled. The
/// coroutine goes on in the thread that requests the stop, or where `post` takes it. Requires: `f` is not empty.
template <resume_function Post = detail::resume_inline>
[[nodiscard]] detail::stoppable_awaiter<Post> stoppable(fence_ptr f, std::stop_token stop, Post post = {}) noexcept {
  return {std::move(f), std::move(stop), std::move(post)};
}

namespace detail {

template <class Function>
class continuation final : public bare_fence, private fence_callback {
 public:
  explicit continuation(Function body) noexcept
      : bare_fence("then", &heap_ops), fence_callback(&run), body_(std::move(body)) {}
  continuation(const continuation&) = delete;
  continuation& operator=(const continuation&) = delete;
  ~continuation() override { retire(); }

  void start(fence& after) noexcept {
    get();  // The callback's.
    if (after.add_callback(*this) == add_outcome::already_signaled) {
      finish(after.outcome());
    }
  }

 private:
  static void run(fence_callback& node, const fence_outcome& outcome) noexcept {
    static_cast<continuation&>(node).finish(outcome);
  }
  void finish(const fence_outcome& outcome) noexcept {
    if constexpr (std::is_void_v<std::invoke_result_t<Function&, const fence_outcome&>>) {
      body_(outcome);
      complete(outcome.sys_errno);
    } else {
      const result<void> ended = body_(outcome);
      complete(ended                          ? 0
               : ended.error().sys_errno != 0 ? ended.error().sys_errno
                                              : errno_from_errc(ended.error().code));
    }
    put();
  }
  void complete(int sys_errno) noexcept {
    if (sys_errno == 0) {
      signal();
    } else {
      fail(sys_errno);
    }
  }

  Function body_;
};

}  // namespace detail

/// What then() takes: a function of the outcome that returns nothing, or result<void>.
template <class Function>
concept continuation_function = std::is_nothrow_move_constructible_v<Function> &&
    std::is_nothrow_invocable_v<Function&, const fence_outcome&> &&
    (std::is_void_v<std::invoke_result_t<Function&, const fence_outcome&>> ||
     std::same_as<std::invoke_result_t<Function&, const fence_outcome&>, result<void>>);

/// Calls `function(const fence_outcome&)` when the fence completes, in the signaling thread, or at once when it is
/// complete; it must not block. The fence that is returned completes after that: with the error of `f` when the
/// function returns nothing, else with what it returns as result<void>. It may be dropped. Errors: out_of_memory; the
/// function is not called then.
template <continuation_function Function>
[[nodiscard]] result<fence_ptr> then(fence& f, Function function, place at = place::here()) noexcept {
  might_alloc(at);
  auto* const made = new (std::nothrow) detail::continuation<Function>(std::move(function));
  if (made == nullptr) {
    return fail(errc::out_of_memory, "then");
  }
  fence_ptr owned = fence_ptr::adopt(made);
  made->start(f);
  return owned;
}

}  // namespace PADDOCK_NAMESPACE
