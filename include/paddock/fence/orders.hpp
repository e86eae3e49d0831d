// SPDX-License-Identifier: BSL-1.0
/// \file
/// Every memory order of the fence room, by name: docs/memory-model.md says of each what it pairs with and why nothing
/// weaker does, and tests/model weakens each in turn and shows that something breaks.
#pragma once

#include <atomic>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// fence/core.hpp
struct fence_orders {
  static constexpr auto status = std::memory_order_acquire;  // order: with complete: who sees "signaled" sees the work
  static constexpr auto complete =
      std::memory_order_acq_rel;  // order: with status (release), add and unlock_list (acquire)
  static constexpr auto complete_look = std::memory_order_relaxed;  // order: none: a guess for the exchange
  static constexpr auto add = std::memory_order_release;       // order: with complete and lock_list: the node is seen
  static constexpr auto queue = std::memory_order_release;     // order: with settle: the fence and the links are seen
  static constexpr auto add_look = std::memory_order_acquire;  // order: with complete, as status
  static constexpr auto remove_look = std::memory_order_acquire;   // order: with complete and unlock_list
  static constexpr auto remove_alone = std::memory_order_acquire;  // order: with unlock_list: the last remover is done
  static constexpr auto lock_list = std::memory_order_acquire;    // order: with add and unlock_list: the links are seen
  static constexpr auto unlock_list = std::memory_order_release;  // order: with lock_list, remove_alone and complete
  static constexpr auto settle = std::memory_order_acquire;       // order: with done: the callback has finished
  static constexpr auto claim = std::memory_order_relaxed;        // order: none: only tells threads apart
  static constexpr auto done = std::memory_order_release;         // order: with settle: the node may be freed
  static constexpr auto link = std::memory_order_relaxed;         // order: none: under removing_bit, or by the owner
  static constexpr auto get = std::memory_order_relaxed;          // order: none: made from a reference that is held
  static constexpr auto put = std::memory_order_acq_rel;          // order: with itself and put_look: all uses are over
  static constexpr auto put_look = std::memory_order_acquire;     // order: with put
};

/// fence/shared_slot.hpp
struct slot_orders {
  static constexpr auto borrow = std::memory_order_acquire;     // order: with publish: the object is seen
  static constexpr auto replaced = std::memory_order_acquire;   // order: with publish: references given are counted
  static constexpr auto give_back = std::memory_order_release;  // order: with publish: get() comes before the last put
  static constexpr auto publish = std::memory_order_acq_rel;    // order: with borrow and give_back
  static constexpr auto slot_look = std::memory_order_relaxed;  // order: none: a guess for the exchange
};

/// fence/array_core.hpp
struct array_orders {
  static constexpr auto added = std::memory_order_acq_rel;        // order: with itself: adding and taking back
  static constexpr auto first_error = std::memory_order_relaxed;  // order: none: member_done carries it
  static constexpr auto member_done = std::memory_order_acq_rel;  // order: with itself: the last sees all errors
};

/// fence/timeline_core.hpp. "Raise, then look" against "join, then see whether it is due" needs one order of all four.
struct timeline_orders {
  static constexpr auto raise = std::memory_order_seq_cst;         // order: with join and due; with reached
  static constexpr auto look = std::memory_order_seq_cst;          // order: with join
  static constexpr auto join = std::memory_order_seq_cst;          // order: with look; with take_waiters
  static constexpr auto due = std::memory_order_seq_cst;           // order: with raise
  static constexpr auto epoch = std::memory_order_release;         // order: with epoch_look
  static constexpr auto epoch_look = std::memory_order_acquire;    // order: with epoch: its point is seen
  static constexpr auto reached = std::memory_order_acquire;       // order: with raise: the work is seen
  static constexpr auto take_waiters = std::memory_order_acquire;  // order: with join: the waiter is seen
  static constexpr auto value_look = std::memory_order_relaxed;    // order: none: a guess for the exchange
};

}  // namespace PADDOCK_NAMESPACE::detail
