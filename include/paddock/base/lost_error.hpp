// SPDX-License-Identifier: BSL-1.0
/// \file
/// Errors that have no caller to go to: a destructor whose END, unmap or close failed.
#pragma once

#include <atomic>
#include <cstdio>

#include <paddock/base/error.hpp>

namespace PADDOCK_NAMESPACE {

/// Called with the error that a destructor could not return. It must not throw and may be called from any thread.
using lost_error_handler = void (*)(const error&) noexcept;

/// The default: one line on stderr.
inline void print_lost_error(const error& e) noexcept {
  std::fprintf(stderr, "paddock: lost error: %s (%s: errno %d)\n", name(e.code), e.where, e.sys_errno);
}

namespace detail {
/// One a shared object (plugins with hidden visibility have their own): each sets the handler it wants.
inline std::atomic<lost_error_handler> current_lost_error_handler{&print_lost_error};
}  // namespace detail

/// Replaces the handler; nullptr restores the default. Returns the previous one.
/// Thread-safety: any thread, any time.
inline lost_error_handler set_lost_error_handler(lost_error_handler handler) noexcept {
  return detail::current_lost_error_handler.exchange(handler != nullptr ? handler : &print_lost_error);
}

/// Reports an error that nobody can be handed.
inline void report_lost_error(const error& e) noexcept { detail::current_lost_error_handler.load()(e); }

}  // namespace PADDOCK_NAMESPACE
