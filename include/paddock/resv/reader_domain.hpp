// SPDX-License-Identifier: BSL-1.0
/// \file
/// When what a reader may still see can go: readers without a lock say when they enter and leave, writers keep what
/// they took out until all who might have seen it have left. A reader pays two stores of its own line and no locked
/// instruction: the barrier that this leaves out is taken by the writer for all threads at once (membarrier), for many
/// objects together.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// What one thread says to one domain. Never freed; a thread that ends leaves it to another one.
template <class Traits>
struct alignas(64) reader_record {                             // Another thread writes its neighbour.
  typename Traits::template atomic<std::uint64_t> entered{0};  ///< The epoch when it entered; 0: it is outside.
  typename Traits::template atomic<bool> taken{true};          ///< By a thread that lives.
  unsigned depth{0};                                           ///< Of the thread's own guards.
  reader_record* next{nullptr};
};

/// All reservations that one shared object makes are of one domain.
template <class Traits>
class reader_domain {
 public:
  using record = reader_record<Traits>;
  using order = typename Traits::reader_order;

  /// `id`: another one for each domain of the process.
  explicit reader_domain(std::uint64_t id) noexcept : id_(id), asymmetric_(Traits::register_heavy_fence()) {}
  reader_domain(const reader_domain&) = delete;
  reader_domain& operator=(const reader_domain&) = delete;

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  /// Whether Traits::heavy_fence() is a fence of all threads.
  [[nodiscard]] bool is_asymmetric() const noexcept { return asymmetric_; }

  /// A reader enters. Its thread's record, or null where there is none: then it is one of a crowd, which costs two
  /// locked instructions, and nothing is freed while it reads.
  [[nodiscard]] record* enter() noexcept {
    record* const own = Traits::record_in(*this);
    if (own == nullptr) {
      // order: crowd, acquire and release: as a record's enter and exit; the fence below is for its other half.
      crowd_.fetch_add(1, order::crowd);
      Traits::full_fence();
    } else if (own->depth++ == 0) {
      // order: epoch_look, an acquire: who reads an epoch does not see what was taken out before it began.
      // order: enter, a release: who finds this visit knows that the reads of the one before are over.
      own->entered.store(epoch_.load(order::epoch_look), order::enter);
      // Either the writer's scan sees that this thread is inside, or this thread does not see what was taken out.
      Traits::light_fence(asymmetric_);
    }
    return own;
  }
  void leave(record* own) noexcept {
    if (own == nullptr) {
      crowd_.fetch_sub(1, order::crowd);
    } else if (--own->depth == 0) {
      // order: exit, a release: the reads come before it.
      own->entered.store(0, order::exit);
    }
  }

  /// For objects that are out of readers' sight since before this call: when has_left() of the answer, they can go.
  /// 0: they cannot be told from those that are in sight, and have to stay.
  [[nodiscard]] std::uint64_t stamp() noexcept {
    // Most programs have no such readers, and an interrupt of all their threads for nothing would be dear: either this
    // finds the first reader's record, or that reader's first look comes after this.
    Traits::full_fence();
    if (records_.load(order::records) != nullptr && !Traits::heavy_fence(asymmetric_)) {
      return 0;
    }
    // order: epoch, acquire and release: carries what was taken out to those who read the new epoch.
    return epoch_.fetch_add(1, order::epoch) + 1;
  }
  /// Whether everybody is outside who was inside when the stamp was made.
  [[nodiscard]] bool has_left(std::uint64_t stamp) const noexcept {
    if (crowd_.load(order::scan) != 0) {
      return false;
    }
    // order: records, an acquire: the record is seen as it was made.
    for (record* each = records_.load(order::records); each != nullptr; each = each->next) {
      // order: scan, an acquire: with exit: the reads are over.
      if (const std::uint64_t entered = each->entered.load(order::scan); entered != 0 && entered < stamp) {
        return false;
      }
    }
    return true;
  }

  /// A record for a thread that has none here. Null: out of memory.
  [[nodiscard]] record* join() noexcept {
    for (record* each = records_.load(order::records); each != nullptr; each = each->next) {
      bool taken = false;
      // order: records, an acquire: what the last thread left there is seen.
      if (each->taken.compare_exchange_strong(taken, true, order::records, order::guess)) {
        return each;
      }
    }
    auto* const made = new (std::nothrow) record;
    if (made != nullptr) {
      made->next = records_.load(order::guess);
      // order: join, a release: the record is made.
      while (!records_.compare_exchange_weak(made->next, made, order::join, order::guess)) {
      }
      Traits::full_fence();  // For stamp().
    }
    return made;
  }
  /// The thread ends. Requires: it is outside.
  static void part(record* own) noexcept { own->taken.store(false, order::join); }

 private:
  const std::uint64_t id_;
  const bool asymmetric_;
  typename Traits::template atomic<std::uint64_t> epoch_{1};
  typename Traits::template atomic<std::uint64_t> crowd_{0};
  typename Traits::template atomic<record*> records_{nullptr};
};

}  // namespace PADDOCK_NAMESPACE::detail
