// SPDX-License-Identifier: BSL-1.0
// Removers of neighbours and an adder at once: every link holds, and what was removed may be freed.
#include <model.hpp>

namespace paddock::model {
namespace {

/// Threads 0 and 1 remove and free the nodes 0 and 1 of `Nodes`, the oldest first; thread 2 adds one.
template <int Nodes, int First, int Second>
struct removers_of_neighbours : suite<removers_of_neighbours<Nodes, First, Second>, 3> {
  void before() {
    for (auto& node : nodes) {
      node = new counting(shared);
      shared.add(*node);
    }
  }
  void thread(unsigned index) {
    if (index == 2) {
      RL_ASSERT(shared.add(late) == add_outcome::added);
      return;
    }
    counting*& gone = nodes[index == 0 ? First : Second];
    RL_ASSERT(shared.state.remove(*gone) == remove_outcome::removed);
    delete gone;
    gone = nullptr;
  }
  void after() {
    shared.signal();
    RL_ASSERT(late.runs.get() == 1);
    for (auto* node : nodes) {
      if (node != nullptr) {
        RL_ASSERT(node->runs.get() == 1);
        delete node;
      }
    }
  }

  fence shared;
  counting late{shared};
  counting* nodes[Nodes]{};
};

const registered two{"removers_of_neighbours", "both of two", 1, &run_suite<removers_of_neighbours<2, 0, 1>>};
const registered older{"removers_of_neighbours", "the older two of three", 1,
                       &run_suite<removers_of_neighbours<3, 0, 1>>};
const registered newer{"removers_of_neighbours", "the newer two of three", 1,
                       &run_suite<removers_of_neighbours<3, 2, 1>>};
const registered outer{"removers_of_neighbours", "the outer two of three", 1,
                       &run_suite<removers_of_neighbours<3, 0, 2>>};

}  // namespace
}  // namespace paddock::model
