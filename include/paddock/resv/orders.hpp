// SPDX-License-Identifier: BSL-1.0
/// \file
/// Every memory order of the reservations' cores, by name: docs/memory-model.md says of each what it pairs with and why
/// nothing weaker does, and tests/model weakens each in turn and shows that something breaks.
#pragma once

#include <atomic>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// resv/ww_mutex.hpp
struct lock_orders {
  static constexpr auto take = std::memory_order_acquire;       // order: with leave: what the last owner did is seen
  static constexpr auto leave = std::memory_order_release;      // order: with take and see
  static constexpr auto see = std::memory_order_acquire;        // order: with leave: the last owner's stamp is gone
  static constexpr auto turn_look = std::memory_order_acquire;  // order: with turn: what it was raised for is seen
  static constexpr auto turn = std::memory_order_release;       // order: with turn_look
  static constexpr auto clear = std::memory_order_release;      // order: with the fence of who goes to sleep
  static constexpr auto waiting = std::memory_order_relaxed;    // order: none: the fence after it, or the lock
  static constexpr auto look = std::memory_order_relaxed;       // order: none: a guess for the exchange
  static constexpr auto stamp = std::memory_order_relaxed;      // order: none: take, leave and see carry it
};

/// resv/reader_domain.hpp
struct reader_orders {
  static constexpr auto enter = std::memory_order_release;       // order: with scan: as exit, of the visit before
  static constexpr auto exit = std::memory_order_release;        // order: with scan: the reader is done
  static constexpr auto scan = std::memory_order_acquire;        // order: with exit
  static constexpr auto epoch_look = std::memory_order_acquire;  // order: with epoch: what was taken out is not seen
  static constexpr auto epoch = std::memory_order_acq_rel;       // order: with epoch_look
  static constexpr auto join = std::memory_order_release;        // order: with records: the record is made
  static constexpr auto records = std::memory_order_acquire;     // order: with join
  static constexpr auto crowd = std::memory_order_acq_rel;       // order: with itself, as exit with scan
  static constexpr auto guess = std::memory_order_relaxed;       // order: none: the exchange after it decides
};

/// resv/fence_list.hpp
struct list_orders {
  static constexpr auto publish = std::memory_order_release;  // order: with see: the fence, or the block, is made
  static constexpr auto see = std::memory_order_acquire;      // order: with publish
  static constexpr auto own = std::memory_order_relaxed;      // order: none: read by the lock's owner, who wrote it
};

}  // namespace PADDOCK_NAMESPACE::detail
