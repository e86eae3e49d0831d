// SPDX-License-Identifier: BSL-1.0
/// \file
/// The mappings of one attachment: those that are mapped, those whose handle outlives that, and one to use again.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/device.hpp>
#include <paddock/buffer/mapping.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// Thread-safety: none; what may be moved or revoked is used under the reservation.
template <device D>
class mapping_list {
 public:
  using record = mapping_record<D>;

  mapping_list() noexcept = default;
  mapping_list(const mapping_list&) = delete;
  mapping_list& operator=(const mapping_list&) = delete;
  /// Requires: nothing is left in it.
  ~mapping_list() { delete spare_; }

  /// One that is not in the list: the last one that was given back, or a new one. Null: out of memory.
  [[nodiscard]] std::unique_ptr<record> take() noexcept {
    return std::unique_ptr<record>(spare_ != nullptr ? std::exchange(spare_, nullptr) : new (std::nothrow) record);
  }
  /// It is mapped from here on.
  record& add(std::unique_ptr<record> made) noexcept {
    made->is_mapped = true;
    made->next = first_;
    first_ = made.release();
    return *first_;
  }
  /// It is mapped no more, and has no handle.
  void give_back(record& gone) noexcept {
    record** at = &first_;
    while (*at != &gone) {
      at = &(*at)->next;
    }
    *at = gone.next;
    keep(std::unique_ptr<record>(&gone));
  }
  /// The same for one that never was in the list.
  void keep(std::unique_ptr<record> gone) noexcept {
    if (spare_ == nullptr) {
      gone->mapped = {};
      spare_ = gone.release();
    }
  }
  /// What is left belongs to its handles, but for what other threads are dropping just now: they leave that to the
  /// holder of the lock, who runs it by `run_left`, until all is gone. Where that is false, since this thread is not
  /// the holder, it goes when it is run. Requires: nothing is mapped.
  template <class RunLeft>
  void leave_to_handles(RunLeft run_left) noexcept {
    while (has_dropped_after_leaving()) {
      if (!run_left()) {
        for (; first_ != nullptr; first_ = first_->next) {
          first_->owner = nullptr;
        }
        return;
      }
      ::sched_yield();
    }
  }

  template <class Visit>
  void for_each_mapped(Visit visit) noexcept {
    for (record* each = first_; each != nullptr; each = each->next) {
      if (each->is_mapped) {
        visit(*each);
      }
    }
  }
  /// A handle is gone, and whoever dropped it is about to say so.
  [[nodiscard]] bool is_being_dropped() const noexcept {
    const record* each = first_;
    while (each != nullptr && each->state.load() != record::link::dropped) {
      each = each->next;
    }
    return each != nullptr;
  }
  /// How many accesses by CPU are open.
  [[nodiscard]] std::uint32_t cpu_accesses() const noexcept {
    std::uint32_t open = 0;
    for (const record* each = first_; each != nullptr; each = each->next) {
      open += each->cpu_accesses.load();
    }
    return open;
  }
  /// The latest that is mapped, or null.
  [[nodiscard]] const record* latest_mapped() const noexcept {
    const record* each = first_;
    while (each != nullptr && !each->is_mapped) {
      each = each->next;
    }
    return each;
  }

 private:
  [[nodiscard]] bool has_dropped_after_leaving() noexcept {
    for (record** at = &first_; *at != nullptr;) {
      record& each = **at;
      record* const next = each.next;
      mapping_owner<D>* const owner = each.owner.exchange(nullptr);
      auto seen = record::link::held;
      if (each.state.compare_exchange_strong(seen, record::link::orphaned)) {
        *at = next;  // Its handle's from here on, and not looked at again.
      } else {
        each.owner = owner;
        at = &each.next;
      }
    }
    return first_ != nullptr;
  }

  record* first_{nullptr};
  record* spare_{nullptr};
};

}  // namespace PADDOCK_NAMESPACE::detail
