// SPDX-License-Identifier: BSL-1.0
/// \file
/// The lock-free machine inside `fence` and `fence_callback`. It is a template over its atomics, futex, thread identity
/// and memory orders, so that the verifier in tests/model runs this very source, with each order weakened in turn.
/// docs/memory-model.md argues the orders and the progress of each operation.
#pragma once

#include <atomic>
#include <cstdint>

#include <paddock/base/time.hpp>
#include <paddock/fence/outcome.hpp>

namespace PADDOCK_NAMESPACE::detail {

template <class Traits>
class fence_core;
template <class Traits>
class run_queue;

/// The node of one callback: 32 bytes, four words whose meaning follows the stage of the node.
///
///   stage     owner_             older_                              newer_
///   idle      0                  –                                   –
///   queued    the fence          the node added before               the node added after, or null: not filled in yet
///   claimed   signaling thread   the node that runs before, or, for  the node that runs after
///                                the first of a fence, its state word
///   running   signaling thread   the run that called it              the node that runs after, if there was another
///
/// The stage is in the two lowest bits of owner_; claimed and running are told apart in older_, by the thread itself.
template <class Traits>
class alignas(16) callback_node {
 public:
  using callback = typename Traits::callback;
  using function = void (*)(callback&, const fence_outcome&) noexcept;

  explicit callback_node(function run) noexcept : run_(run) {}
  callback_node(const callback_node&) = delete;
  callback_node& operator=(const callback_node&) = delete;
  callback_node(callback_node&&) = delete;
  callback_node& operator=(callback_node&&) = delete;
  ~callback_node() = default;

  /// See fence_callback::retire.
  void retire() noexcept;

 private:
  friend class fence_core<Traits>;
  friend class run_queue<Traits>;
  using order = typename Traits::order;

  static constexpr std::uintptr_t idle = 0;
  static constexpr std::uintptr_t queued = 1;
  static constexpr std::uintptr_t claimed = 2;  ///< Or running.
  static constexpr std::uintptr_t stage_mask = 3;
  static constexpr std::uint64_t run_bit = 2;  ///< In older_, beside the run that called the node.

  [[nodiscard]] static std::uint64_t bits(const callback_node* node) noexcept {
    return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(node));
  }
  // NOLINTBEGIN(performance-no-int-to-ptr): a pointer and its stage share a word, which one exchange replaces.
  [[nodiscard]] static callback_node* node(std::uint64_t bits) noexcept {
    return reinterpret_cast<callback_node*>(static_cast<std::uintptr_t>(bits));
  }
  /// False for the state word that stands in the first node of a fence.
  [[nodiscard]] static bool is_node(std::uint64_t bits) noexcept { return (bits & signaled_word::signaled) == 0; }
  [[nodiscard]] callback_node* older() const noexcept { return node(older_.load(order::link)); }
  [[nodiscard]] static bool is_claimed_here(std::uintptr_t owner) noexcept {
    return owner == (Traits::self() | claimed);
  }
  /// The run that is calling this node, or null: its turn is still to come. Requires: is_claimed_here().
  [[nodiscard]] run_queue<Traits>* called_by() const noexcept {
    const std::uint64_t bits = older_.load(order::link);
    const bool called = (bits & (signaled_word::signaled | run_bit)) == run_bit;
    return called ? reinterpret_cast<run_queue<Traits>*>(static_cast<std::uintptr_t>(bits & ~run_bit)) : nullptr;
  }
  [[nodiscard]] static fence_core<Traits>& queued_on(std::uintptr_t owner) noexcept {
    return *reinterpret_cast<fence_core<Traits>*>(owner & ~stage_mask);
  }
  // NOLINTEND(performance-no-int-to-ptr)

  function run_;
  typename Traits::template atomic<std::uintptr_t> owner_{idle};
  typename Traits::template atomic<std::uint64_t> older_{0};
  typename Traits::template plain<callback_node*> newer_{nullptr};
};

/// The callbacks that a thread has to run: those of the fence that it signals, then those of the fences that it signals
/// inside callbacks, so that a chain of completions takes constant stack. A ring through `end_`, touched by its own
/// thread only; a callback that is the only one of its fence never enters it.
template <class Traits>
class run_queue {
 public:
  using node = callback_node<Traits>;
  using order = typename Traits::order;

