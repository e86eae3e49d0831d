// SPDX-License-Identifier: BSL-1.0
// What callbacks may do while they are called, by chance, beside a plain account of what should come of it: which
// callback runs next and with what outcome, and what each add and removal answers. The core of the fences runs over
// atomics of its own here, which let a second thread complete fences between any two steps of an add. All in one real
// thread, so that a number repeats what went wrong.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include <paddock/fence/core.hpp>
#include <paddock/fence/traits.hpp>

#include "catch.hpp"

using namespace paddock;

namespace {

class account;
account* here = nullptr;  ///< The one that runs.
void step();              ///< Between two steps of the core.
[[nodiscard]] bool by_chance(unsigned one_in);

template <class T>
class stepped {
 public:
  explicit stepped(T value) noexcept : value_(value) {}
  [[nodiscard]] T load(std::memory_order) const noexcept {
    step();
    return value_;
  }
  void store(T value, std::memory_order) noexcept {
    step();
    value_ = value;
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order, std::memory_order) noexcept {
    step();
    if (value_ != expected || by_chance(10)) {
      expected = value_;
      return false;
    }
    value_ = desired;
    return true;
  }
  T fetch_and(T mask, std::memory_order) noexcept {
    const T before = value_;
    value_ &= mask;
    return before;
  }

 private:
  T value_;
};

class tested;

struct traits {
  using order = detail::fence_orders;
  using callback = tested;
  template <class T>
  using atomic = stepped<T>;
  template <class T>
  using plain = detail::std_traits::plain<T>;

  static void about_to_write(const void*) noexcept {}
  static void pause_for_line() noexcept { step(); }
  static void backoff(unsigned round) noexcept;
  [[nodiscard]] static std::uintptr_t self() noexcept;
  [[nodiscard]] static detail::run_queue<traits>*& queue() noexcept;
  static void wake(const void*) noexcept {}
};

class tested : public detail::callback_node<traits> {
 public:
  explicit tested(std::size_t which) noexcept : callback_node(&run), which_(which) {}

 private:
  static void run(tested& self, const fence_outcome& outcome) noexcept;
  std::size_t which_;
};

class account {
 public:
  explicit account(unsigned seed) : chance_(seed) {
    for (std::size_t i = 0; i < 2 + below(5); ++i) {
      fences_.push_back({std::make_unique<detail::fence_core<traits>>(true, 0U), false, {}});
    }
  }

  /// A story of some steps, at whose end all is destroyed.
  void tell() {
    for (unsigned line = 0; line < 40 && steps_ > 0; ++line) {
      if (line < 6 || below(3) != 0) {
        nodes_.push_back({std::make_unique<tested>(nodes_.size()), stage::idle, 0, 0, 0, 0});
        add(pending_fence(), nodes_.size() - 1);
        --steps_;
      } else {
        object_ = below(2);
        act(nodes_.size());
      }
    }
    object_ = 0;
    for (std::size_t f = 0; f < fences_.size(); ++f) {
      if (below(2) != 0) {
        complete(f);
      }
    }
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      if (nodes_[n].at != stage::gone) {
        expect(nodes_[n].at == stage::idle || nodes_[n].at == stage::queued, "a callback was lost");
        destroy(n);
      }
    }
  }

  /// What was not as it should be, first of all.
  [[nodiscard]] const char* wrong() const noexcept { return wrong_; }
  [[nodiscard]] std::size_t rejoined() const noexcept { return rejoined_; }
  [[nodiscard]] std::size_t nested() const noexcept { return nested_; }

  // What the core asks for.
  [[nodiscard]] std::size_t thread() const noexcept { return thread_; }
  [[nodiscard]] detail::run_queue<traits>*& queue() noexcept { return queues_[thread_][object_]; }
  [[nodiscard]] bool chance(unsigned one_in) { return below(one_in) == 0; }
  void expect(bool right, const char* what) noexcept {
    if (!right && wrong_ == nullptr) {
      wrong_ = what;
    }
  }

  /// The second thread completes a fence, if the first one is in an add.
  void step() {
    if (thread_ != 0 || !adding_ || below(7) != 0) {
      return;
    }
    adding_ = false;
    thread_ = 1;
    const std::size_t object = object_;
    object_ = below(2);
    complete(below(fences_.size()));
    object_ = object;
    thread_ = 0;
    adding_ = true;
  }

