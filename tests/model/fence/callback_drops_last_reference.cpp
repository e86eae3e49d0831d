// SPDX-License-Identifier: BSL-1.0
// A callback may drop the last reference of its own fence: who signals does not touch the fence any more.
#include <model.hpp>

namespace paddock::model {
namespace {

struct dropping : callback {
  explicit dropping(fence& of) : callback(&run), held(of) {}
  static void run(callback& self, const fence_outcome&) noexcept {
    fence& held = static_cast<dropping&>(self).held;
    RL_ASSERT(held.work.get() == 1);
    held.put();
  }
  fence& held;
};

struct callback_drops_last_reference : suite<callback_drops_last_reference, 2> {
  void before() {
    shared = new fence;
    node = new dropping(*shared);
    shared->add(*node);
    shared->state.get();  // The second thread's; the first is the callback's.
  }
  void thread(unsigned index) {
    if (index == 0) {
      shared->signal();
      return;
    }
    if (shared->state.is_signaled()) {
      RL_ASSERT(shared->work.get() == 1);
    }
    shared->put();
  }
  void after() { delete node; }

  fence* shared{nullptr};
  dropping* node{nullptr};
};

const registered entry{"callback_drops_last_reference", "callback against a holder", unbounded,
                       &run_suite<callback_drops_last_reference>};

}  // namespace
}  // namespace paddock::model