  /// Takes the callbacks of a fence, newest first, of which this thread has just become the signaler, and runs them, or
  /// leaves them to the run that this call is inside of.
  [[gnu::noinline]] static void run(node* newest, std::uint64_t word) noexcept {
    run_queue*& current = Traits::queue();
    if (current != nullptr) {
      current->append(newest, word);
      return;
    }
    run_queue queue;
    current = &queue;
    if (newest->older() == nullptr) {
      newest->owner_.store(Traits::self() | node::claimed, order::claim);
      queue.call(*newest, signaled_word::outcome(word));
      if (queue.left_) [[unlikely]] {
        queue.left_ = false;
      } else {
        newest->owner_.store(node::idle, order::done);  // As in run_all().
      }
    } else {
      queue.append(newest, word);
    }
    if (queue.end_.newer_.get() != nullptr) {
      queue.run_all();
    }
    current = nullptr;
  }

  /// Takes out a node that this thread claimed and did not run yet. One step, save for the first node of a fence that
  /// was signaled inside a callback: nobody knows its predecessor, so the ring is walked.
  static void take_out(node& gone) noexcept {
    node* const next = gone.newer_.get();
    std::uint64_t before = gone.older_.load(order::link);
    if (node::is_node(before)) {
      node::node(before)->newer_.set(next);
    } else {
      node* previous = next;
      while (previous->newer_.get() != &gone) {
        previous = previous->newer_.get();
      }
      previous->newer_.set(next);
      if (next->run_ == nullptr) {
        before = node::bits(previous);  // The end of the ring has no use for the word, but for its predecessor.
      }
    }
    if (next->older() == &gone) {
      next->older_.store(before, order::link);
    }
    // order: done, a release: somebody may wait for the end of this node, and free it.
    gone.owner_.store(node::idle, order::done);
  }

 private:
  friend class fence_core<Traits>;
  friend class callback_node<Traits>;

  run_queue() noexcept : end_(nullptr) {}

  [[gnu::noinline]] void append(node* newest, std::uint64_t word) noexcept {
    if (end_.newer_.get() == nullptr) {  // The ring is closed when it is needed: most runs are of one callback.
      end_.older_.store(node::bits(&end_), order::link);
      end_.newer_.set(&end_);
    }
    const std::uintptr_t owner = Traits::self() | node::claimed;
    node* next = &end_;
    for (node* n = newest;;) {
      node* const older = n->older();
      n->newer_.set(next);
      n->owner_.store(owner, order::claim);
      next = n;
      if (older == nullptr) {
        n->older_.store(word, order::link);
        break;
      }
      n = older;
    }
    end_.older()->newer_.set(next);
    end_.older_.store(node::bits(newest), order::link);
  }

  /// The node that is called stays the first of the ring until it has returned.
  [[gnu::noinline]] void run_all() noexcept {
    fence_outcome outcome;
    for (node* n = end_.newer_.get(); n != &end_; n = end_.newer_.get()) {
      const std::uint64_t before = n->older_.load(order::link);
      if (!node::is_node(before)) {
        outcome = signaled_word::outcome(before);
      }
      call(*n, outcome);
      if (left_) [[unlikely]] {
        left_ = false;
        continue;
      }
      // The older_ of the next one, be it the end, still leads here. Nobody follows it: the next one is called at once,
      // and behind the last one the run ends.
      end_.newer_.set(n->newer_.get());
      // order: done, a release: whoever sees the node idle sees all that the callback did, and may free the node.
      n->owner_.store(node::idle, order::done);
    }
  }

  /// Requires: the node is claimed.
  void call(node& n, const fence_outcome& outcome) noexcept {
    n.older_.store(called_by_this(), order::link);
    n.run_(static_cast<typename Traits::callback&>(n), outcome);
  }

  /// The node that is called is not this run's any more: it is retired, or about to be queued anew. True if it has left
  /// the ring; one that is the only one of its fence was never in it.
  bool leave(node& called) noexcept {
    left_ = true;
    if (end_.newer_.get() != &called) {
      return false;
    }
    node* const next = called.newer_.get();
    end_.newer_.set(next);
    if (next->older() == &called) {
      next->older_.store(node::bits(&end_), order::link);
    }
    return true;
  }
  /// Takes back leave(), which returned `was_in_ring`.
  void rejoin(node& called, bool was_in_ring) noexcept {
    left_ = false;
    called.older_.store(called_by_this(), order::link);
    if (was_in_ring) {
      node* const next = end_.newer_.get();
      if (next->older() == &end_) {
        next->older_.store(node::bits(&called), order::link);
      }
      called.newer_.set(next);
      end_.newer_.set(&called);
    }
  }

  /// What older_ holds of the node that is called.
  [[nodiscard]] std::uint64_t called_by_this() const noexcept {
    return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(this)) | node::run_bit;
  }

  /// Not a callback: newer_ is the node that is called, or else the first to run, older_ the last, once append() was
  /// called.
  node end_;
  bool left_{false};  ///< The node that is called is not the run's any more: it was retired, or queued anew.
};

