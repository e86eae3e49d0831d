// SPDX-License-Identifier: BSL-1.0
/// \file
/// How a fence_array counts its members; a template for tests/model, as fence/core.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include <paddock/fence/outcome.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// What a fence_array completes on.
enum class array_mode : std::uint8_t {
  all,  ///< The last member; with the first error that came, if one did.
  any,  ///< The first member; with its error.
};

/// Counts down from the number of members, and one more while callbacks are being added: who reaches 0 has done with
/// the array for good, which is when the reference of its callbacks is dropped. Array is what derives from it: size(),
/// add(i) -> add_outcome, outcome_of(i), try_remove(i), is_signaled(), complete(outcome), get(), put().
template <class Traits, class Array>
class array_core {
 public:
  using order = typename Traits::array_order;

  array_core(array_mode mode, std::uint32_t size) noexcept : mode_(mode), left_(size + 1) {}

  /// Adds the callbacks of all members. To be called once. The caller holds a reference.
  void arm() noexcept {
    self().get();
    const std::size_t size = self().size();
    std::size_t added = 0;
    for (; added < size && !(mode_ == array_mode::any && self().is_signaled()); ++added) {
      if (self().add(added) == add_outcome::already_signaled) {
        member_done(self().outcome_of(added));
      }
      if (mode_ == array_mode::any) {
        // order: added, acquire and release: a node is taken back only after its add has returned; and either the look
        // in first_done() comes after this and sees the node, or this comes after that and sees the array complete.
        added_.exchange(static_cast<std::uint32_t>(added + 1), order::added);
      }
    }
    if (mode_ == array_mode::any && self().is_signaled()) {
      take_back_the_others(added);
    }
    count_down(static_cast<std::uint32_t>(size - added) + 1, nullptr);
  }

  /// A member is complete. May free the array.
  void member_done(const fence_outcome& outcome) noexcept {
    if (mode_ == array_mode::any) {
      first_done(outcome);
    } else if (outcome.sys_errno != 0) {
      int none = 0;
      // order: first_error, relaxed: the countdown below carries it to whoever completes the array.
      first_error_.compare_exchange_strong(none, outcome.sys_errno, order::first_error, order::first_error);
    }
    count_down(1, &outcome);
  }

  /// Completes an array of `any`. The caller has a count or a reference.
  bool first_done(const fence_outcome& outcome) noexcept {
    if (!self().complete(outcome)) {
      return false;
    }
    // order: added, and an exchange as in arm(), which takes back the rest itself.
    take_back_the_others(added_.fetch_add(0, order::added));
    return true;
  }

 private:
  [[nodiscard]] Array& self() noexcept { return static_cast<Array&>(*this); }

  /// The first member is done: the callbacks that did not run yet would only keep the array alive. The caller has a
  /// count or a reference.
  void take_back_the_others(std::size_t count) noexcept {
    std::uint32_t taken = 0;
    for (std::size_t i = 0; i < count; ++i) {
      taken += self().try_remove(i) ? 1U : 0U;
    }
    if (taken != 0) {
      count_down(taken, nullptr);
    }
  }

  void count_down(std::uint32_t by, const fence_outcome* last) noexcept {
    // order: member_done, acquire and release: the last one sees the errors and the work of all members.
    if (left_.fetch_sub(by, order::member_done) != by) {
      return;
    }
    if (mode_ == array_mode::all) {
      const int error = first_error_.load(order::first_error);
      self().complete(fence_outcome{error, last != nullptr ? last->timestamp : monotonic_clock::now()});
    }
    self().put();
  }

  const array_mode mode_;
  typename Traits::template atomic<std::uint32_t> added_{0};
  typename Traits::template atomic<int> first_error_{0};
  typename Traits::template atomic<std::uint32_t> left_;
};

}  // namespace PADDOCK_NAMESPACE::detail
