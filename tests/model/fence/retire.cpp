// SPDX-License-Identifier: BSL-1.0
// The end of a node: it is off its fence, and its callback runs nowhere any more.
#include <model.hpp>

namespace paddock::model {
namespace {

struct retire : suite<retire, 2> {
  void before() {
    for (auto& node : nodes) {
      node = new counting(shared);
      shared.add(*node);
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      shared.signal();
      return;
    }
    nodes[0]->retire();
    RL_ASSERT(nodes[0]->runs.get() <= 1);
    delete nodes[0];
  }
  void after() {
    RL_ASSERT(nodes[1]->runs.get() == 1);
    delete nodes[1];
  }

  fence shared;
  counting* nodes[2]{};
};

/// A callback ends its own node, which another thread takes for its own as soon as it hears that.
struct ended_inside : suite<ended_inside, 2> {
  struct ending : callback {
    ending() : callback(&run), runs(0) {}
    static void run(callback& node, const fence_outcome&) noexcept {
      auto& self = static_cast<ending&>(node);
      self.runs.set(self.runs.get() + 1);
      self.retire();
    }
    plain<int> runs;
  };

  void before() {
    shared.add(node);
    shared.add(behind);
  }
  void thread(unsigned index) {
    if (index == 0) {
      shared.signal();
      return;
    }
    const remove_outcome outcome = shared.state.remove(node);
    RL_ASSERT(node.runs.get() == (outcome == remove_outcome::ran ? 1 : 0));
    RL_ASSERT(next.add(node) == add_outcome::added);
  }
  void after() {
    RL_ASSERT(behind.runs.get() == 1);
    node.retire();
  }

  fence shared;
  fence next;
  ending node;
  counting behind{shared};
};

const registered inside{"retire", "inside, and used anew", 2, &run_suite<ended_inside>};
const registered entry{"retire", "against a signaler", 3, &run_suite<retire>};

}  // namespace
}  // namespace paddock::model