/// The state of a fence: one word, and a count of references.
///
///   pending    bit 0 = 0, the newest node, and the three bits below
///   signaled   bit 0 = 1, see signaled_word
template <class Traits>
class fence_core {
 public:
  using node = callback_node<Traits>;
  using order = typename Traits::order;

  /// `armed`: there is nothing to enable. `tag` is the owner's, who finds four bytes of room here.
  fence_core(bool armed, std::uint32_t tag) noexcept : state_(armed ? armed_bit : 0), tag_(tag) {}
  /// A complete fence.
  fence_core(std::uint64_t word, std::uint32_t tag) noexcept : state_(word), tag_(tag) {}

  [[nodiscard]] std::uint32_t tag() const noexcept { return tag_; }

  /// The state word; a signaled_word when bit 0 is set.
  [[nodiscard]] std::uint64_t word() const noexcept {
    // order: status, an acquire: pairs with the release in complete(): what the signaler did before is seen.
    return state_.load(order::status);
  }
  [[nodiscard]] static bool is_signaled(std::uint64_t word) noexcept { return (word & signaled_word::signaled) != 0; }
  [[nodiscard]] bool is_signaled() const noexcept { return is_signaled(word()); }

  /// Whether it is pending without a callback. Requires: the caller owns the fence alone.
  [[nodiscard]] bool is_unobserved() const noexcept { return (word() & (node_mask | signaled_word::signaled)) == 0; }

  /// Becomes complete with `word`, wakes sleepers, runs the callbacks. False: it was complete already. Once the word is
  /// exchanged the fence is not touched again: a waiter may free it.
  bool complete(std::uint64_t word) noexcept {
    Traits::about_to_write(&state_);
    // order: complete_look, relaxed: only a guess for the exchange.
    std::uint64_t seen = state_.load(order::complete_look);
    for (unsigned round = 0;;) {
      if (is_signaled(seen)) {
        return false;
      }
      if ((seen & removing_bit) != 0) {
        Traits::backoff(round++);
        seen = state_.load(order::complete_look);
        continue;
      }
      // order: complete, acquire and release: publishes error, time and what was done before; sees the nodes that were
      // added and the links as the last remover left them.
      if (state_.compare_exchange_weak(seen, word, order::complete, order::complete_look)) {
        break;
      }
    }
    if ((seen & sleeper_bit) != 0) {
      Traits::wake(&state_);
    }
    if (node* const newest = node::node(seen & node_mask); newest != nullptr) {
      run_queue<Traits>::run(newest, word);
    }
    return true;
  }

  /// Calls `enable` if nobody has been interested before. It returns the word to complete with, or 0 to stay pending.
  template <class Enable>
  [[gnu::noinline]] void arm(Enable enable) noexcept {
    std::uint64_t seen = state_.load(order::add_look);
    while ((seen & (signaled_word::signaled | armed_bit)) == 0) {
      // order: add_look for the failure's sake; the success needs none: the bit is set once, and publishes nothing.
      if (state_.compare_exchange_weak(seen, seen | armed_bit, order::add_look, order::add_look)) {
        if (const std::uint64_t done = enable(); done != 0) {
          complete(done);
        }
        return;
      }
    }
  }

  template <class Enable>
  add_outcome add(node& added, Enable enable) noexcept {
    Traits::about_to_write(&state_);
    // order: add_look, an acquire: "already signaled" also means that error and effects of the work are seen.
    std::uint64_t seen = state_.load(order::add_look);
    if ((seen & (signaled_word::signaled | armed_bit)) != armed_bit) {
      if (!is_signaled(seen)) {
        arm(enable);
        seen = state_.load(order::add_look);
      }
      if (is_signaled(seen)) {
        return add_outcome::already_signaled;
      }
    }
    // Inside its own callback the node leaves the run that called it.
    const std::uintptr_t owner = added.owner_.load(order::link);
    run_queue<Traits>* const run = node::is_claimed_here(owner) ? added.called_by() : nullptr;
    const bool was_in_ring = run != nullptr && run->leave(added);
    added.newer_.set(nullptr);
    // order: queue, a release: who retires the node meanwhile finds it and this fence as they are here.
    added.owner_.store(queued_here(), order::queue);
    added.older_.store(seen & node_mask, order::link);
    // order: add, a release: publishes the node to the signaler, and to removers of its neighbours.
    if (state_.compare_exchange_weak(seen, node::bits(&added) | (seen & ~node_mask), order::add, order::add_look))
        [[likely]] {
      return add_outcome::added;
    }
    return add_contended(added, seen, owner, run, was_in_ring);
  }

