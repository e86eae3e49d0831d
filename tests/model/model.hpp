// SPDX-License-Identifier: BSL-1.0
/// \file
/// The fence room inside the model, and how a suite makes itself known to main.cpp.
#pragma once

#include <cerrno>
#include <cstdint>
#include <ostream>

#include <relacy_traits.hpp>

namespace paddock::model {

using core = detail::fence_core<relacy_traits>;
using node = detail::callback_node<relacy_traits>;

/// What stands in for fence_callback: suites derive from it.
class callback : public node {
 public:
  using node::node;
};

/// The word of a success, and that of an abandoned fence.
inline const std::uint64_t success = detail::signaled_word::success(monotonic_clock::time_point{});
inline const std::uint64_t abandoned = detail::signaled_word::failure(EDEADLK, monotonic_clock::time_point{});

/// A fence on the heap with the reference counting of paddock::fence, and one word of the work that it stands for.
struct fence {
  explicit fence(bool armed = true) : state(armed, 0), work(0) {}

  /// Never asked to enable anything.
  add_outcome add(callback& added) {
    return state.add(added, []() noexcept { return std::uint64_t{0}; });
  }
  void signal() {
    work.set(1);
    state.complete(success);
  }
  void put() {
    if (!state.put_is_last()) {
      return;
    }
    if (!state.is_signaled()) {
      state.complete(abandoned);
    }
    delete this;
  }

  core state;
  plain<int> work;
};

/// A callback that sees the work done, and counts.
struct counting : callback {
  explicit counting(fence& of) : callback(&run), watched(of), runs(0) {}
  static void run(callback& self, const fence_outcome& outcome) noexcept {
    auto& own = static_cast<counting&>(self);
    RL_ASSERT(outcome.sys_errno == 0);
    RL_ASSERT(own.watched.work.get() == 1);
    own.runs.set(own.runs.get() + 1);
  }
  fence& watched;
  plain<int> runs;
};

/// How the schedules of a suite are searched. Each has its blind spots, so that a suite has a search by tree and one by
/// chance: in a tree a load sees the newest value or the one before, by chance one of the three newest; only by chance
/// does a sleeper wake without cause.
struct search {
  enum class kind : std::uint8_t {
    tree,    ///< Every schedule with at most `amount` forced switches between threads.
    chance,  ///< `amount` schedules.
  };
  kind how;
  unsigned amount;
};
/// Every schedule.
inline constexpr unsigned unbounded = 1'000'000;

struct search_result {
  rl::test_result_e verdict;
  std::uint64_t schedules;
};

/// A suite that main.cpp runs: one at namespace scope for each.
class registered {
 public:
  /// `switches`: how many forced switches between threads the tree is searched with, so that it takes about a second.
  registered(const char* subject, const char* name, unsigned switches,
             search_result (*search_with)(search, std::ostream&)) noexcept
      : subject_(subject), name_(name), switches_(switches), run_(search_with) {
    const registered** end = &first_;
    while (*end != nullptr) {
      end = &(*end)->next_;
    }
    *end = this;
  }
  /// The name of its file.
  [[nodiscard]] const char* subject() const noexcept { return subject_; }
  [[nodiscard]] const char* name() const noexcept { return name_; }
  [[nodiscard]] unsigned switches() const noexcept { return switches_; }
  [[nodiscard]] search_result run(search how, std::ostream& history) const { return run_(how, history); }
  [[nodiscard]] static const registered* first() noexcept { return first_; }
  [[nodiscard]] const registered* next() const noexcept { return next_; }

 private:
  const char* subject_;
  const char* name_;
  unsigned switches_;
  search_result (*run_)(search, std::ostream&);
  mutable const registered* next_{nullptr};
  static inline constinit const registered* first_ = nullptr;
};

/// A base of suites, with before(), thread(unsigned) and after() as Relacy calls them.
template <class Suite, int Threads>
struct suite : rl::test_suite<Suite, Threads> {
  suite() { relacy_traits::reset(); }
};

template <class Suite>
[[nodiscard]] search_result run_suite(search how, std::ostream& history) {
  rl::test_params params;
  params.output_stream = &history;
  params.progress_stream = &history;
  if (how.how == search::kind::tree) {
    params.search_type = rl::sched_bound;
    params.context_bound = how.amount;
  } else {
    params.search_type = rl::sched_random;
    params.iteration_count = how.amount;
  }
  rl::simulate<Suite>(params);
  return {params.test_result, params.stop_iteration};
}

}  // namespace paddock::model
