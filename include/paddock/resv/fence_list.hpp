// SPDX-License-Identifier: BSL-1.0
/// \file
/// The fences of a reservation: changed under its lock, read by anybody at any time.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>

#include <paddock/resv/reader_domain.hpp>
#include <paddock/resv/usage.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// Slots in one block. A fence that is done, or that a later one of its context makes superfluous, is replaced in its
/// slot; when the slots are used up a new block takes the place of the old one. What leaves waits until no reader can
/// see it (reader_domain), many at a time. Fence is what a reference counts: get(), put(), is_signaled(), context(),
/// is_later_than().
template <class Traits, class Fence>
class fence_list {
 public:
  using domain = reader_domain<Traits>;
  using order = typename Traits::list_order;

  explicit fence_list(domain& readers) noexcept : domain_(&readers) {}
  fence_list(const fence_list&) = delete;
  fence_list& operator=(const fence_list&) = delete;
  /// Requires: no reader is inside. What runs as the fences are dropped may look, and finds nothing.
  ~fence_list() {
    if (block* const last = block_.load(order::own); last != nullptr) {
      block_.store(nullptr, order::own);
      for (std::uint32_t i = 0; i < last->count.load(order::own); ++i) {
        fence_of(last->slot(i).load(order::own))->put();
      }
      block::destroy(last);
    }
    for (std::uint32_t i = 0; i < retired_count_; ++i) {
      drop(retired_[i]);
    }
    delete[] retired_;
  }

  // --- with the lock held ------------------------------------------------------------------------------------------

  /// Room for `more` fences on top of what was reserved before. False: out of memory, and nothing has changed.
  [[nodiscard]] bool reserve(std::uint32_t more) noexcept {
    collect_if_many();
    block* const present = block_.load(order::own);
    const std::uint32_t count = present != nullptr ? present->count.load(order::own) : 0;
    const std::uint32_t slots = present != nullptr ? present->size : 0;
    const std::uint64_t wanted = std::uint64_t{reserved_} + more;
    if (wanted > most_slots || !room_to_retire(static_cast<std::uint32_t>(wanted))) {
      return false;
    }
    if (count + wanted > slots && !grow(static_cast<std::uint32_t>(wanted))) {
      return false;
    }
    reserved_ = static_cast<std::uint32_t>(wanted);
    return true;
  }
  [[nodiscard]] std::uint32_t reserved() const noexcept { return reserved_; }
  /// A reservation of room ends with the lock.
  void forget_reserved() noexcept {
    if (reserved_ != 0) {  // A store would have to be over before the lock is left.
      reserved_ = 0;
    }
  }