  remove_outcome remove(node& gone) noexcept { return try_remove(gone) ? remove_outcome::removed : settle(gone); }

  /// Takes the node out if this fence is pending and has it. Does not wait for callbacks.
  bool try_remove(node& gone) noexcept {
    Traits::about_to_write(&state_);
    // order: remove_look, an acquire: the link of the node as the last remover left it.
    std::uint64_t seen = state_.load(order::remove_look);
    for (unsigned round = 0, lost = 0;;) {
      // order: relaxed; it is this fence's only as long as the state says "pending", which the exchanges check.
      if (is_signaled(seen) || gone.owner_.load(order::link) != queued_here()) {
        return false;
      }
      if ((seen & removing_bit) != 0) {
        Traits::backoff(round++);
        seen = state_.load(order::remove_look);
        continue;
      }
      if ((seen & node_mask) == node::bits(&gone) && gone.older() == nullptr) {
        // Alone. A node that has no older one never gets one while it is queued, so nothing else needs to hold still.
        // order: remove_alone, an acquire: a remover that took out the neighbours is done with this node.
        if (state_.compare_exchange_weak(seen, seen & ~node_mask, order::remove_alone, order::remove_look)) {
          break;
        }
        seen = let_winner_go_on(seen, lost++);
        continue;
      }
      // order: lock_list, an acquire: pairs with the adders' releases and with unlock_list.
      if (state_.compare_exchange_weak(seen, seen | removing_bit, order::lock_list, order::remove_look)) {
        if (!unlink(gone, seen | removing_bit)) {
          return false;
        }
        break;
      }
      seen = let_winner_go_on(seen, lost++);
    }
    // order: done, a release: another remover of the same node, which is told that it ran, may free it.
    gone.owner_.store(node::idle, order::done);
    return true;
  }

  /// Sleeps until completion; false when the deadline passed first.
  [[nodiscard]] bool sleep_until(deadline until) noexcept {
    std::uint64_t seen = state_.load(order::status);
    while (!is_signaled(seen)) {
      if ((seen & sleeper_bit) == 0) {
        // order: status for the failure's sake; the success needs none: the futex compares the word again, and the
        // signaler's exchange reads this bit or comes first.
        if (!state_.compare_exchange_weak(seen, seen | sleeper_bit, order::status, order::status)) {
          continue;
        }
        seen |= sleeper_bit;
      }
      const bool in_time = Traits::sleep(state_, seen, until);
      seen = state_.load(order::status);
      if (!in_time && !is_signaled(seen)) {
        return false;
      }
    }
    return true;
  }

  void get() noexcept {
    // order: get, relaxed: a reference is made from one that is held, so nothing has to be seen.
    references_.fetch_add(1, order::get);
  }

  /// Whether the caller's reference is the only one.
  [[nodiscard]] bool is_only_reference() const noexcept {
    // order: put_look, as in put_is_last().
    return references_.load(order::put_look) == 1;
  }

  /// True for the last one, whose caller owns the fence alone.
  [[nodiscard]] bool put_is_last() noexcept {
    // order: put_look, an acquire: who holds the only reference shares with nobody; sees the use of those who put
    // theirs.
    if (is_only_reference()) {
      return true;
    }
    // order: put, acquire and release: puts this thread's use before the end, and shows the last one that of all
    // others.
    if (references_.fetch_sub(1, order::put) != 1) {
      return false;
    }
    references_.store(1, order::get);  // For get() and put() in the callbacks of an abandoned fence.
    return true;
  }

 private:
  friend class callback_node<Traits>;

  static constexpr std::uint64_t sleeper_bit = 2;   ///< Somebody has slept on the word: a signaler wakes.
  static constexpr std::uint64_t removing_bit = 4;  ///< A remover has the links; adders go on, all others spin.
  static constexpr std::uint64_t armed_bit = 8;     ///< enable_signaling has been called, or there is none.
  static constexpr std::uint64_t node_mask = ~std::uint64_t{15};
  static_assert((signaled_word::signaled | sleeper_bit | removing_bit | armed_bit) == ~node_mask);

  [[nodiscard]] std::uintptr_t queued_here() const noexcept {
    return reinterpret_cast<std::uintptr_t>(this) | node::queued;
  }

  /// After an exchange that an adder or a remover lost, for the `lost`th time, to who left `seen`: the winner is likely
  /// to go on, and goes on faster with the line to itself. Once only, so that nobody starves. Returns the state then.
  [[gnu::noinline]] std::uint64_t let_winner_go_on(std::uint64_t seen, unsigned lost) noexcept {
    if (lost > 0 || is_signaled(seen)) {
      return seen;
    }
    Traits::pause_for_line();
    Traits::about_to_write(&state_);
    return state_.load(order::remove_look);
  }

