// SPDX-License-Identifier: BSL-1.0
/// \file
/// `timeline`: 64-bit points that are submitted, then signaled. Kernel: a timeline syncobj
/// (drivers/gpu/drm/drm_syncobj.c).
#pragma once

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <concepts>
#include <cstdint>
#include <new>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/fence/chain.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/fence/merge.hpp>
#include <paddock/fence/stub.hpp>
#include <paddock/fence/timeline_core.hpp>
#include <paddock/fence/user_fence.hpp>
#include <paddock/fence/wait.hpp>
#include <paddock/policy/wait.hpp>

namespace PADDOCK_NAMESPACE {

namespace detail {

/// Somebody who is told when a point is reached: a user_fence or an eventfd. On the heap; it owns itself.
class point_waiter {
 public:
  point_waiter(std::uint64_t point, point_stage stage) noexcept : point_(point), stage_(stage) {}
  point_waiter(const point_waiter&) = delete;
  point_waiter& operator=(const point_waiter&) = delete;

  [[nodiscard]] std::uint64_t point() const noexcept { return point_; }
  [[nodiscard]] point_stage stage() const noexcept { return stage_; }
  [[nodiscard]] point_waiter* next() const noexcept { return next_; }
  void set_next(point_waiter* next) noexcept { next_ = next; }

  virtual void reached() noexcept = 0;
  [[nodiscard]] virtual bool abandoned() const noexcept = 0;
  virtual void drop() noexcept = 0;

 protected:
  ~point_waiter() = default;

 private:
  std::uint64_t point_;
  point_stage stage_;
  point_waiter* next_{nullptr};
};

class point_fence final : public bare_fence, public point_waiter {
 public:
  point_fence(std::uint64_t point, point_stage stage) noexcept
      : bare_fence("timeline point", &heap_ops), point_waiter(point, stage) {}
  void reached() noexcept override {
    signal();
    put();
  }
  [[nodiscard]] bool abandoned() const noexcept override { return is_only_reference(); }
  void drop() noexcept override {
    fail(EDEADLK);
    put();
  }
};

class point_eventfd final : public point_waiter {
 public:
  point_eventfd(std::uint64_t point, point_stage stage, unique_fd event) noexcept
      : point_waiter(point, stage), event_(std::move(event)) {}
  void reached() noexcept override {
    const std::uint64_t one = 1;
    static_cast<void>(::write(event_.get(), &one, sizeof one));
    delete this;
  }
  [[nodiscard]] bool abandoned() const noexcept override { return false; }
  void drop() noexcept override { delete this; }

 private:
  unique_fd event_;
};

class timeline_link;

/// What the handles and the pending links of a timeline share.
class timeline_state final : public timeline_core<std_traits, point_waiter> {
 public:
  explicit timeline_state(std::uint64_t initial) noexcept : timeline_core(initial), tip_(nullptr) {}
  timeline_state(const timeline_state&) = delete;
  timeline_state& operator=(const timeline_state&) = delete;

  void get() noexcept {
    // order: relaxed: made from a reference that is held.
    references_.fetch_add(1, std::memory_order_relaxed);
  }
  void put() noexcept {
    // order: acquire and release: the last one sees what all others did.
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
#ifndef __clang_analyzer__  // It does not follow the count, and takes each put for the last.
      delete this;
#endif
    }
  }

  shared_slot<std_traits, fence>& tip() noexcept { return tip_; }
  std::atomic<std::uint64_t>& pending() noexcept { return pending_; }

 private:
  ~timeline_state() {
    static_cast<void>(fence_ptr::adopt(tip_.take()));
    // Nobody will reach these points any more.
    take_all([](point_waiter& waiter) noexcept { waiter.drop(); });
  }

  std::atomic<std::uint64_t> references_{1};
  std::atomic<std::uint64_t> pending_{0};  ///< Links that are submitted and not complete, or about to be.
  shared_slot<std_traits, fence> tip_;     ///< The newest link.
};

/// A submitted point: the link of a chain that raises the counter when it completes.
class timeline_link final : public fence_chain {
 public:
  [[nodiscard]] static timeline_link* create(timeline_state& state, fence_ptr previous, fence_ptr work,
                                             std::uint64_t point) noexcept {
    return new (std::nothrow) timeline_link(state, std::move(previous), std::move(work), point);
  }

