// SPDX-License-Identifier: BSL-1.0
/// \file
/// liburcu's readers, of the two kinds that a list of fences would use: those that say when they read (memb), and those
/// that say when they do not (qsbr), once a batch here. Their writer frees nothing while it is timed, which is the best
/// that can befall the readers.
#pragma once

#include <array>
#include <atomic>

#include "fence_lists.hpp"

// Inlines the readers' functions.
#define _LGPL_SOURCE 1  // NOLINT(bugprone-reserved-identifier): liburcu's name for it.
#include <urcu/urcu-memb.h>
#include <urcu/urcu-qsbr.h>

namespace paddock::bench {

struct urcu_memb {
  static void join() noexcept { urcu_memb_register_thread(); }
  static void part() noexcept { urcu_memb_unregister_thread(); }
  static void enter() noexcept { urcu_memb_read_lock(); }
  static void leave() noexcept { urcu_memb_read_unlock(); }
  static void after_batch() noexcept {}
};

struct urcu_qsbr {
  static void join() noexcept { urcu_qsbr_register_thread(); }
  static void part() noexcept { urcu_qsbr_unregister_thread(); }
  static void enter() noexcept { urcu_qsbr_read_lock(); }
  static void leave() noexcept { urcu_qsbr_read_unlock(); }
  static void after_batch() noexcept { urcu_qsbr_quiescent_state(); }
};

template <class Flavour>
class urcu_list {
 public:
  class batch {
   public:
    explicit batch(const urcu_list& /*of*/) noexcept {
      struct membership {
        membership() noexcept { Flavour::join(); }
        membership(const membership&) = delete;
        membership& operator=(const membership&) = delete;
        ~membership() { Flavour::part(); }
      };
      static thread_local const membership mine;
      static_cast<void>(mine);
    }
    batch(const batch&) = delete;
    batch& operator=(const batch&) = delete;
    ~batch() { Flavour::after_batch(); }
  };

  explicit urcu_list(const few_fences& first) {
    versions_.fill(first);
    list_.store(versions_.data());
  }

  template <class Visit>
  bool for_each(Visit visit) const noexcept {
    Flavour::enter();
    const bool to_the_end = list_.load(std::memory_order_acquire)->for_each(visit);
    Flavour::leave();
    return to_the_end;
  }
  void replace_first(fence& by) noexcept {
    few_fences& next = versions_[++last_ % versions_.size()];
    next.entries[0].which = &by;
    list_.store(&next, std::memory_order_release);
  }

 private:
  std::array<few_fences, 1024> versions_;  ///< More than a batch sees.
  std::size_t last_{0};
  std::atomic<const few_fences*> list_;
};

}  // namespace paddock::bench
