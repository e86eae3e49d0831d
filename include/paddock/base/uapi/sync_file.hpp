// SPDX-License-Identifier: BSL-1.0
/// \file
/// Mirror of the sync_file interface. Kernel: include/uapi/linux/sync_file.h.
#pragma once

#include <cstdint>

#include <paddock/base/uapi/ioctl_number.hpp>

namespace PADDOCK_NAMESPACE::uapi {

struct sync_merge_data {
  char name[32]{};
  std::int32_t fd2{-1};
  std::int32_t fence{-1};
  std::uint32_t flags{0};
  std::uint32_t pad{0};
};

struct sync_fence_info {
  char obj_name[32]{};
  char driver_name[32]{};
  std::int32_t status{0};
  std::uint32_t flags{0};
  std::uint64_t timestamp_ns{0};
};

struct sync_file_info {
  char name[32]{};
  std::int32_t status{0};
  std::uint32_t flags{0};
  std::uint32_t num_fences{0};
  std::uint32_t pad{0};
  std::uint64_t sync_fence_info{0};  ///< Pointer to num_fences records.
};

struct sync_set_deadline {
  std::uint64_t deadline_ns{0};  ///< CLOCK_MONOTONIC, absolute.
  std::uint64_t pad{0};
};

inline constexpr unsigned long sync_ioc_merge = iowr<sync_merge_data>('>', 3);
inline constexpr unsigned long sync_ioc_file_info = iowr<sync_file_info>('>', 4);
inline constexpr unsigned long sync_ioc_set_deadline = iow<sync_set_deadline>('>', 5);

}  // namespace PADDOCK_NAMESPACE::uapi
