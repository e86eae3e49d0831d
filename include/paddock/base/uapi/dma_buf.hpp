// SPDX-License-Identifier: BSL-1.0
/// \file
/// Mirror of the dma-buf FD interface. Kernel: include/uapi/linux/dma-buf.h.
#pragma once

#include <cstdint>

#include <paddock/base/uapi/ioctl_number.hpp>

namespace PADDOCK_NAMESPACE::uapi {

/// fstatfs().f_type of every dma-buf.
inline constexpr long dma_buf_magic = 0x444d4142;
/// Longest name, without the terminating NUL.
inline constexpr unsigned dma_buf_name_max = 31;

struct dma_buf_sync {
  std::uint64_t flags{0};
};
inline constexpr std::uint64_t dma_buf_sync_read = 1;
inline constexpr std::uint64_t dma_buf_sync_write = 2;
inline constexpr std::uint64_t dma_buf_sync_start = 0;
inline constexpr std::uint64_t dma_buf_sync_end = 4;

/// Argument of both EXPORT_SYNC_FILE and IMPORT_SYNC_FILE; flags are dma_buf_sync_read and _write.
struct dma_buf_sync_file {
  std::uint32_t flags{0};
  std::int32_t fd{-1};
};

inline constexpr unsigned long dma_buf_ioctl_sync = iow<dma_buf_sync>('b', 0);
inline constexpr unsigned long dma_buf_set_name_b = iow<std::uint64_t>('b', 1);
inline constexpr unsigned long dma_buf_ioctl_export_sync_file = iowr<dma_buf_sync_file>('b', 2);
inline constexpr unsigned long dma_buf_ioctl_import_sync_file = iow<dma_buf_sync_file>('b', 3);

}  // namespace PADDOCK_NAMESPACE::uapi
