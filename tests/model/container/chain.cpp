// SPDX-License-Identifier: BSL-1.0
// Links complete, are waited for, walked, collected and dropped at once.
#include <model.hpp>

#include <paddock/fence/chain_core.hpp>

namespace paddock::model {
namespace {

struct link;

/// A fence that may be a link.
struct chained {
  explicit chained(bool link_of_chain) : state(true, 0), is_link(link_of_chain), work(0) {}
  [[nodiscard]] bool is_signaled() const { return state.is_signaled(); }
  void get() { state.get(); }
  void put();
  void signal() {
    work.set(1);
    state.complete(success);
  }
  core state;
  const bool is_link;
  plain<int> work;
};

/// As paddock::fence_chain.
struct link : chained, detail::chain_core<relacy_traits, chained, link> {
  struct next : callback {
    explicit next(link& of) : callback(&run), owner(of) {}
    ~next() { retire(); }
    static void run(callback& self, const fence_outcome&) noexcept { static_cast<next&>(self).owner.wait_for_next(); }
    link& owner;
  };
  /// Takes over both references.
  link(chained* previous, chained* alone) : chained(true), chain_core(previous), own(alone), node(*this) {}

  static link* from(chained& f) { return f.is_link ? static_cast<link*>(&f) : nullptr; }
  [[nodiscard]] chained& contained() const { return *own; }
  add_outcome add_to(chained& pending) {
    return pending.state.add(node, []() noexcept { return std::uint64_t{0}; });
  }
  void complete() { state.complete(success); }
  void get() { chained::get(); }
  void put() { chained::put(); }
  void arm() {
    get();
    wait_for_next();
  }

  chained* own;
  next node;
};

void chained::put() {
  if (!state.put_is_last()) {
    return;
  }
  if (!is_link) {
    delete this;
    return;
  }
  auto* const gone = static_cast<link*>(this);
  chained* const previous = gone->slot().take();
  chained* const own = gone->own;
  delete gone;
  own->put();
  if (previous != nullptr) {
    previous->put();
  }
}

chained* finished() {
  auto* const f = new chained(false);
  f->signal();
  return f;
}

/// Two threads walk from one link; all before it is finished, and collected by both.
struct two_walkers : suite<two_walkers, 2> {
  void before() {
    auto* const first = new link(nullptr, finished());
    auto* const second = new link(first, finished());
    tip = new link(second, finished());
  }
  void thread(unsigned) { RL_ASSERT(tip->next_pending() == nullptr); }
  void after() {
    RL_ASSERT(tip->slot().take() == nullptr);
    tip->put();
  }
  link* tip{nullptr};
};

/// A walker holds an older link that is pending, while that completes and another walker collects it.
struct walker_and_completion : suite<walker_and_completion, 3> {
  void before() {
    own = new chained(false);
    own->get();  // Ours, beside the link's.
    tip = new link(new link(nullptr, own), finished());
  }
  void thread(unsigned index) {
    if (index == 0) {
      own->signal();
      return;
    }
    if (chained* const held = tip->next_pending(); held != nullptr) {
      if (link::from(*held)->contained().is_signaled()) {
        RL_ASSERT(own->work.get() == 1);
      }
      held->put();
    } else {
      RL_ASSERT(own->work.get() == 1);
    }
  }
  void after() {
    own->put();
    tip->put();
  }
  chained* own{nullptr};
  link* tip{nullptr};
};

/// The fences of two links complete, in any order, while a third thread waits for the newer link and drops it.
struct completion : suite<completion, 3> {
  struct seen : callback {
    explicit seen(completion& of) : callback(&run), owner(of), runs(0) {}
    static void run(callback& self, const fence_outcome&) noexcept {
      auto& own = static_cast<seen&>(self);
      RL_ASSERT(own.owner.of[0]->work.get() == 1 && own.owner.of[1]->work.get() == 1);
      own.runs.set(own.runs.get() + 1);
    }
    completion& owner;
    plain<int> runs;
  };
  void before() {
    for (chained*& each : of) {
      each = new chained(false);
      each->get();
    }
    tip = new link(new link(nullptr, of[0]), of[1]);
    node = new seen(*this);
    tip->state.add(*node, []() noexcept { return std::uint64_t{0}; });
  }
  void thread(unsigned index) {
    if (index == 2) {
      tip->arm();
      tip->put();
    } else {
      of[index]->signal();
    }
  }
  void after() {
    RL_ASSERT(node->runs.get() == 1);
    delete node;
    of[0]->put();
    of[1]->put();
  }
  chained* of[2]{};
  link* tip{nullptr};
  seen* node{nullptr};
};

const registered walkers{"chain", "two walkers collect", 1, &run_suite<two_walkers>};
const registered walker{"chain", "two walkers against a completion", 1, &run_suite<walker_and_completion>};
const registered end{"chain", "completion", 1, &run_suite<completion>};

}  // namespace
}  // namespace paddock::model
