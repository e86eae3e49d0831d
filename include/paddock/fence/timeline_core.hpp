// SPDX-License-Identifier: BSL-1.0
/// \file
/// The two counters of a timeline and who waits for them; a template for tests/model, as fence/core.hpp.
#pragma once

#include <atomic>
#include <cstdint>

#include <paddock/base/time.hpp>

namespace PADDOCK_NAMESPACE {

/// How far along a point of a timeline is: first there is work that will signal it, then that work is done.
enum class point_stage : std::uint8_t { submitted, signaled };

namespace detail {

/// The highest point signaled, the highest submitted, a stack of waiters, and threads that sleep.
/// Waiter: point(), stage(), next() and set_next(), reached() (it is due and out of the stack), abandoned() (nobody
/// else has it any more), drop() (out of the stack without being due).
///
/// Whoever raises a counter looks for waiters afterwards; whoever waits looks at the counter afterwards. That the two
/// looks cannot both miss rests on the sequential consistency of raise, look, join and due.
template <class Traits, class Waiter>
class timeline_core {
 public:
  using order = typename Traits::timeline_order;

  explicit timeline_core(std::uint64_t initial) noexcept : signaled_(initial), submitted_(initial) {}

  [[nodiscard]] std::uint64_t signaled() const noexcept { return signaled_.load(order::reached); }
  /// What is signaled counts as submitted; only what is submitted and pending is written down apart.
  [[nodiscard]] std::uint64_t submitted() const noexcept {
    const std::uint64_t written = submitted_.load(order::reached);
    const std::uint64_t signaled = this->signaled();
    return signaled > written ? signaled : written;
  }
  [[nodiscard]] bool has_reached(std::uint64_t point, point_stage stage) const noexcept {
    return (stage == point_stage::signaled ? signaled() : submitted()) >= point;
  }

  /// Raises a counter and serves those who wait. False: it stood there already. Lock-free, and no syscall unless a
  /// thread sleeps.
  bool advance(std::uint64_t point, point_stage stage) noexcept {
    auto& counter = stage == point_stage::signaled ? signaled_ : submitted_;
    std::uint64_t seen = counter.load(order::value_look);
    do {
      if (seen >= point) {
        return false;
      }
      // order: raise, then look, against join, then due: sequentially consistent, see above.
    } while (!counter.compare_exchange_weak(seen, point, order::raise, order::value_look));
    if (sleepers_.load(order::look) != 0) {
      // order: epoch, a release: a sleeper that has seen it sees the point as well.
      epoch_.fetch_add(1, order::epoch);
      Traits::wake(&epoch_);
    }
    if (waiters_.load(order::look) != nullptr) {
      serve();
    }
    return true;
  }

  /// Queues a waiter, whose reached() may run before this returns.
  void add(Waiter& waiter) noexcept {
    // Once it is in the stack, another thread may serve it, and it be gone.
    const std::uint64_t point = waiter.point();
    const point_stage stage = waiter.stage();
    push(waiter, waiter);
    // Now and then also to be rid of those that nobody has any more, or a timeline that stands still would collect
    // them.
    constexpr std::uint64_t adds_between_sweeps = 64;
    if (is_due(point, stage) || adds_.fetch_add(1, order::value_look) % adds_between_sweeps == 0) {
      serve();
    }
  }

  /// Sleeps until the point is reached; false when the deadline passed first.
  [[nodiscard]] bool sleep_until(std::uint64_t point, point_stage stage, deadline until) noexcept {
    sleepers_.fetch_add(1, order::join);
    bool in_time = true;
    bool there = false;
    while (!there && in_time) {
      // order: epoch_look, an acquire: pairs with epoch.
      const std::uint64_t epoch = epoch_.load(order::epoch_look);
      there = is_due(point, stage);
      if (!there) {
        in_time = Traits::sleep(epoch_, epoch, until);
        there = is_due(point, stage);
      }
    }
    sleepers_.fetch_sub(1, order::value_look);
    return there;
  }

  /// Empties the stack at the end. Requires: no other thread uses the timeline.
  template <class Visit>
  void take_all(Visit&& visit) noexcept {
    for (Waiter* waiter = waiters_.exchange(nullptr, order::take_waiters); waiter != nullptr;) {
      Waiter* const next = waiter->next();
      visit(*waiter);
      waiter = next;
    }
  }

 private:
  [[nodiscard]] bool is_due(std::uint64_t point, point_stage stage) const noexcept {
    return signaled_.load(order::due) >= point ||
           (stage == point_stage::submitted && submitted_.load(order::due) >= point);
  }
  [[nodiscard]] bool is_due(const Waiter& waiter) const noexcept { return is_due(waiter.point(), waiter.stage()); }

  void push(Waiter& first, Waiter& last) noexcept {
    Waiter* seen = waiters_.load(order::value_look);
    do {
      last.set_next(seen);
    } while (!waiters_.compare_exchange_weak(seen, &first, order::join, order::value_look));
  }

  /// Takes the whole stack, serves who is due, puts the others back, and looks again: a counter that rose meanwhile
  /// found the stack empty.
  void serve() noexcept {
    for (bool again = true; again;) {
      Waiter* first = nullptr;
      Waiter* last = nullptr;
      // order: take_waiters, an acquire: pairs with join: the waiters are seen.
      for (Waiter* waiter = waiters_.exchange(nullptr, order::take_waiters); waiter != nullptr;) {
        Waiter* const next = waiter->next();
        if (is_due(*waiter)) {
          waiter->reached();
        } else if (waiter->abandoned()) {
          waiter->drop();
        } else {
          waiter->set_next(first);
          last = first == nullptr ? waiter : last;
          first = waiter;
        }
        waiter = next;
      }
      if (first == nullptr) {
        return;
      }
      // The least of what was put back, read before others can take it.
      const least due = least_of(*first);
      push(*first, *last);
      again = is_due(due.signaled, point_stage::signaled) || is_due(due.submitted, point_stage::submitted);
    }
  }

  struct least {
    std::uint64_t signaled;
    std::uint64_t submitted;
  };
  [[nodiscard]] static least least_of(const Waiter& first) noexcept {
    least found{UINT64_MAX, UINT64_MAX};
    for (const Waiter* waiter = &first; waiter != nullptr; waiter = waiter->next()) {
      std::uint64_t& of_stage = waiter->stage() == point_stage::signaled ? found.signaled : found.submitted;
      of_stage = waiter->point() < of_stage ? waiter->point() : of_stage;
    }
    return found;
  }

  typename Traits::template atomic<std::uint64_t> signaled_;
  typename Traits::template atomic<std::uint64_t> submitted_;
  typename Traits::template atomic<Waiter*> waiters_{nullptr};
  typename Traits::template atomic<std::uint64_t> sleepers_{0};
  typename Traits::template atomic<std::uint64_t> epoch_{0};
  typename Traits::template atomic<std::uint64_t> adds_{1};
};

}  // namespace detail
}  // namespace PADDOCK_NAMESPACE
