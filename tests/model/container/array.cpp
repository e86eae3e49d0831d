// SPDX-License-Identifier: BSL-1.0
// The members of an array complete while it is armed and dropped.
#include <model.hpp>

#include <paddock/fence/array_core.hpp>

namespace paddock::model {
namespace {

constexpr std::size_t members = 2;

/// As paddock::fence_array, over two fences that stand elsewhere.
struct array : detail::array_core<relacy_traits, array> {
  struct member : callback {
    explicit member(array& of) : callback(&run), owner(of) {}
    ~member() { retire(); }
    static void run(callback& self, const fence_outcome& outcome) noexcept {
      static_cast<member&>(self).owner.member_done(outcome);
    }
    array& owner;
  };

  array(detail::array_mode mode, fence* const (&over)[members])
      : array_core(mode, members), state(true, 0), of{over[0], over[1]}, nodes{member(*this), member(*this)} {}

  [[nodiscard]] std::size_t size() const { return members; }
  add_outcome add(std::size_t i) { return of[i]->add(nodes[i]); }
  [[nodiscard]] fence_outcome outcome_of(std::size_t i) const {
    return detail::signaled_word::outcome(of[i]->state.word());
  }
  bool try_remove(std::size_t i) { return of[i]->state.try_remove(nodes[i]); }
  [[nodiscard]] bool is_signaled() const { return state.is_signaled(); }
  bool complete(const fence_outcome& outcome) {
    return state.complete(outcome.sys_errno == 0 ? success : detail::signaled_word::failure(outcome.sys_errno, {}));
  }
  void get() { state.get(); }
  void put() {
    if (state.put_is_last()) {
      if (freed != nullptr) {
        freed->set(1);
      }
      delete this;
    }
  }

  plain<int>* freed{nullptr};  ///< Told of the end.
  core state;
  fence* of[members];
  member nodes[members];
};

/// Sees all the work behind an array of all, and its error.
struct checking : callback {
  explicit checking(array& over) : callback(&run), of(over), runs(0) {}
  static void run(callback& self, const fence_outcome& outcome) noexcept {
    auto& own = static_cast<checking&>(self);
    RL_ASSERT(outcome.sys_errno == EIO);
    RL_ASSERT(own.of.of[0]->work.get() == 1 && own.of.of[1]->work.get() == 1);
    own.runs.set(own.runs.get() + 1);
  }
  array& of;
  plain<int> runs;
};

struct over_two {
  explicit over_two(detail::array_mode mode) : of{new fence, new fence}, whole(new array(mode, of)) {}
  void drop() {
    of[0]->put();
    of[1]->put();
  }
  fence* of[members];
  array* whole;
};

/// Both members complete, the second with an error, while a third thread arms the array, waits by callback and drops
/// it.
struct all : suite<all, 3> {
  void before() {
    over = new over_two(detail::array_mode::all);
    node = new checking(*over->whole);
    over->whole->state.add(*node, []() noexcept { return std::uint64_t{0}; });
    over->whole->get();  // The node's, which looks at the members through the array.
  }
  void thread(unsigned index) {
    if (index == 2) {
      over->whole->arm();
      over->whole->put();
      return;
    }
    over->of[index]->work.set(1);
    over->of[index]->state.complete(index == 0 ? success : detail::signaled_word::failure(EIO, {}));
  }
  void after() {
    RL_ASSERT(node->runs.get() == 1);
    over->whole->put();
    delete node;
    over->drop();
    delete over;
  }
  over_two* over{nullptr};
  checking* node{nullptr};
};

/// The first member completes an array of any, whose other callback is taken back or runs; it is freed in either case,
/// also when the second member never completes.
template <bool SecondCompletes>
struct any : suite<any<SecondCompletes>, SecondCompletes ? 3 : 2> {
  void before() {
    over = new over_two(detail::array_mode::any);
    over->whole->freed = &freed;
  }
  void thread(unsigned index) {
    if (index == 0) {
      over->whole->arm();
      over->whole->put();
    } else {
      over->of[index - 1]->signal();
    }
  }
  void after() {
    if (!SecondCompletes) {
      // Its callback was taken back, or the array would live as long as it does.
      RL_ASSERT(freed.get() == 1);
      over->of[1]->signal();
    }
    over->drop();
    delete over;
  }
  over_two* over{nullptr};
  plain<int> freed{0};
};

const registered entry_all{"array", "of all", 1, &run_suite<all>};
const registered entry_any{"array", "of any", 1, &run_suite<any<true>>};
const registered entry_one{"array", "of any, one of which stays pending", 2, &run_suite<any<false>>};

}  // namespace
}  // namespace paddock::model
