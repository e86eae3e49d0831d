// SPDX-License-Identifier: BSL-1.0
/// \file
/// What every callback here does.
#pragma once

#include <cstdint>

namespace paddock::bench {

/// How many callbacks have run in this thread: as little as a callback can do, and enough to see that none was lost.
inline thread_local constinit std::uint64_t callbacks_run = 0;

struct count_call {
  void operator()() const noexcept { ++callbacks_run; }
};

}  // namespace paddock::bench
