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
struct mutex : detail::ww_mutex<relacy_resv_traits> {
  mutex() noexcept : ww_mutex(relacy_resv_traits::register_heavy_fence()) {}
};
using domain = detail::reader_domain<relacy_resv_traits>;

/// `Asymmetric`: whether the fence of all threads can be had.
template <class Suite, int Threads, bool Asymmetric = false>
struct resv_suite : suite<Suite, Threads> {
  resv_suite() {
    present_resv = {};
    present_resv.asymmetric = Asymmetric;
  }
};

inline constexpr auto never_canceled = []() noexcept { return false; };

/// Waits as long as it takes.
[[nodiscard]] inline lock_outcome lock(mutex& wanted, ww_context* by) {
  return wanted.lock(by, deadline::never(), never_canceled);
}

/// From now on a lock for which this thread slept so often is promised to it. Otherwise none is: a search does not get
/// as far as the four sleeps of the library.
inline void promise_after(unsigned sleeps) { present_resv.threads[rl::thread_index()].patience = sleeps; }

/// Nobody has it or waits for it; and nobody was promised it, which is seen the second time.
inline void expect_free(mutex& left) {
  for (int round = 0; round < 2; ++round) {
    RL_ASSERT(!left.is_locked());
    RL_ASSERT(left.try_lock(nullptr) == lock_outcome::locked);
    left.unlock(nullptr);
  }
}

}  // namespace paddock::model
