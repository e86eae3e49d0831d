// SPDX-License-Identifier: BSL-1.0
// A callback queues itself on another fence and signals that too, or signals a fence of several callbacks of which some
// go meanwhile: the paths on which a run is joined while it runs.
#include <model.hpp>

namespace paddock::model {
namespace {

/// Where the other fence has a callback of its own.
enum class neighbour { none, on_the_first, on_the_next };

/// Thread 0 signals; thread 1 retires and frees the node; a third one signals the other fence too.
template <neighbour Where, int Threads>
struct requeue_and_signal : suite<requeue_and_signal<Where, Threads>, Threads> {
  struct hopper : callback {
    hopper() : callback(&run) {}
    static void run(callback& node, const fence_outcome&) noexcept {
      auto& self = static_cast<hopper&>(node);
      requeue_and_signal& all = *self.all;
      self.data.set(self.data.get() + 1);
      if (++self.runs > 1) {
        return;
      }
      if (all.next.add(self) == add_outcome::added) {
        all.next.state.complete(success);  // From here on the node may be gone.
      } else {
        RL_ASSERT(all.next.state.remove(self) == remove_outcome::running_here);
        self.data.set(self.data.get() + 1);
        // It is back in its run, in front of the neighbour, and may leave it once more.
        if (Where == neighbour::on_the_first) {
          const unsigned acts = rl::rand(3);
          if (acts > 0) {
            all.taken_out = all.first.state.remove(all.other) == remove_outcome::removed;
            RL_ASSERT(all.taken_out);
          }
          if (acts > 1) {
            RL_ASSERT(all.last.add(self) == add_outcome::added);
          }
        }
      }
    }
    int runs{0};
    plain<int> data{0};
    requeue_and_signal* all{nullptr};
  };
  struct bystander : callback {
    bystander() : callback(&run), runs(0) {}
    static void run(callback& node, const fence_outcome&) noexcept {
      auto& self = static_cast<bystander&>(node);
      self.runs.set(self.runs.get() + 1);
    }
    plain<int> runs;
  };

  void before() {
    node->all = this;
    first.add(*node);
    if (Where != neighbour::none) {
      (Where == neighbour::on_the_first ? first : next).add(other);
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      first.signal();
    } else if (index == 1) {
      node->retire();
      delete node;
    } else {
      next.state.complete(success);
    }
  }
  void after() {
    RL_ASSERT(other.runs.get() <= 1);
    RL_ASSERT(Where != neighbour::on_the_first || other.runs.get() == (taken_out ? 0 : 1));
    other.retire();
  }

  fence first;
  fence next;
  fence last;
  hopper* node{new hopper};
  bystander other;
  bool taken_out{false};
};

/// A callback signals a fence of two and frees the first of them, while another thread frees the second.
struct nested_run : suite<nested_run, 2> {
  struct starter : callback {
    explicit starter(nested_run& of) : callback(&run), all(of) {}
    static void run(callback& node, const fence_outcome&) noexcept {
      nested_run& all = static_cast<starter&>(node).all;
      all.inner.signal();
      all.oldest->retire();
      delete all.oldest;
      all.last.signal();
      static_cast<starter&>(node).retire();
      static_cast<starter&>(node).retire();
      RL_ASSERT(all.first.state.remove(node) == remove_outcome::ran);
    }
    nested_run& all;
  };

  void before() {
    first.add(start);
    inner.add(*oldest);
    inner.add(*newest);
    last.add(*lone);
  }
  void thread(unsigned index) {
    if (index == 0) {
      first.signal();
      return;
    }
    newest->retire();
    delete newest;
    const bool ran = last.state.remove(*lone) == remove_outcome::ran;
    RL_ASSERT(ran == (lone->runs.get() == 1));
    delete lone;
  }

  fence first;
  fence inner;
  fence last;
  starter start{*this};
  counting* oldest{new counting(inner)};
  counting* newest{new counting(inner)};
  counting* lone{new counting(last)};
};

const registered alone{"requeue_and_signal", "alone", 2, &run_suite<requeue_and_signal<neighbour::none, 2>>};
const registered beside{"requeue_and_signal", "with a neighbour", 2,
                        &run_suite<requeue_and_signal<neighbour::on_the_first, 2>>};
const registered before{"requeue_and_signal", "behind a neighbour", 2,
                        &run_suite<requeue_and_signal<neighbour::on_the_next, 2>>};
const registered crowd{"requeue_and_signal", "and a second signaler", 1,
                       &run_suite<requeue_and_signal<neighbour::none, 3>>};
const registered crowd_beside{"requeue_and_signal", "with a neighbour and a second signaler", 1,
                              &run_suite<requeue_and_signal<neighbour::on_the_first, 3>>};
const registered nested{"requeue_and_signal", "of a fence of several", 1, &run_suite<nested_run>};

}  // namespace
}  // namespace paddock::model
