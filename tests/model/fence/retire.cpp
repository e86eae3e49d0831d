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

const registered entry{"retire", "against a signaler", 3, &run_suite<retire>};

}  // namespace
}  // namespace paddock::model
