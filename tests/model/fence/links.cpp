// SPDX-License-Identifier: BSL-1.0
// The links of a list hold, in whatever order nodes are added and removed. One thread works: what is searched are the
// orders.
#include <model.hpp>

namespace paddock::model {
namespace {

constexpr int nodes_there = 3;
constexpr int steps = 7;

struct links : suite<links, 2> {
  struct numbered : callback {
    numbered() : callback(&run) {}
    static void run(callback& self, const fence_outcome&) noexcept {
      auto& own = static_cast<numbered&>(self);
      RL_ASSERT(own.place > *own.last_run);
      *own.last_run = own.place;
      own.place = 0;
    }
    int place{0};  ///< When it was added; 0 while it is not queued.
    int* last_run{nullptr};
  };

  void thread(unsigned index) {
    if (index != 0) {
      return;  // Relacy has a second one.
    }
    int last_run = 0;
    numbered* nodes[nodes_there]{};
    for (int step = 1; step <= steps; ++step) {
      numbered*& node = nodes[rl::rand(nodes_there)];
      if (node == nullptr) {
        node = new numbered;
        node->place = step;
        node->last_run = &last_run;
        RL_ASSERT(shared.add(*node) == add_outcome::added);
      } else {
        RL_ASSERT(shared.state.remove(*node) == remove_outcome::removed);
        delete node;
        node = nullptr;
      }
    }
    shared.signal();
    for (numbered* node : nodes) {
      RL_ASSERT(node == nullptr || node->place == 0);
      delete node;
    }
  }
  fence shared;
};

const registered entry{"links", "of three nodes, in seven steps", 0, &run_suite<links>};

}  // namespace
}  // namespace paddock::model
