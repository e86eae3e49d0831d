// SPDX-License-Identifier: BSL-1.0
/// \file
/// `result<T>`: a value or an error. Nothing in paddock throws; nothing calls value().
#pragma once

#include <utility>

#include <tl/expected.hpp>

#include <paddock/base/errno_table.hpp>
#include <paddock/base/error.hpp>

namespace PADDOCK_NAMESPACE {

template <class T>
using result = tl::expected<T, error>;

/// `return fail(errc::out_of_range, "segment");` for what paddock finds itself.
[[nodiscard]] constexpr tl::unexpected<error> fail(errc code, const char* where) noexcept {
  return tl::unexpected<error>(error{code, 0, where});
}

/// `return fail(e);` passes an error on.
[[nodiscard]] constexpr tl::unexpected<error> fail(const error& e) noexcept { return tl::unexpected<error>(e); }

/// `return fail_errno("open");` right after a libc call that failed.
[[nodiscard]] inline tl::unexpected<error> fail_errno(const char* call) noexcept {
  return tl::unexpected<error>(last_error(call));
}

}  // namespace PADDOCK_NAMESPACE

#define PADDOCK_DETAIL_JOIN2(a, b) a##b
#define PADDOCK_DETAIL_JOIN(a, b) PADDOCK_DETAIL_JOIN2(a, b)
#define PADDOCK_DETAIL_TRY(returning, holder, declaration, ...) \
  auto&& holder = (__VA_ARGS__);                                \
  if (!holder) {                                                \
    returning ::tl::unexpected(holder.error());                 \
  }                                                             \
  declaration = *::std::forward<decltype(holder)>(holder)
#define PADDOCK_DETAIL_TRY_VOID(returning, ...)                     \
  do {                                                              \
    if (auto&& paddock_result_ = (__VA_ARGS__); !paddock_result_) { \
      returning ::tl::unexpected(paddock_result_.error());          \
    }                                                               \
  } while (false)

/// `PADDOCK_TRY(auto fd, open_it());` declares `fd`, or returns the error from the enclosing function; also with a
/// tl::expected whose error is of another type, when the function's is made from that.
#define PADDOCK_TRY(declaration, ...) \
  PADDOCK_DETAIL_TRY(return, PADDOCK_DETAIL_JOIN(paddock_try_, __LINE__), declaration, __VA_ARGS__)
/// `PADDOCK_TRY_VOID(reset());` for a `result<void>`, or to drop the value.
#define PADDOCK_TRY_VOID(...) PADDOCK_DETAIL_TRY_VOID(return, __VA_ARGS__)

/// The same inside a coroutine.
#define PADDOCK_CO_TRY(declaration, ...) \
  PADDOCK_DETAIL_TRY(co_return, PADDOCK_DETAIL_JOIN(paddock_try_, __LINE__), declaration, __VA_ARGS__)
#define PADDOCK_CO_TRY_VOID(...) PADDOCK_DETAIL_TRY_VOID(co_return, __VA_ARGS__)
