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
};

inline constexpr const char* entry_point = "paddock_test_plugin";

}  // namespace plugin
