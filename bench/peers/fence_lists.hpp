// SPDX-License-Identifier: BSL-1.0
/// \file
/// A list of fences that many read and one changes, as reservations have: by a lock, and by a pointer to a list that
/// never changes. The fences are paddock's, each with its usage, so that only what protects the list differs; they
/// outlive all lists, which therefore count no references.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>

#include <paddock/fence/fence.hpp>
#include <paddock/resv/usage.hpp>

namespace paddock::bench {

inline constexpr std::size_t listed = 4;

/// With room for more, so that the compiler cannot know when a walk ends.
struct few_fences {
  struct entry {
    fence* which{nullptr};
    usage as{usage::read};
  };

  template <class Visit>
  bool for_each(Visit visit) const noexcept {
    for (std::uint32_t i = 0; i < count; ++i) {
      if (!visit(*entries[i].which, entries[i].as)) {
        return false;
      }
    }
    return true;
  }

  std::uint32_t count{listed};
  std::array<entry, 4 * listed> entries{};
};

/// Nothing to do around a batch.
struct no_batch {
  template <class List>
  explicit no_batch(const List&) noexcept {}
};

/// The floor: pointers to fences without a usage, which nobody replaces while somebody reads.
class raw_list {
 public:
  using batch = no_batch;
  explicit raw_list(const few_fences& first) {
    first.for_each([&](fence& each, usage) noexcept {
      pointers_[count_++] = &each;
      return true;
    });
    first_.store(pointers_.data());
  }

  template <class Visit>
  bool for_each(Visit visit) const noexcept {
    fence* const* const first = first_.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < count_; ++i) {
      if (!visit(*first[i], usage::kernel)) {
        return false;
      }
    }
    return true;
  }

 private:
  std::uint32_t count_{0};
  std::array<fence*, 4 * listed> pointers_{};
  std::atomic<fence* const*> first_{nullptr};
};

/// Type-stable slots: the memory of a fence is never anything else, so that a reader may look at one that is gone, and
/// sees afterwards that another one is in its place. Readers write nothing at all.
class type_stable_list {
 public:
  using batch = no_batch;
  explicit type_stable_list(const few_fences& first) {
    first.for_each([&](fence& each, usage as) noexcept {
      slots_[count_++].store(word_of(each, as));
      return true;
    });
  }

  template <class Visit>
  bool for_each(Visit visit) const noexcept {
    for (std::uint32_t i = 0; i < count_; ++i) {
      for (std::uintptr_t seen = slots_[i].load(std::memory_order_acquire), before = 0; seen != before;) {
        before = seen;
        const bool go_on = visit(*reinterpret_cast<fence*>(seen & ~usage_mask), static_cast<usage>(seen & usage_mask));
        std::atomic_thread_fence(std::memory_order_acquire);
        seen = slots_[i].load(std::memory_order_relaxed);
        if (seen == before && !go_on) {
          return false;
        }
      }
    }
    return true;
  }
  void replace_first(fence& by) noexcept {
    slots_[0].store(word_of(by, static_cast<usage>(slots_[0].load() & usage_mask)), std::memory_order_release);
  }

 private:
  static constexpr std::uintptr_t usage_mask = 3;
  [[nodiscard]] static std::uintptr_t word_of(fence& f, usage as) noexcept {
    return reinterpret_cast<std::uintptr_t>(&f) | static_cast<std::uintptr_t>(as);
  }

  std::uint32_t count_{0};
  std::array<std::atomic<std::uintptr_t>, listed> slots_{};
};

template <class Mutex, class ReadLock>
class locked_list {
 public:
  using batch = no_batch;
  explicit locked_list(const few_fences& first) : list_(first) {}

  template <class Visit>
  bool for_each(Visit visit) const noexcept {
    const ReadLock guard(mutex_);
    return list_.for_each(visit);
  }
  void replace_first(fence& by) noexcept {
    const std::scoped_lock guard(mutex_);
    list_.entries[0].which = &by;
  }

 private:
  mutable Mutex mutex_;
  few_fences list_;
};
using mutex_list = locked_list<std::mutex, std::scoped_lock<std::mutex>>;
using shared_mutex_list = locked_list<std::shared_mutex, std::shared_lock<std::shared_mutex>>;

class shared_ptr_list {
 public:
  using batch = no_batch;
  explicit shared_ptr_list(const few_fences& first) : list_(std::make_shared<const few_fences>(first)) {}

  template <class Visit>
  bool for_each(Visit visit) const noexcept {
    return list_.load(std::memory_order_acquire)->for_each(visit);
  }
  void replace_first(fence& by) {
    few_fences changed = *list_.load(std::memory_order_acquire);
    changed.entries[0].which = &by;
    list_.store(std::make_shared<const few_fences>(changed), std::memory_order_release);
  }

 private:
  std::atomic<std::shared_ptr<const few_fences>> list_;
};

}  // namespace paddock::bench
