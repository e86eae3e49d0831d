// SPDX-License-Identifier: BSL-1.0
/// \file
/// The DRM ioctls that libdrm of Debian 12 does not have, or has without their newer fields.
/// Kernel: include/uapi/drm/drm.h.
#pragma once

#include <cstdint>

#include <paddock/base/uapi/ioctl_number.hpp>

namespace PADDOCK_NAMESPACE::uapi {

struct drm_syncobj_handle {
  std::uint32_t handle{0};
  std::uint32_t flags{0};
  std::int32_t fd{-1};
  std::uint32_t pad{0};
  std::uint64_t point{0};  ///< Since 6.16.
};
inline constexpr std::uint32_t drm_syncobj_export_sync_file = 1;
inline constexpr std::uint32_t drm_syncobj_export_timeline = 2;

struct drm_syncobj_wait {
  std::uint64_t handles{0};
  std::int64_t timeout_ns{0};  ///< CLOCK_MONOTONIC, absolute.
  std::uint32_t count{0};
  std::uint32_t flags{0};
  std::uint32_t first_signaled{0};
  std::uint32_t pad{0};
  std::uint64_t deadline_ns{0};  ///< Since 6.6.
};
struct drm_syncobj_timeline_wait {
  std::uint64_t handles{0};
  std::uint64_t points{0};
  std::int64_t timeout_ns{0};
  std::uint32_t count{0};
  std::uint32_t flags{0};
  std::uint32_t first_signaled{0};
  std::uint32_t pad{0};
  std::uint64_t deadline_ns{0};
};
inline constexpr std::uint32_t drm_syncobj_wait_all = 1;
inline constexpr std::uint32_t drm_syncobj_wait_for_submit = 2;
inline constexpr std::uint32_t drm_syncobj_wait_available = 4;
inline constexpr std::uint32_t drm_syncobj_wait_deadline = 8;

struct drm_syncobj_eventfd {
  std::uint32_t handle{0};
  std::uint32_t flags{0};
  std::uint64_t point{0};
  std::int32_t fd{-1};
  std::uint32_t pad{0};
};

inline constexpr unsigned long drm_ioctl_syncobj_handle_to_fd = iowr<drm_syncobj_handle>('d', 0xc1);
inline constexpr unsigned long drm_ioctl_syncobj_wait = iowr<drm_syncobj_wait>('d', 0xc3);
inline constexpr unsigned long drm_ioctl_syncobj_timeline_wait = iowr<drm_syncobj_timeline_wait>('d', 0xca);
inline constexpr unsigned long drm_ioctl_syncobj_eventfd = iowr<drm_syncobj_eventfd>('d', 0xcf);
static_assert(drm_ioctl_syncobj_handle_to_fd == 0xc01864c1 && drm_ioctl_syncobj_wait == 0xc02864c3);
static_assert(drm_ioctl_syncobj_timeline_wait == 0xc03064ca && drm_ioctl_syncobj_eventfd == 0xc01864cf);

}  // namespace PADDOCK_NAMESPACE::uapi
