// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the suites of the reservations share.
#pragma once

#include <cstdint>

#include <paddock/resv/fence_list.hpp>
#include <paddock/resv/reader_domain.hpp>
#include <paddock/resv/ww_mutex.hpp>

#include <model.hpp>
#include <relacy_resv_traits.hpp>

namespace paddock::model {

using detail::lock_outcome;
using detail::ww_context;
using mutex = detail::ww_mutex<relacy_resv_traits>;
using domain = detail::reader_domain<relacy_resv_traits>;

template <class Suite, int Threads>
struct resv_suite : suite<Suite, Threads> {
  explicit resv_suite(bool asymmetric = false) {
    present_resv = {};
    present_resv.asymmetric = asymmetric;
  }
};

inline constexpr auto never_canceled = []() noexcept { return false; };

/// Waits as long as it takes.
[[nodiscard]] inline lock_outcome lock(mutex& wanted, ww_context* by) {
  return wanted.lock(by, deadline::never(), never_canceled);
}

/// Nobody has it or waits for it: the word is as it was made.
inline void expect_free(mutex& left) {
  RL_ASSERT(!left.is_locked());
  RL_ASSERT(left.try_lock(nullptr) == lock_outcome::locked);
  left.unlock(nullptr);
}

}  // namespace paddock::model
