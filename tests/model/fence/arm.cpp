// SPDX-License-Identifier: BSL-1.0
// The source is asked to signal once at most, by the first who is interested, and what it answers completes the fence.
#include <model.hpp>

namespace paddock::model {
namespace {

/// Two who are interested, one of them with a callback, against the signaler.
template <bool DoneAlready>
struct arm_against_signal : suite<arm_against_signal<DoneAlready>, 3> {
  std::uint64_t enable() {
    enabled.set(enabled.get() + 1);
    if (DoneAlready) {
      shared.work.set(1);
      return success;
    }
    return 0;
  }
  void thread(unsigned index) {
    const auto enable_once = [this]() noexcept { return enable(); };
    if (index == 0) {
      if (DoneAlready) {
        shared.state.arm(enable_once);
      } else {
        shared.signal();
      }
    } else if (index == 1) {
      shared.state.arm(enable_once);
    } else if (shared.state.add(node, enable_once) == add_outcome::already_signaled) {
      RL_ASSERT(shared.work.get() == 1);
    } else {
      added.set(true);
    }
  }
  void after() {
    RL_ASSERT(enabled.get() <= 1);
    RL_ASSERT(node.runs.get() == (added.get() ? 1 : 0));
  }

  fence shared{false};
  plain<int> enabled{0};
  plain<bool> added{false};
  counting node{shared};
};

const registered pending{"arm", "against a signaler", 4, &run_suite<arm_against_signal<false>>};
const registered done{"arm", "of work that is done", 4, &run_suite<arm_against_signal<true>>};

}  // namespace
}  // namespace paddock::model
