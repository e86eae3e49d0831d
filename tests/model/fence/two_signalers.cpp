// SPDX-License-Identifier: BSL-1.0
// Of two who complete a fence one is the first; its error and work are what everybody sees.
#include <model.hpp>

namespace paddock::model {
namespace {

struct told : callback {
  explicit told(plain<int>* work) : callback(&run), works(work) {}
  static void run(callback& self, const fence_outcome& outcome) noexcept {
    auto& own = static_cast<told&>(self);
    RL_ASSERT(outcome.sys_errno == 1 || outcome.sys_errno == 2);
    RL_ASSERT(own.works[outcome.sys_errno - 1].get() == outcome.sys_errno);
    own.runs.set(own.runs.get() + 1);
  }
  plain<int>* works;
  plain<int> runs{0};
};

struct two_signalers : suite<two_signalers, 3> {
  void before() { shared.add(node); }
  void thread(unsigned index) {
    if (index < 2) {
      const int error = static_cast<int>(index) + 1;
      works[index].set(error);
      won[index].set(shared.state.complete(detail::signaled_word::failure(error, monotonic_clock::time_point{})));
      return;
    }
    if (const std::uint64_t word = shared.state.word(); core::is_signaled(word)) {
      const int error = detail::signaled_word::sys_errno(word);
      RL_ASSERT(works[error - 1].get() == error);
      RL_ASSERT(shared.state.word() == word);
    }
  }
  void after() {
    RL_ASSERT(won[0].get() != won[1].get());
    RL_ASSERT(node.runs.get() == 1);
    RL_ASSERT(detail::signaled_word::sys_errno(shared.state.word()) == (won[0].get() ? 1 : 2));
  }

  fence shared;
  plain<int> works[2]{plain<int>(0), plain<int>(0)};
  plain<bool> won[2]{plain<bool>(false), plain<bool>(false)};
  told node{works};
};

const registered entry{"two_signalers", "and a reader", 4, &run_suite<two_signalers>};

}  // namespace
}  // namespace paddock::model