  void called(std::size_t n, const fence_outcome& outcome) {
    entry& called = nodes_[n];
    auto& turns = turns_[thread_][object_];
    expect(called.at == stage::claimed && called.thread == thread_ && called.object == object_, "it is not its run's");
    expect(!turns.empty() && turns.front().node == n, "it is not its turn");
    const int error = turns.empty() ? 0 : turns.front().error;
    expect(outcome.sys_errno == error, "another fence's outcome");
    if (!turns.empty()) {
      turns.pop_front();
    }
    nested_ += is_running_[thread_][1 - object_] ? 1U : 0U;
    called.at = stage::called;
    const unsigned call = called.call = ++calls_;
    const std::size_t object = object_;
    for (std::size_t actions = below(thread_ == 0 ? 5 : 2); actions > 0; --actions) {
      act(n);
    }
    object_ = object;
    if (nodes_[n].at == stage::called && nodes_[n].call == call) {
      nodes_[n].at = stage::idle;
    }
  }

 private:
  enum class stage : std::uint8_t { idle, queued, claimed, called, gone };
  struct entry {
    std::unique_ptr<tested> node;
    stage at;
    std::size_t fence;  ///< Where it was queued last.
    std::size_t thread;
    std::size_t object;
    unsigned call;
  };
  struct event {
    std::unique_ptr<detail::fence_core<traits>> core;
    bool is_signaled;
    std::vector<std::size_t> queued;
  };
  struct turn {
    std::size_t node;
    int error;
  };