  /// Takes over a reference, and one of the slots that were reserved. Requires: reserved() > 0.
  void add(Fence& added, usage as) noexcept {
    --reserved_;
    block& present = *block_.load(order::own);
    const std::uint32_t count = present.count.load(order::own);
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint64_t word = present.slot(i).load(order::own);
      Fence& old = *fence_of(word);
      const bool superfluous = old.context() == added.context() && usage_in(word) >= as && !old.is_later_than(added);
      if (superfluous || old.is_signaled()) {
        // order: publish, a release: the fence is made.
        present.slot(i).store(word_of(added, as), order::publish);
        retire(word & ~usage_mask);
        return;
      }
    }
    present.slot(count).store(word_of(added, as), order::publish);
    // order: publish: the slot is filled.
    present.count.store(count + 1, order::publish);
  }

  /// Each fence of that context becomes this one. False: out of memory, and nothing has changed.
  [[nodiscard]] bool replace(std::uint64_t context, Fence& by, usage as) noexcept {
    collect_if_many();
    block* const present = block_.load(order::own);
    const std::uint32_t count = present != nullptr ? present->count.load(order::own) : 0;
    if (!room_to_retire(reserved_ + count)) {
      return false;
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint64_t word = present->slot(i).load(order::own);
      if (fence_of(word)->context() == context) {
        by.get();
        // order: publish, as in add().
        const usage kept = fence_of(word) == &by ? std::min(as, usage_in(word)) : as;
        present->slot(i).store(word_of(by, kept), order::publish);
        retire(word & ~usage_mask);
      }
    }
    return true;
  }

  /// Takes over the fences of the other list that are pending, in place of its own. False: out of memory, and nothing
  /// has changed. The other one needs no lock.
  [[nodiscard]] bool copy(const fence_list& other) noexcept {
    collect_if_many();  // Before this thread is inside itself.
    const reading inside(*other.domain_);
    const block* const from = other.block_.load(order::see);
    const std::uint32_t count = from != nullptr ? from->count.load(order::see) : 0;
    block* const made = block::create(std::max(count + reserved_, least_slots), next_version());
    if (made == nullptr) {
      return false;
    }
    block* const old = block_.load(order::own);
    if (!room_to_retire(reserved_ + (old != nullptr ? old->count.load(order::own) : 0) + 1)) {
      block::destroy(made);
      return false;
    }
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint64_t word = from->slot(i).load(order::see);
      if (!fence_of(word)->is_signaled()) {
        fence_of(word)->get();  // The list has a reference, and keeps it while this thread is inside.
        made->slot(kept++).store(word, order::own);
      }
    }
    made->count.store(kept, order::own);
    // order: publish, a release, as in grow().
    block_.store(made, order::publish);
    if (old != nullptr) {
      for (std::uint32_t i = 0; i < old->count.load(order::own); ++i) {
        retire(old->slot(i).load(order::own) & ~usage_mask);
      }
      retire(static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(old)) | block_mark);
    }
    return true;
  }

  /// Calls `visit(fence, usage)` for all of them, until it says false.
  template <class Visit>
  bool for_each_owned(Visit visit) const noexcept {
    const reading inside(*domain_);  // The visitor may change the list.
    const block* const present = block_.load(order::own);
    const std::uint32_t count = present != nullptr ? present->count.load(order::own) : 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint64_t word = present->slot(i).load(order::own);
      if (!visit(*fence_of(word), usage_in(word))) {
        return false;
      }
    }
    return true;
  }

  /// Drops what left the list and no reader can see any more. Returns how many still wait.
  std::uint32_t collect(std::uint32_t worth_a_barrier = 1) noexcept {
    if (dropping_ != 0) {
      return retired_count_;
    }
    if (stamped_ != 0 && domain_->has_left(stamp_)) {
      drop_stamped();
    }
    if (stamped_ == 0 && retired_count_ >= worth_a_barrier) {
      stamp_ = domain_->stamp();
      stamped_ = stamp_ != 0 ? retired_count_ & most_stamped : 0;
      if (stamped_ != 0 && domain_->has_left(stamp_)) {
        drop_stamped();
      }
    }
    return retired_count_;
  }

  // --- without the lock --------------------------------------------------------------------------------------------

  /// While it lives, what its thread reads of any list of the domain is there.
  class reading {
   public:
    explicit reading(domain& in) noexcept : domain_(in), record_(in.enter()) {}
    reading(const reading&) = delete;
    reading& operator=(const reading&) = delete;
    ~reading() { domain_.leave(record_); }

    [[nodiscard]] bool is_of(const domain& asked) const noexcept { return &domain_ == &asked; }

   private:
    domain& domain_;
    reader_record<Traits>* record_;
  };

  [[nodiscard]] domain& readers() const noexcept { return *domain_; }

  /// Calls `visit(fence, usage)` for each fence that is there all the time, and for some of those that come or go
  /// meanwhile, until it says false.
  /// Requires: the thread has a `reading` of this domain.
  template <class Visit>
  bool for_each(Visit visit) const noexcept {
    // order: see, an acquire: the block, its slots and their fences are seen as they were made.
    const block* const present = block_.load(order::see);
    const std::uint32_t count = present != nullptr ? present->count.load(order::see) : 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint64_t word = present->slot(i).load(order::see);
      if (!visit(*fence_of(word), usage_in(word))) {
        return false;
      }
    }
    return true;
  }

  /// Where a walk is that leaves the readers between its steps.
  struct position {
    std::uint32_t version{0};
    std::uint32_t index{0};
    usage as{usage::kernel};  ///< Of the fence that the last step found.
    bool restarted{true};     ///< The last step began at the beginning: the first one, or the block was another one.
  };
  /// One step: the next pending fence up to that usage, with a reference, or null.
  [[nodiscard]] Fence* next(position& at, usage upto) const noexcept {
    const reading inside(*domain_);
    const block* const present = block_.load(order::see);
    const std::uint32_t version = present != nullptr ? present->version : 0;
    at.restarted = version != at.version || at.index == 0;
    if (at.restarted) {
      at.version = version;
      at.index = 0;
    }
    const std::uint32_t count = present != nullptr ? present->count.load(order::see) : 0;
    while (at.index < count) {
      const std::uint64_t word = present->slot(at.index++).load(order::see);
      if (usage_in(word) <= upto && !fence_of(word)->is_signaled()) {
        at.as = usage_in(word);
        fence_of(word)->get();  // The list has a reference, and keeps it while this thread is inside.
        return fence_of(word);
      }
    }
    return nullptr;
  }

 private:
  using slot_type = typename Traits::template atomic<std::uint64_t>;

  static constexpr std::uint64_t usage_mask = 3;
  static constexpr std::uint64_t block_mark = 1;  ///< In a retired word: a block, not a fence.
  static constexpr std::uint32_t least_slots = 4;
  static constexpr std::uint32_t most_slots = 1U << 24U;
  static constexpr std::uint32_t most_stamped = (1U << 31U) - 1;
  static constexpr std::uint32_t retired_before_collection = Traits::retired_before_collection;

  /// Slots behind their number.
  struct alignas(slot_type) block {
    block(std::uint32_t slots, std::uint32_t number) noexcept : size(slots), version(number) {}

    [[nodiscard]] static block* create(std::uint32_t slots, std::uint32_t version) noexcept {
      void* const room = ::operator new(sizeof(block) + slots * sizeof(slot_type), std::nothrow);
      if (room == nullptr) {
        return nullptr;
      }
      auto* const made = new (room) block(slots, version);
      for (std::uint32_t i = 0; i < slots; ++i) {
        new (static_cast<void*>(&made->slot(i))) slot_type(0);
      }
      return made;
    }
    static void destroy(block* gone) noexcept {
      for (std::uint32_t i = 0; i < gone->size; ++i) {
        gone->slot(i).~slot_type();
      }
      gone->~block();
      ::operator delete(static_cast<void*>(gone));
    }

    [[nodiscard]] slot_type& slot(std::uint32_t index) noexcept {
      return *(reinterpret_cast<slot_type*>(reinterpret_cast<char*>(this) + sizeof(block)) + index);
    }
    [[nodiscard]] const slot_type& slot(std::uint32_t index) const noexcept {
      return *(reinterpret_cast<const slot_type*>(reinterpret_cast<const char*>(this) + sizeof(block)) + index);
    }

    const std::uint32_t size;
    const std::uint32_t version;  ///< Tells it from the block before it, whose memory it may have.
    typename Traits::template atomic<std::uint32_t> count{0};
  };
  static_assert(alignof(block) <= alignof(std::max_align_t) && sizeof(block) % alignof(slot_type) == 0);

  [[nodiscard]] static std::uint64_t word_of(Fence& f, usage as) noexcept {
    return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(&f)) | static_cast<std::uint64_t>(as);
  }
  [[nodiscard]] static usage usage_in(std::uint64_t word) noexcept { return static_cast<usage>(word & usage_mask); }
  // NOLINTBEGIN(performance-no-int-to-ptr): a fence and its usage, or an object and its kind, share a word.
  [[nodiscard]] static Fence* fence_of(std::uint64_t word) noexcept {
    return reinterpret_cast<Fence*>(static_cast<std::uintptr_t>(word & ~usage_mask));
  }
  static void drop(std::uint64_t word) noexcept {
    if ((word & block_mark) != 0) {
      block::destroy(reinterpret_cast<block*>(static_cast<std::uintptr_t>(word & ~block_mark)));
    } else {
      fence_of(word)->put();
    }
  }
  // NOLINTEND(performance-no-int-to-ptr)

  [[nodiscard]] std::uint32_t next_version() const noexcept {
    const block* const present = block_.load(order::own);
    return present != nullptr && present->version != UINT32_MAX ? present->version + 1 : 1;
  }

  /// A larger block, or one without what is done.
  [[nodiscard]] bool grow(std::uint32_t wanted) noexcept {
    block* const old = block_.load(order::own);
    const std::uint32_t count = old != nullptr ? old->count.load(order::own) : 0;
    std::uint32_t pending = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      pending += fence_of(old->slot(i).load(order::own))->is_signaled() ? 0U : 1U;
    }
    const std::uint32_t needed = pending + wanted;
    std::uint32_t slots = old != nullptr ? old->size : least_slots;
    if (needed > slots) {
      slots = std::max(std::bit_ceil(needed), slots * 2);
    }
    if (!room_to_retire(wanted + count + 1)) {
      return false;
    }
    block* const made = block::create(slots, next_version());
    if (made == nullptr) {
      return false;
    }
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint64_t word = old->slot(i).load(order::own);
      // One that was signaled since it was counted is dropped too; one that is pending now was so then.
      if (fence_of(word)->is_signaled()) {
        retire(word & ~usage_mask);
      } else {
        made->slot(kept++).store(word, order::own);
      }
    }
    made->count.store(kept, order::own);
    // order: publish, a release: the block and its slots are filled.
    block_.store(made, order::publish);
    if (old != nullptr) {
      retire(static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(old)) | block_mark);
    }
    return true;
  }

  [[nodiscard]] bool room_to_retire(std::uint32_t more) noexcept {
    if (retired_count_ + more <= retired_room_) {
      return true;
    }
    const std::uint32_t room = std::max(std::bit_ceil(retired_count_ + more), 2 * least_slots);
    auto* const larger = new (std::nothrow) std::uint64_t[room];
    if (larger == nullptr) {
      return false;
    }
    std::copy_n(retired_, retired_count_, larger);
    delete[] retired_;
    retired_ = larger;
    retired_room_ = room;
    return true;
  }
  /// Requires: room_to_retire().
  void retire(std::uint64_t word) noexcept { retired_[retired_count_++] = word; }

  /// For each way in which fences leave the list, before they do.
  void collect_if_many() noexcept {
    if (retired_count_ >= retired_before_collection) {
      collect(retired_before_collection);
    }
  }
  void drop_stamped() noexcept {
    // A release operation, or a callback of a fence that nobody signals any more, may come back to this list: it adds
    // to what is retired, and drops nothing.
    const std::uint32_t gone = stamped_;
    stamped_ = 0;
    dropping_ = 1;
    for (std::uint32_t i = 0; i < gone; ++i) {
      drop(retired_[i]);
    }
    dropping_ = 0;
    std::copy(retired_ + gone, retired_ + retired_count_, retired_);
    retired_count_ -= gone;
  }

  // Two lines: readers want nothing of what a writer changes with every fence.
  alignas(64) typename Traits::template atomic<block*> block_{nullptr};
  domain* domain_;
  alignas(64) std::uint64_t* retired_{nullptr};
  std::uint64_t stamp_{0};
  std::uint32_t retired_count_{0};
  std::uint32_t retired_room_{0};
  std::uint32_t reserved_{0};
  std::uint32_t stamped_ : 31 {0};  ///< How many of the retired, from the first, stamp_ is for.
  std::uint32_t dropping_ : 1 {0};
};

}  // namespace PADDOCK_NAMESPACE::detail
