// SPDX-License-Identifier: BSL-1.0
/// \file
/// The operations of futex(2) that waits use. Kernel: include/uapi/linux/futex.h.
#pragma once

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE::uapi {

inline constexpr int futex_private = 128;
inline constexpr int futex_wake_private = 1 | futex_private;
/// With an absolute timeout on CLOCK_MONOTONIC.
inline constexpr int futex_wait_bitset_private = 9 | futex_private;
inline constexpr unsigned futex_match_any = 0xffffffffU;

}  // namespace PADDOCK_NAMESPACE::uapi
