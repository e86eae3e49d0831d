// SPDX-License-Identifier: BSL-1.0
// A callback queues its node on another fence, which it may have made itself, while a second thread retires the node.
#include <model.hpp>

namespace paddock::model {
namespace {

struct requeueing : callback {
  requeueing() : callback(&run) {}
  static void run(callback& self, const fence_outcome&) noexcept {
    auto& own = static_cast<requeueing&>(self);
    if (++own.runs > 1) {
      return;
    }
    if (own.next == nullptr) {
      own.next = new fence;
    }
    own.queued = own.next->add(own) == add_outcome::added;
  }
  fence* next{nullptr};
  int runs{0};
  bool queued{false};
};

enum class other { made_before, made_inside, complete, signaled_meanwhile };

/// What the other fence is like when the callback queues the node there.
template <other Other>
struct retire_against_requeue : suite<retire_against_requeue<Other>, Other == other::signaled_meanwhile ? 3 : 2> {
  void before() {
    if (Other != other::made_inside) {
      node->next = new fence;
    }
    if (Other == other::complete) {
      node->next->signal();
    }
    first.add(*node);
  }
  void thread(unsigned index) {
    if (index == 0) {
      first.signal();
    } else if (index == 1) {
      node->retire();
    } else {
      node->next->signal();
    }
  }
  void after() {
    node->retire();
    if (node->next != nullptr && Other != other::complete && Other != other::signaled_meanwhile) {
      RL_ASSERT(!node->next->state.is_signaled());
      RL_ASSERT(node->next->state.is_unobserved());
    }
    RL_ASSERT(node->runs <= (Other == other::signaled_meanwhile ? 2 : 1));
    RL_ASSERT(Other != other::complete || !node->queued);
    delete node->next;
    delete node;
  }

  fence first;
  requeueing* node{new requeueing};
};

const registered made_before{"retire_against_requeue", "on a fence made before", 3,
                             &run_suite<retire_against_requeue<other::made_before>>};
const registered made_inside{"retire_against_requeue", "on a fence made inside the callback", 3,
                             &run_suite<retire_against_requeue<other::made_inside>>};
const registered complete{"retire_against_requeue", "on a fence that is complete", 3,
                          &run_suite<retire_against_requeue<other::complete>>};
const registered signaled{"retire_against_requeue", "on a fence that is signaled meanwhile", 2,
                          &run_suite<retire_against_requeue<other::signaled_meanwhile>>};

}  // namespace
}  // namespace paddock::model
