// SPDX-License-Identifier: BSL-1.0
// A callback removes, and frees, others of the same fence while a second thread removes one of them.
#include <model.hpp>

namespace paddock::model {
namespace {

struct removals;

struct removing : callback {
  explicit removing(removals& all) : callback(&run), suite(all) {}
  static void run(callback& self, const fence_outcome&) noexcept;
  removals& suite;
};

struct removals : suite<removals, 2> {
  void before() {
    shared.add(first);
    for (auto& victim : victims) {
      victim = new counting(shared);
      shared.add(*victim);
    }
    shared.add(last);
  }
  void thread(unsigned index) {
    if (index == 0) {
      shared.signal();
    } else {
      const remove_outcome outcome = shared.state.remove(last);
      RL_ASSERT(outcome != remove_outcome::running_here);
      RL_ASSERT(last.runs.get() == (outcome == remove_outcome::ran ? 1 : 0));
    }
  }
  void after() { RL_ASSERT(victims[0] == nullptr && victims[1] == nullptr); }

  fence shared;
  removing first{*this};
  counting* victims[2]{};
  counting last{shared};
};

void removing::run(callback& self, const fence_outcome&) noexcept {
  removals& all = static_cast<removing&>(self).suite;
  RL_ASSERT(all.shared.state.remove(self) == remove_outcome::running_here);
  for (auto& victim : all.victims) {
    RL_ASSERT(all.shared.state.remove(*victim) == remove_outcome::removed);
    RL_ASSERT(victim->runs.get() == 0);
    delete victim;
    victim = nullptr;
  }
}

const registered entry{"callback_removes_another", "against a remover", 2, &run_suite<removals>};

}  // namespace
}  // namespace paddock::model
