// SPDX-License-Identifier: BSL-1.0
// A callback that is removed while the fence is signaled has run to its end, or never runs; either way its memory may
// go at once.
#include <model.hpp>

namespace paddock::model {
namespace {

/// The nodes are older and newer neighbours; `Removers` threads add one each, and remove it.
template <int Removers>
struct remove_against_signal : suite<remove_against_signal<Removers>, Removers + 1> {
  void thread(unsigned index) {
    if (index == Removers) {
      shared.signal();
      return;
    }
    auto* const node = new counting(shared);
    if (shared.add(*node) == add_outcome::added) {
      const remove_outcome outcome = shared.state.remove(*node);
      RL_ASSERT(outcome != remove_outcome::running_here);
      RL_ASSERT(node->runs.get() == (outcome == remove_outcome::ran ? 1 : 0));
    }
    delete node;
  }
  fence shared;
};

const registered one{"remove_against_signal", "one remover", 3, &run_suite<remove_against_signal<1>>};
const registered two{"remove_against_signal", "two removers", 2, &run_suite<remove_against_signal<2>>};

}  // namespace
}  // namespace paddock::model
