// SPDX-License-Identifier: BSL-1.0
/// \file
/// membarrier(2). Kernel: include/uapi/linux/membarrier.h.
#pragma once

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE::uapi {

inline constexpr int membarrier_private_expedited = 1 << 3;
inline constexpr int membarrier_register_private_expedited = 1 << 4;

}  // namespace PADDOCK_NAMESPACE::uapi
