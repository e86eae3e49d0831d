// SPDX-License-Identifier: BSL-1.0
// A callback that is added while the fence is signaled runs once, or is told that it never will; either way the work is
// seen.
#include <model.hpp>

namespace paddock::model {
namespace {

template <int Adders>
struct add_against_signal : suite<add_against_signal<Adders>, Adders + 1> {
  void thread(unsigned index) {
    if (index == Adders) {
      shared.signal();
    } else if (shared.add(nodes[index]) == add_outcome::already_signaled) {
      RL_ASSERT(shared.work.get() == 1);
    } else {
      added[index].set(true);
    }
  }
  void after() {
    for (int i = 0; i < Adders; ++i) {
      RL_ASSERT(nodes[i].runs.get() == (added[i].get() ? 1 : 0));
    }
  }

  fence shared;
  counting nodes[2]{counting(shared), counting(shared)};
  plain<bool> added[2]{plain<bool>(false), plain<bool>(false)};
};

const registered one{"add_against_signal", "one adder", unbounded, &run_suite<add_against_signal<1>>};
const registered two{"add_against_signal", "two adders", 4, &run_suite<add_against_signal<2>>};

}  // namespace
}  // namespace paddock::model