  /// To be called once, when the link is the tip.
  void start() noexcept {
    get();  // The callback's, as is the one of the state: a link that is complete keeps no timeline.
    state_.get();
    if (add_callback(callback_) == add_outcome::already_signaled) {
      completed();
    }
  }

  /// Whether the point is reached when this link completes, if not before.
  [[nodiscard]] bool covers(std::uint64_t point) const noexcept {
    return seqno() >= point || stands_for_.load() >= point;
  }

  /// Lets the completion of this link stand for `point` too, which was signaled while this link was pending. False: the
  /// link is complete already.
  [[nodiscard]] bool raise(std::uint64_t point) noexcept {
    std::uint64_t seen = stands_for_.load();
    while (seen != 0) {
      if (seen >= point || stands_for_.compare_exchange_weak(seen, point)) {
        return true;
      }
    }
    return false;
  }

 private:
  struct callback final : fence_callback {
    explicit callback(timeline_link& of) noexcept : fence_callback(&run), link(of) {}
    callback(const callback&) = delete;
    callback& operator=(const callback&) = delete;
    ~callback() { retire(); }
    static void run(fence_callback& node, const fence_outcome&) noexcept {
      static_cast<callback&>(node).link.completed();
    }
    timeline_link& link;
  };

  timeline_link(timeline_state& state, fence_ptr previous, fence_ptr work, std::uint64_t point) noexcept
      : fence_chain(std::move(previous), std::move(work), point, &operations, &destroy),
        state_(state),
        callback_(*this),
        stands_for_(seqno()) {}

  static void destroy(fence_chain& link) noexcept { delete static_cast<timeline_link*>(&link); }

  void completed() noexcept {
    timeline_state& state = state_;
    state.advance(stands_for_.exchange(0), point_stage::signaled);
    state.pending().fetch_sub(1);
    put();
    state.put();
  }

  timeline_state& state_;
  callback callback_;
  std::atomic<std::uint64_t> stands_for_;  ///< The highest point that is reached with this link; 0 once it is.
};

}  // namespace detail

class release_point;