  /// The rest of add() once an exchange was lost. `owner` is what the node had in owner_, `run` what had called it.
  [[gnu::noinline]] add_outcome add_contended(node& added, std::uint64_t seen, std::uintptr_t owner,
                                              run_queue<Traits>* run, bool was_in_ring) noexcept {
    seen = let_winner_go_on(seen, 0);
    do {
      if (is_signaled(seen)) {
        if (run != nullptr) {
          run->rejoin(added, was_in_ring);
        }
        added.owner_.store(owner, order::link);
        return add_outcome::already_signaled;
      }
      added.older_.store(seen & node_mask, order::link);
      // order: add, as the first time.
    } while (
        !state_.compare_exchange_weak(seen, node::bits(&added) | (seen & ~node_mask), order::add, order::add_look));
    return add_outcome::added;
  }

  /// Takes the node out of the links and gives them free; false: another remover of the same node was faster.
  /// Requires: this thread set removing_bit; `seen` is the state.
  [[gnu::noinline]] bool unlink(node& gone, std::uint64_t seen) noexcept {
    while ((seen & node_mask) == node::bits(&gone)) {
      // The newest: unlinked and given free in one exchange, unless a newer one is added meanwhile.
      node* const older = gone.older();
      if (older != nullptr) {
        older->newer_.set(nullptr);
      }
      // order: unlock_list, a release: the next remover or the signaler sees the links as they are now.
      if (state_.compare_exchange_weak(seen, node::bits(older) | (seen & (sleeper_bit | armed_bit)), order::unlock_list,
                                       order::remove_look)) {
        return true;
      }
    }
    if (gone.newer_.get() == nullptr) {
      fill_newer(node::node(seen & node_mask));
    }
    // A node that left the list has no newer one, and is not found by the walk.
    node* const newer = gone.newer_.get();
    if (newer != nullptr) {
      node* const older = gone.older();
      newer->older_.store(node::bits(older), order::link);
      if (older != nullptr) {
        older->newer_.set(newer);
      }
      gone.newer_.set(nullptr);
    }
    state_.fetch_and(~removing_bit, order::unlock_list);
    return newer != nullptr;
  }

  /// Fills in the links to the newer neighbours, from the newest down to the first node that has one: each node is
  /// filled in once after it was added or became the newest, so that a removal costs O(1) amortised.
  static void fill_newer(node* newest) noexcept {
    while (newest != nullptr) {
      node* const older = newest->older();
      if (older == nullptr || older->newer_.get() != nullptr) {
        return;
      }
      older->newer_.set(newest);
      newest = older;
    }
  }

  /// The answer for a node that is not in this fence's list any more.
  [[gnu::noinline]] remove_outcome settle(node& gone) noexcept {
    for (unsigned round = 0;; Traits::backoff(round++)) {
      // order: settle, an acquire: pairs with `done`: the callback has finished, and its effects are seen.
      const std::uintptr_t owner = gone.owner_.load(order::settle);
      if (owner == node::idle || ((owner & node::stage_mask) == node::queued && owner != queued_here())) {
        return remove_outcome::ran;
      }
      if (node::is_claimed_here(owner)) {
        if (gone.called_by() != nullptr) {
          return remove_outcome::running_here;
        }
        run_queue<Traits>::take_out(gone);
        return remove_outcome::removed;
      }
    }
  }

  typename Traits::template atomic<std::uint64_t> state_;
  typename Traits::template atomic<std::uint32_t> references_{1};
  const std::uint32_t tag_;
};

template <class Traits>
void callback_node<Traits>::retire() noexcept {
  // Again and again: a callback that runs elsewhere may queue the node on another fence before it returns.
  for (unsigned round = 0;;) {
    const std::uintptr_t owner = owner_.load(order::settle);
    switch (owner & stage_mask) {
      case idle: return;
      case queued:
        if (!queued_on(owner).try_remove(*this)) {
          Traits::backoff(round++);  // About to be added there, or to run.
        }
        break;
      default:
        if (!is_claimed_here(owner)) {
          Traits::backoff(round++);
        } else if (run_queue<Traits>* const run = called_by(); run != nullptr) {
          run->leave(*this);
          // order: done, a release: another thread that finds the node idle may use it anew. A second call here finds
          // nothing that runs.
          owner_.store(idle, order::done);
        } else {
          run_queue<Traits>::take_out(*this);
        }
    }
  }
}

}  // namespace PADDOCK_NAMESPACE::detail
