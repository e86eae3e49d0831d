// SPDX-License-Identifier: BSL-1.0
// The last put of a pending fence fails it, once, after every use by the others; then the fence is freed.
#include <model.hpp>

namespace paddock::model {
namespace {

struct abandoned_callback : callback {
  explicit abandoned_callback(fence& of) : callback(&run), held(of) {}
  static void run(callback& self, const fence_outcome& outcome) noexcept {
    auto& own = static_cast<abandoned_callback&>(self);
    RL_ASSERT(outcome.sys_errno == EDEADLK);
    own.runs.set(own.runs.get() + 1);
    // A callback may look at its fence, and take and drop references.
    own.held.state.get();
    own.held.put();
  }
  fence& held;
  plain<int> runs{0};
};

struct last_put : suite<last_put, 2> {
  void before() {
    shared = new fence;
    node = new abandoned_callback(*shared);
    RL_ASSERT(shared->add(*node) == add_outcome::added);
    shared->state.get();
  }
  void thread(unsigned index) {
    uses[index].set(1);
    shared->put();
  }
  void after() {
    RL_ASSERT(node->runs.get() == 1);
    delete node;
  }

  fence* shared{nullptr};
  abandoned_callback* node{nullptr};
  plain<int> uses[2]{plain<int>(0), plain<int>(0)};
};

const registered entry{"last_put", "of two", unbounded, &run_suite<last_put>};

}  // namespace
}  // namespace paddock::model
