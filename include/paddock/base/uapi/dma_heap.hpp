// SPDX-License-Identifier: BSL-1.0
/// \file
/// Mirror of the dma-heap interface. Kernel: include/uapi/linux/dma-heap.h.
#pragma once

#include <cstdint>

#include <paddock/base/uapi/ioctl_number.hpp>

namespace PADDOCK_NAMESPACE::uapi {

struct dma_heap_allocation {
  std::uint64_t len{0};
  std::uint32_t fd{0};  ///< Out; must be 0 on input.
  std::uint32_t fd_flags{0};
  std::uint64_t heap_flags{0};
};

inline constexpr unsigned long dma_heap_ioctl_alloc = iowr<dma_heap_allocation>('H', 0);

}  // namespace PADDOCK_NAMESPACE::uapi