/// A timeline, shared by its handles, by the links that are pending on it, and by release_points.
///
/// A point is *submitted* when there is a fence for it (submit()), and *signaled* when that fence and those of all
/// points before it are complete, or when the host says so (signal()). Points may be left out: a gap is reached with
/// the point above it. A point at or below one that was submitted before comes too late to be waited for by itself: it
/// still holds back all that are submitted after it. The errors of fences do not pass into a timeline, as in the
/// kernel: who needs one holds the fence itself.
/// Thread-safety: everything from any thread, and from inside callbacks. query, signal and wait take no lock.
class timeline {
 public:
  /// All points up to `initial` are signaled. Errors: out_of_memory.
  [[nodiscard]] static result<timeline> create(timeline_point initial = timeline_point(0),
                                               place at = place::here()) noexcept {
    might_alloc(at);
    auto* const made = new (std::nothrow) detail::timeline_state(initial.value());
    if (made == nullptr) {
      return fail(errc::out_of_memory, "timeline::create");
    }
    return timeline(made);
  }
  timeline(const timeline& other) noexcept : state_(other.state_) { state_->get(); }
  timeline(timeline&& other) noexcept : state_(other.state_) { state_->get(); }
  timeline& operator=(timeline other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~timeline() { state_->put(); }

  /// The highest point signaled. A load. Kernel: DRM_IOCTL_SYNCOBJ_QUERY.
  [[nodiscard]] timeline_point signaled() const noexcept { return timeline_point(state_->signaled()); }
  /// The highest point submitted or signaled. Kernel: DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED.
  [[nodiscard]] timeline_point submitted() const noexcept { return timeline_point(state_->submitted()); }

  /// The point will be signaled by this fence. Errors: invalid_argument for point 0, an empty fence or a chain (flatten
  /// it with merge()); out_of_memory.
  [[nodiscard]] result<void> submit(timeline_point point, const fence_ptr& work,
                                    place at = place::here()) const noexcept {
    might_alloc(at);
    if (point.value() == 0 || !work || work->is_chain()) {
      return fail(errc::invalid_argument, "timeline::submit: point 0, or a fence that is empty or a chain");
    }
    state_->pending().fetch_add(1);
    for (;;) {
      fence_ptr tip = fence_ptr::adopt(state_->tip().acquire());
      fence* const expected = tip.get();
      auto* const link = detail::timeline_link::create(*state_, std::move(tip), work, point.value());
      if (link == nullptr) {
        state_->pending().fetch_sub(1);
        return fail(errc::out_of_memory, "timeline::submit");
      }
      const fence_ptr held = fence_ptr::adopt(link);
      link->get();  // The slot's.
      if (state_->tip().replace(expected, link)) {
        if (expected != nullptr) {
          expected->put();  // What the slot had.
        }
        state_->advance(link->seqno(), point_stage::submitted);
        link->start();
        return {};
      }
      link->put();
    }
  }

  /// The host signals the point: now, or, while links are pending, with the newest of them, also where the point is
  /// below it, as in the kernel: a point that comes late is not told apart. Neither allocates nor fails. Returns false
  /// when it had been signaled before. Kernel: DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL.
  bool signal(timeline_point point) const noexcept {
    if (state_->has_reached(point.value(), point_stage::signaled)) {
      return false;
    }
    if (state_->pending().load() != 0) {
      const fence_ptr tip = fence_ptr::adopt(state_->tip().acquire());
      if (tip && static_cast<detail::timeline_link&>(*tip).raise(point.value())) {
        state_->advance(point.value(), point_stage::submitted);
        return true;
      }
    }
    return state_->advance(point.value(), point_stage::signaled);
  }

  /// Waits for a point that is submitted. Returns signaled or timed_out.
  /// Errors: not_submitted; those of the policy. Kernel: DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT.
  template <wait_policy Policy = hybrid_wait>
  [[nodiscard]] result<wait_status> wait(timeline_point point, deadline until, Policy policy = {},
                                         place at = place::here()) const noexcept {
    detail::note_wait(until, at);
    if (state_->has_reached(point.value(), point_stage::signaled)) [[likely]] {
      return wait_status::signaled;
    }
    if (!state_->has_reached(point.value(), point_stage::submitted)) {
      return fail(errc::not_submitted, "timeline::wait");
    }
    return wait_stage(point, point_stage::signaled, until, policy);
  }
  /// Waits for a point, submitted or not yet. Kernel: DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT.
  template <wait_policy Policy = hybrid_wait>
  [[nodiscard]] result<wait_status> wait_for_submit(timeline_point point, deadline until, Policy policy = {},
                                                    place at = place::here()) const noexcept {
    detail::note_wait(until, at);
    return wait_stage(point, point_stage::signaled, until, policy);
  }
  /// Waits only until there is a fence for the point. Kernel: DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE.
  template <wait_policy Policy = hybrid_wait>
  [[nodiscard]] result<wait_status> wait_submitted(timeline_point point, deadline until, Policy policy = {},
                                                   place at = place::here()) const noexcept {
    detail::note_wait(until, at);
    return wait_stage(point, point_stage::submitted, until, policy);
  }

  /// The fence that completes when a submitted point is reached; a stub when it was.
  /// Linear in the links that are pending. Errors: not_submitted. Kernel: drm_syncobj_find_fence.
  [[nodiscard]] result<fence_ptr> fence_at(timeline_point point) const noexcept {
    if (state_->has_reached(point.value(), point_stage::signaled)) {
      return stub_fence();
    }
    if (!state_->has_reached(point.value(), point_stage::submitted)) {
      return fail(errc::not_submitted, "timeline::fence_at");
    }
    // The oldest link that covers it, be it only because the host signaled the point while that link was pending.
    fence_ptr covers = fence_ptr::adopt(state_->tip().acquire());
    while (covers) {
      fence_ptr older = static_cast<detail::timeline_link&>(*covers).walk();
      if (!older || !static_cast<detail::timeline_link&>(*older).covers(point.value())) {
        return covers;
      }
      covers = std::move(older);
    }
    return stub_fence();
  }
  /// A point as a completion that nobody has promised. When the last handle of the timeline goes before the point is
  /// reached, it fails with EDEADLK. Errors: out_of_memory.
  [[nodiscard]] result<user_fence> at(timeline_point point, point_stage stage = point_stage::signaled,
                                      place asked_at = place::here()) const noexcept {
    might_alloc(asked_at);
    auto* const made = new (std::nothrow) detail::point_fence(point.value(), stage);
    if (made == nullptr) {
      return fail(errc::out_of_memory, "timeline::at");
    }
    user_fence owned(fence_ptr::adopt(made));
    made->get();  // The timeline's.
    state_->add(*made);
    return owned;
  }
  /// Adds one to the eventfd when the point is reached, at once if it is. Any number of points may share an eventfd,
  /// which is kept open by a descriptor of its own. Errors: bad_fd, limit_reached, out_of_memory.
  /// Kernel: DRM_IOCTL_SYNCOBJ_EVENTFD.
  [[nodiscard]] result<void> notify(borrowed_fd event, timeline_point point, point_stage stage = point_stage::signaled,
                                    place at = place::here()) const noexcept {
    might_alloc(at);
    PADDOCK_TRY(unique_fd kept, unique_fd::dup(event));
    auto* const made = new (std::nothrow) detail::point_eventfd(point.value(), stage, std::move(kept));
    if (made == nullptr) {
      return fail(errc::out_of_memory, "timeline::notify");
    }
    state_->add(*made);
    return {};
  }

  /// Submits `to` on this timeline with what `from` stands for on the other. Errors: not_submitted when `from` is not;
  /// invalid_argument for point 0; out_of_memory. Kernel: DRM_IOCTL_SYNCOBJ_TRANSFER.
  [[nodiscard]] result<void> transfer(timeline_point to, const timeline& source, timeline_point from,
                                      place at = place::here()) const noexcept {
    PADDOCK_TRY(const fence_ptr link, source.fence_at(from));
    PADDOCK_TRY(const fence_ptr flat, merge({link}, at));
    return submit(to, flat, at);
  }

  /// Passes a wish on to whatever the newest point waits for.
  void set_deadline(deadline wish) const noexcept {
    if (const fence_ptr tip = fence_ptr::adopt(state_->tip().acquire()); tip) {
      tip->set_deadline(wish);
    }
  }

  /// A point that is signaled when this is dropped, at the latest.
  [[nodiscard]] release_point release_at(timeline_point point) const noexcept;

 private:
  explicit timeline(detail::timeline_state* owned) noexcept : state_(owned) {}

  template <class Policy>
  [[nodiscard]] result<wait_status> wait_stage(timeline_point point, point_stage stage, deadline until,
                                               Policy policy) const noexcept {
    const auto reached = [&]() noexcept { return state_->has_reached(point.value(), stage); };
    const auto answer = [](bool there) noexcept { return there ? wait_status::signaled : wait_status::timed_out; };
    if (reached()) {
      return wait_status::signaled;
    }
    if (until.passed()) {
      return wait_status::timed_out;
    }
    if constexpr (std::same_as<Policy, hybrid_wait> || std::same_as<Policy, spin_wait>) {
      constexpr bool sleeps = std::same_as<Policy, hybrid_wait>;
      detail::spin_until(reached, until, sleeps ? detail::spins_before_sleep : UINT64_MAX);
      return answer(reached() || (sleeps && state_->sleep_until(point.value(), stage, until)));
    } else if constexpr (std::same_as<Policy, futex_wait>) {
      return answer(state_->sleep_until(point.value(), stage, until));
    } else if constexpr (std::same_as<Policy, polling_wait>) {
      while (!reached() && !until.passed()) {
        if (const fence_ptr tip = fence_ptr::adopt(state_->tip().acquire()); tip) {
          tip->poll();
        }
        detail::spin_pause();
      }
      return answer(reached());
    } else {
      PADDOCK_TRY(const user_fence whole, at(point, stage));
      return paddock::wait(*whole.inner_, until, policy);
    }
  }

  detail::timeline_state* state_;
};

/// Signals its point when it is dropped: for whoever must not forget, such as a compositor that gives a buffer back.
/// Moved, not copied.
/// Thread-safety: one thread at a time.
class release_point {
 public:
  release_point(release_point&& other) noexcept : on_(std::move(other.on_)), point_(std::exchange(other.point_, {})) {}
  release_point& operator=(release_point&& other) noexcept {
    if (this != &other) {
      signal();
      on_ = other.on_;
      point_ = std::exchange(other.point_, {});
    }
    return *this;
  }
  ~release_point() { signal(); }

  /// 0 once signaled or moved from.
  [[nodiscard]] timeline_point point() const noexcept { return point_; }
  /// Signals now. Later calls do nothing.
  void signal() noexcept {
    if (const timeline_point due = std::exchange(point_, {}); due.value() != 0) {
      on_.signal(due);
    }
  }

 private:
  friend class timeline;
  release_point(timeline on, timeline_point point) noexcept : on_(std::move(on)), point_(point) {}

  timeline on_;
  timeline_point point_;
};

inline release_point timeline::release_at(timeline_point point) const noexcept { return {*this, point}; }

}  // namespace PADDOCK_NAMESPACE
