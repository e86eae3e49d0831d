// SPDX-License-Identifier: BSL-1.0
/// \file
/// `fence_cursor`: a walk over a reservation's fences that may stop at each of them for as long as it likes.
#pragma once

#include <paddock/fence/fence.hpp>
#include <paddock/resv/reservation.hpp>
#include <paddock/resv/usage.hpp>

namespace PADDOCK_NAMESPACE {

/// Gives the pending fences up to a usage, one by one, with a reference. When the list was rebuilt meanwhile it begins
/// anew and says so: who sums up begins anew too. A fence that took the place of another may be missed.
/// Thread-safety: one thread at a time; needs no lock. Kernel: dma_resv_iter_first_unlocked.
class fence_cursor {
 public:
  /// Requires: the reservation outlives it.
  fence_cursor(const reservation& of, usage upto) noexcept : of_(of), upto_(upto) {}
  fence_cursor(const fence_cursor&) = delete;
  fence_cursor& operator=(const fence_cursor&) = delete;

  /// The next one, or an empty pointer at the end.
  [[nodiscard]] fence_ptr next() noexcept { return of_.next(at_, upto_); }
  /// Whether the last next() began at the beginning: true for the first one. The end may be one as well.
  [[nodiscard]] bool is_restarted() const noexcept { return at_.restarted; }
  /// Of the fence that the last next() gave.
  [[nodiscard]] usage current_usage() const noexcept { return at_.as; }

 private:
  const reservation& of_;
  const usage upto_;
  reservation::list::position at_;
};

}  // namespace PADDOCK_NAMESPACE
