// SPDX-License-Identifier: BSL-1.0
/// \file
/// A place that holds a counted reference and is read and replaced by several threads, without a lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// A word of 48 bits of pointer and 16 bits of loans ("split reference counts"): a reader takes a loan in one step with
/// the pointer, so the object cannot go before the reader has a reference of its own; who replaces the pointer first
/// gives the object one reference for each loan, which its borrower then finds in the object instead of in the word.
/// Requires: user addresses of at most 48 bits, which is what Linux hands out unasked.
template <class Traits, class T>
class shared_slot {
 public:
  using order = typename Traits::slot_order;

  /// Takes over a reference.
  explicit shared_slot(T* owned) noexcept : word_(word(owned)) {}
  shared_slot(const shared_slot&) = delete;
  shared_slot& operator=(const shared_slot&) = delete;

  /// The object with one more reference, which is the caller's; may be null. Lock-free.
  [[nodiscard]] T* acquire() noexcept {
    // order: borrow: also who finds nothing sees what was done before the slot was emptied: in a chain, that all the
    // work before this link is finished.
    if (pointer(word_.load(order::borrow)) == nullptr) {
      return nullptr;
    }
    T* const held = pointer(word_.fetch_add(one_loan, order::borrow));
    if (held != nullptr) {
      held->get();
    }
    // order: replaced, an acquire: pairs with publish: the references that replace() gave come before the put below.
    std::uint64_t seen = word_.load(order::replaced);
    while (pointer(seen) == held && seen >= one_loan) {
      if (word_.compare_exchange_weak(seen, seen - one_loan, order::give_back, order::replaced)) {
        return held;
      }
    }
    // Replaced meanwhile: the loan has become a reference of the object.
    if (held != nullptr) {
      held->put();
    }
    return held;
  }

  /// Replaces `expected`, which the caller has a reference of, by `desired`. On success the slot owns the caller's
  /// reference to `desired`, and the caller the slot's to `expected`. Lock-free.
  [[nodiscard]] bool replace(T* expected, T* desired) noexcept {
    std::uint64_t seen = word_.load(order::slot_look);
    while (pointer(seen) == expected) {
      const std::uint64_t loans = expected == nullptr ? 0 : seen / one_loan;
      for (std::uint64_t i = 0; i < loans; ++i) {
        expected->get();
      }
      if (word_.compare_exchange_weak(seen, word(desired), order::publish, order::slot_look)) {
        return true;
      }
      for (std::uint64_t i = 0; i < loans; ++i) {
        expected->put();
      }
    }
    return false;
  }

  /// The reference of the slot, which becomes empty. Requires: no other thread uses it.
  [[nodiscard]] T* take() noexcept {
    T* const held = pointer(word_.load(order::slot_look));
    word_.store(0, order::slot_look);
    return held;
  }

 private:
  static constexpr unsigned pointer_bits = 48;
  static constexpr std::uint64_t one_loan = std::uint64_t{1} << pointer_bits;

  [[nodiscard]] static std::uint64_t word(T* object) noexcept {
    return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(object));
  }
  [[nodiscard]] static T* pointer(std::uint64_t word) noexcept {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the pointer and its loans share a word.
    return reinterpret_cast<T*>(static_cast<std::uintptr_t>(word & (one_loan - 1)));
  }

  typename Traits::template atomic<std::uint64_t> word_;
};

}  // namespace PADDOCK_NAMESPACE::detail