  [[nodiscard]] std::size_t below(std::size_t limit) { return chance_() % limit; }
  [[nodiscard]] std::size_t pending_fence() {
    for (int tries = 0; tries < 4; ++tries) {
      if (const std::size_t f = below(fences_.size()); !fences_[f].is_signaled) {
        return f;
      }
    }
    return below(fences_.size());
  }
  /// One that is there; half the time one of this moment's runs. The number of nodes when there is none.
  [[nodiscard]] std::size_t some_node() {
    std::vector<std::size_t> there;
    std::vector<std::size_t> running;
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      if (nodes_[n].at != stage::gone) {
        there.push_back(n);
      }
      if (nodes_[n].at == stage::claimed || nodes_[n].at == stage::called) {
        running.push_back(n);
      }
    }
    const auto& from = !running.empty() && below(2) != 0 ? running : there;
    return from.empty() ? nodes_.size() : from[below(from.size())];
  }
  [[nodiscard]] bool is_there(std::size_t n) const { return n < nodes_.size() && nodes_[n].at != stage::gone; }

  /// Does something, in this shared object or, now and then, in the other one.
  void act(std::size_t self) {
    if (steps_ == 0) {
      return;
    }
    --steps_;
    const std::size_t object = object_;
    object_ = below(4) != 0 ? object : 1 - object;
    const std::size_t f = below(3) != 0 ? pending_fence() : below(fences_.size());
    const std::size_t n = is_there(self) && below(2) != 0 ? self : some_node();
    const std::size_t what = below(8);
    if (what < 2) {
      complete(f);
    } else if (is_there(n)) {
      // The second thread's callbacks touch nothing but their own nodes: the first one is in the middle of an add.
      const std::size_t touched = thread_ == 0 ? n : self;
      if (what == 2) {
        destroy(touched);
      } else if (what == 3 && thread_ == 0) {
        remove(f, touched);
      } else if (what == 4 && thread_ == 0) {
        remove(nodes_[touched].fence, touched);
      } else if (what == 7) {
        retire(touched);
      } else if (nodes_[touched].at == stage::idle || nodes_[touched].at == stage::called) {
        add(f, touched);
      }
    }
    object_ = object;
  }

  void complete(std::size_t f) {
    event& completed = fences_[f];
    const int error = 1 + static_cast<int>(completed_++ % 4000);
    const std::uint64_t word = detail::signaled_word::failure(error, {});
    if (completed.is_signaled) {
      expect(!completed.core->complete(word), "it was complete");
      return;
    }
    completed.is_signaled = true;
    const auto claimed = std::move(completed.queued);
    completed.queued.clear();
    auto& turns = turns_[thread_][object_];
    for (const std::size_t n : claimed) {
      nodes_[n].at = stage::claimed;
      nodes_[n].thread = thread_;
      nodes_[n].object = object_;
      turns.push_back({n, error});
    }
    bool& is_running = is_running_[thread_][object_];
    const bool is_outermost = !is_running && !claimed.empty();
    is_running = is_running || is_outermost;
    expect(completed.core->complete(word), "it was pending");
    if (is_outermost) {
      expect(turns.empty(), "not all callbacks ran");
      is_running = false;
    }
  }
  void add(std::size_t f, std::size_t n) {
    const bool outer = adding_;
    adding_ = true;
    const stage before = nodes_[n].at;
    const add_outcome answer = fences_[f].core->add(*nodes_[n].node, []() noexcept { return std::uint64_t{0}; });
    adding_ = outer;
    event& of = fences_[f];
    expect(answer == (of.is_signaled ? add_outcome::already_signaled : add_outcome::added), "what add says");
    if (answer == add_outcome::added) {
      nodes_[n].at = stage::queued;
      nodes_[n].fence = f;
      of.queued.push_back(n);
    } else {
      rejoined_ += before == stage::called ? 1U : 0U;
    }
  }
  void remove(std::size_t f, std::size_t n) {
    const entry& gone = nodes_[n];
    remove_outcome right = remove_outcome::ran;
    if (gone.at == stage::claimed || (gone.at == stage::queued && gone.fence == f)) {
      right = remove_outcome::removed;
      forget(n);
    } else if (gone.at == stage::called) {
      right = remove_outcome::running_here;
    }
    expect(fences_[f].core->remove(*gone.node) == right, "what remove says");
  }
  void retire(std::size_t n) {
    forget(n);
    nodes_[n].node->retire();
  }
  void destroy(std::size_t n) {
    retire(n);
    if (below(2) != 0) {
      nodes_[n].node->retire();  // As often as one likes.
    }
    nodes_[n].at = stage::gone;
    nodes_[n].node.reset();
  }
  /// It will not run any more.
  void forget(std::size_t n) {
    entry& gone = nodes_[n];
    if (gone.at == stage::queued) {
      std::erase(fences_[gone.fence].queued, n);
    } else if (gone.at == stage::claimed) {
      std::erase_if(turns_[gone.thread][gone.object], [n](const turn& each) { return each.node == n; });
    }
    gone.at = stage::idle;
  }

  std::mt19937 chance_;
  unsigned steps_{120};
  std::vector<event> fences_;
  std::deque<entry> nodes_;
  // By thread and by shared object, each of which has a queue of its own.
  std::array<std::array<detail::run_queue<traits>*, 2>, 2> queues_{};
  std::array<std::array<std::deque<turn>, 2>, 2> turns_;
  std::array<std::array<bool, 2>, 2> is_running_{};
  std::size_t thread_{0};
  std::size_t object_{0};
  bool adding_{false};
  unsigned completed_{0};
  unsigned calls_{0};
  std::size_t rejoined_{0};
  std::size_t nested_{0};
  const char* wrong_{nullptr};
};

void step() { here->step(); }
bool by_chance(unsigned one_in) { return here->chance(one_in); }
void traits::backoff(unsigned round) noexcept { here->expect(round < 10, "it waits for itself"); }
std::uintptr_t traits::self() noexcept { return (here->thread() + 1) * 64; }
detail::run_queue<traits>*& traits::queue() noexcept { return here->queue(); }
void tested::run(tested& self, const fence_outcome& outcome) noexcept { here->called(self.which_, outcome); }

}  // namespace

TEST_CASE("whatever callbacks do to each other, each runs once, in its turn, with its own fence's outcome") {
  std::size_t rejoined = 0;
  std::size_t nested = 0;
  for (unsigned seed = 1; seed <= 10'000; ++seed) {
    account told(seed);
    here = &told;
    told.tell();
    INFO("story " << seed);
    REQUIRE(told.wrong() == nullptr);
    rejoined += told.rejoined();
    nested += told.nested();
  }
  // Those that could not be queued anew while they were called, and those that were called inside another object's run.
  CHECK(rejoined > 1000);
  CHECK(nested > 100);
}
