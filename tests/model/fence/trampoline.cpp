// SPDX-License-Identifier: BSL-1.0
// A callback signals another fence, whose callbacks run after it, while a second thread removes one of those.
#include <model.hpp>

namespace paddock::model {
namespace {

struct signaling : callback {
  explicit signaling(fence& other) : callback(&run), next(other) {}
  static void run(callback& self, const fence_outcome&) noexcept { static_cast<signaling&>(self).next.signal(); }
  fence& next;
};

/// Fence `first` has a callback that signals `second`, and one after it; `second` has two. Thread 1 removes and frees
/// the one at `Removed`.
template <int Removed>
struct trampoline : suite<trampoline<Removed>, 2> {
  void before() {
    first.add(start);
    first.add(sibling);
    for (auto& node : nodes) {
      node = new counting(second);
      second.add(*node);
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      first.signal();
      return;
    }
    const remove_outcome outcome = second.state.remove(*nodes[Removed]);
    RL_ASSERT(outcome != remove_outcome::running_here);
    RL_ASSERT(nodes[Removed]->runs.get() == (outcome == remove_outcome::ran ? 1 : 0));
    delete nodes[Removed];
    nodes[Removed] = nullptr;
  }
  void after() {
    RL_ASSERT(sibling.runs.get() == 1);
    RL_ASSERT(nodes[1 - Removed]->runs.get() == 1);
    delete nodes[1 - Removed];
  }

  fence first;
  fence second;
  signaling start{second};
  counting sibling{first};
  counting* nodes[2]{};
};

/// The callback that signals `second` also removes and frees one of its nodes before they run. The one at `Removed` of
/// two, the oldest first; thread 1 retires the other one.
template <int Removed>
struct removal_inside : suite<removal_inside<Removed>, 2> {
  struct signaling_and_removing : callback {
    explicit signaling_and_removing(removal_inside& all) : callback(&run), suite(all) {}
    static void run(callback& self, const fence_outcome&) noexcept {
      removal_inside& all = static_cast<signaling_and_removing&>(self).suite;
      all.second.signal();
      counting*& gone = all.nodes[Removed];
      RL_ASSERT(all.second.state.remove(*gone) == remove_outcome::removed);
      RL_ASSERT(gone->runs.get() == 0);
      delete gone;
      gone = nullptr;
    }
    removal_inside& suite;
  };

  void before() {
    first.add(start);
    for (auto& node : nodes) {
      node = new counting(second);
      second.add(*node);
    }
    first.add(sibling);
  }
  void thread(unsigned index) {
    if (index == 0) {
      first.signal();
    } else {
      nodes[1 - Removed]->retire();
      delete nodes[1 - Removed];
    }
  }
  void after() {
    RL_ASSERT(sibling.runs.get() == 1);
    RL_ASSERT(nodes[Removed] == nullptr);
  }

  fence first;
  fence second;
  signaling_and_removing start{*this};
  counting sibling{first};
  counting* nodes[2]{};
};

const registered oldest{"trampoline", "against a remover of the oldest", 2, &run_suite<trampoline<0>>};
const registered newest{"trampoline", "against a remover of the newest", 2, &run_suite<trampoline<1>>};
const registered oldest_inside{"trampoline", "the oldest removed inside", 2, &run_suite<removal_inside<0>>};
const registered newest_inside{"trampoline", "the newest removed inside", 2, &run_suite<removal_inside<1>>};

}  // namespace
}  // namespace paddock::model
