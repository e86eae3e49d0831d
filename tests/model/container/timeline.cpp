// SPDX-License-Identifier: BSL-1.0
// Points are raised while waiters are added, served and asleep.
#include <model.hpp>

#include <paddock/fence/timeline_core.hpp>

namespace paddock::model {
namespace {

/// Sees the work of its point, and frees itself.
class waiter {
 public:
  waiter(std::uint64_t point, plain<int>& work, plain<int>& told) : point_(point), work_(work), told_(told) {}
  [[nodiscard]] std::uint64_t point() const { return point_.get(); }
  [[nodiscard]] point_stage stage() const { return point_stage::signaled; }
  [[nodiscard]] waiter* next() const { return next_.get(); }
  void set_next(waiter* next) { next_.set(next); }
  void reached() {
    RL_ASSERT(work_.get() == 1);
    told_.set(told_.get() + 1);
    delete this;
  }
  [[nodiscard]] bool abandoned() const { return false; }
  void drop() { RL_ASSERT(false); }

 private:
  plain<std::uint64_t> point_;
  plain<waiter*> next_{nullptr};
  plain<int>& work_;
  plain<int>& told_;
};

using timeline = detail::timeline_core<relacy_traits, waiter>;

/// A point is raised against a waiter that is added for it.
struct add_against_raise : suite<add_against_raise, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      work.set(1);
      points.advance(1, point_stage::signaled);
    } else {
      points.add(*new waiter(1, work, told));
    }
  }
  void after() { RL_ASSERT(told.get() == 1); }
  timeline points{0};
  plain<int> work{0};
  plain<int> told{0};
};

/// Two threads raise two points while one serves the other's waiter: each is told, once.
struct two_raisers : suite<two_raisers, 3> {
  void thread(unsigned index) {
    if (index == 2) {
      points.add(*new waiter(2, work[1], told[1]));
      points.add(*new waiter(1, first_work, told[0]));
      return;
    }
    work[index].set(1);
    points.advance(index + 1, point_stage::signaled);
  }
  void after() {
    RL_ASSERT(told[0].get() == 1);
    RL_ASSERT(told[1].get() == 1);
  }
  timeline points{0};
  plain<int> work[2]{plain<int>(0), plain<int>(0)};
  plain<int> first_work{1};  // Point 1 is reached with point 2, too.
  plain<int> told[2]{plain<int>(0), plain<int>(0)};
};

/// A thread sleeps until a point is raised in two steps, and is never left asleep.
struct sleep_against_raise : suite<sleep_against_raise, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      points.advance(1, point_stage::signaled);
      work.set(1);
      points.advance(2, point_stage::signaled);
    } else {
      RL_ASSERT(points.sleep_until(2, point_stage::signaled, deadline::never()));
      RL_ASSERT(work.get() == 1);
    }
  }
  timeline points{0};
  plain<int> work{0};
};

/// As above for a reader that never waits.
struct query_against_raise : suite<query_against_raise, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      work.set(1);
      points.advance(1, point_stage::signaled);
    } else if (points.has_reached(1, point_stage::signaled)) {
      RL_ASSERT(work.get() == 1);
    }
  }
  timeline points{0};
  plain<int> work{0};
};

const registered add{"timeline", "add against raise", unbounded, &run_suite<add_against_raise>};
const registered raisers{"timeline", "two raisers and two waiters", 2, &run_suite<two_raisers>};
const registered sleeper{"timeline", "sleep against raise", unbounded, &run_suite<sleep_against_raise>};
const registered query{"timeline", "query against raise", unbounded, &run_suite<query_against_raise>};

}  // namespace
}  // namespace paddock::model
