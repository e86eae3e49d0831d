// SPDX-License-Identifier: BSL-1.0
/// \file
/// How the links of a fence_chain are walked, collected and waited for; a template for tests/model, as fence/core.hpp.
#pragma once

#include <paddock/fence/outcome.hpp>
#include <paddock/fence/shared_slot.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// One link: the fence of its own, and the slot of the link before it, which empties as links before it finish.
/// Chain is what derives from it: contained() -> Fence&, static from(Fence&) -> Chain*, add_to(Fence&) -> add_outcome,
/// complete(), get(), put().
template <class Traits, class Fence, class Chain>
class chain_core {
 public:
  /// Takes over a reference to the link before, which may be null, or a fence that is no chain.
  explicit chain_core(Fence* previous) noexcept : previous_(previous) {}

  /// The nearest link before this one that is not finished by itself, with a reference that is the caller's, or null.
  /// Finished ones in between are taken out of the chain. Lock-free; any number of threads may walk at once.
  [[nodiscard]] Fence* next_pending() noexcept {
    for (;;) {
      Fence* const previous = previous_.acquire();
      if (previous == nullptr) {
        return nullptr;
      }
      Chain* const link = Chain::from(*previous);
      if (!(link != nullptr ? link->contained().is_signaled() : previous->is_signaled())) {
        return previous;
      }
      Fence* const before = link != nullptr ? link->slot().acquire() : nullptr;
      if (previous_.replace(previous, before)) {
        previous->put();  // The slot's.
      } else if (before != nullptr) {
        before->put();
      }
      previous->put();
    }
  }

  /// Puts the one callback of this link on the newest fence from here back that is pending; when there is none,
  /// completes the link. To be called once, then again by each run of the callback. May free the link.
  void wait_for_next() noexcept {
    Fence* held = nullptr;
    Chain* link = &self();
    for (;;) {
      if (self().add_to(link != nullptr ? link->contained() : *held) == add_outcome::added) {
        // From here on the callback may run elsewhere, and this link be gone.
        drop(held);
        return;
      }
      Fence* const next = link != nullptr ? link->next_pending() : nullptr;
      drop(held);
      if (next == nullptr) {
        if (link != &self()) {
          drop(self().next_pending());  // What finished only under the look at it above: takes it out.
        }
        self().complete();
        self().put();
        return;
      }
      held = next;
      link = Chain::from(*next);
    }
  }

  [[nodiscard]] shared_slot<Traits, Fence>& slot() noexcept { return previous_; }

 private:
  [[nodiscard]] Chain& self() noexcept { return static_cast<Chain&>(*this); }
  static void drop(Fence* held) noexcept {
    if (held != nullptr) {
      held->put();
    }
  }

  shared_slot<Traits, Fence> previous_;
};

}  // namespace PADDOCK_NAMESPACE::detail
