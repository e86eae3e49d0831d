// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a plugin offers to the program that loads it: one table, found under one name.
/// Values cross this border as paddock's own types, as they would between two drivers in one process.
#pragma once

#include <cstdint>
#include <system_error>

#include <paddock/base/error.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/resv/reservation.hpp>

namespace plugin {

struct table {
  std::error_code (*make_code)(paddock::errc code) noexcept;
  bool (*code_is)(const std::error_code& code, paddock::errc expected) noexcept;
  paddock::lost_error_handler (*set_handler)(paddock::lost_error_handler handler) noexcept;
  void (*report)(const paddock::error& e) noexcept;
  const void* (*address_of_category)() noexcept;

  std::uint64_t (*new_context_id)() noexcept;
  paddock::fence_ptr (*make_fence)() noexcept;
  bool (*signal)(paddock::fence& f) noexcept;
  paddock::wait_status (*wait)(paddock::fence& f) noexcept;

  paddock::reservation* (*make_reservation)() noexcept;
  void (*destroy_reservation)(paddock::reservation* r) noexcept;
  /// Locks, makes room, adds, collects. False when one of them failed.
  bool (*add)(paddock::reservation& r, paddock::fence_ptr f) noexcept;
  /// How many fences are pending, as a snapshot, a walk and for_each() find them alike; a negative number when they
  /// do not.
  int (*pending)(const paddock::reservation& r) noexcept;
  /// The lock, or why there is none.
  paddock::errc (*lock)(paddock::reservation& r, paddock::acquire_context& context, paddock::resv_lock& to) noexcept;
  /// Runs `during` inside a guard of the plugin's.
  void (*guarded)(const paddock::reservation& r, void (*during)(void*), void* argument);
};

inline constexpr const char* entry_point = "paddock_test_plugin";

}  // namespace plugin
