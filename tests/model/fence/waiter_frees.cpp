// SPDX-License-Identifier: BSL-1.0
// Who waits may free the fence as soon as the wait returns, and is never left asleep.
#include <model.hpp>

namespace paddock::model {
namespace {

struct waiter_frees : suite<waiter_frees, 2> {
  void before() { shared = new fence; }
  void thread(unsigned index) {
    if (index == 0) {
      shared->signal();
      return;
    }
    RL_ASSERT(shared->state.sleep_until(deadline::never()));
    RL_ASSERT(shared->work.get() == 1);
    delete shared;
  }
  fence* shared{nullptr};
};

/// The second of two waiters has a deadline, and waits again when it passed.
struct two_waiters : suite<two_waiters, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      shared.signal();
      return;
    }
    const deadline until = index == 1 ? deadline::never() : deadline::now();
    if (!shared.state.sleep_until(until)) {
      RL_ASSERT(index == 2);
      RL_ASSERT(shared.state.sleep_until(deadline::never()));
    }
    RL_ASSERT(shared.work.get() == 1);
  }
  fence shared;
};

const registered one{"waiter_frees", "one waiter", unbounded, &run_suite<waiter_frees>};
const registered two{"waiter_frees", "two waiters", 3, &run_suite<two_waiters>};

}  // namespace
}  // namespace paddock::model
