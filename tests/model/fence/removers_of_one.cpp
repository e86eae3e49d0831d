// SPDX-License-Identifier: BSL-1.0
// Two threads remove the same node: one of them did it. The other one hears that when the node is off the list.
#include <model.hpp>

namespace paddock::model {
namespace {

/// The node is the one at `Gone` of two, the oldest first; a third thread adds one.
template <int Gone>
struct removers_of_one : suite<removers_of_one<Gone>, 3> {
  void before() {
    shared.add(nodes[0]);
    shared.add(nodes[1]);
  }
  void thread(unsigned index) {
    if (index == 2) {
      RL_ASSERT(shared.add(late) == add_outcome::added);
    } else {
      outcomes[index] = shared.state.remove(nodes[Gone]);
    }
  }
  void after() {
    RL_ASSERT(outcomes[0] != outcomes[1]);
    for (const remove_outcome outcome : outcomes) {
      RL_ASSERT(outcome == remove_outcome::removed || outcome == remove_outcome::ran);
    }
    shared.signal();
    RL_ASSERT(nodes[Gone].runs.get() == 0);
    RL_ASSERT(nodes[1 - Gone].runs.get() == 1);
    RL_ASSERT(late.runs.get() == 1);
  }

  fence shared;
  counting nodes[2]{counting(shared), counting(shared)};
  counting late{shared};
  remove_outcome outcomes[2]{};
};

const registered oldest{"removers_of_one", "the older of two", 1, &run_suite<removers_of_one<0>>};
const registered newest{"removers_of_one", "the newer of two", 1, &run_suite<removers_of_one<1>>};

}  // namespace
}  // namespace paddock::model
