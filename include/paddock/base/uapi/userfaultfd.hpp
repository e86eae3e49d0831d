// SPDX-License-Identifier: BSL-1.0
/// \file
/// Mirror of what is used of the userfaultfd interface: registration and events, no resolution of faults.
/// Kernel: include/uapi/linux/userfaultfd.h.
#pragma once

#include <cstdint>

#include <paddock/base/uapi/ioctl_number.hpp>

namespace PADDOCK_NAMESPACE::uapi {

inline constexpr int uffd_user_mode_only = 1;  ///< A flag of userfaultfd(2): no faults of the kernel's own accesses.

inline constexpr std::uint64_t uffd_api = 0xaa;

inline constexpr std::uint64_t uffd_feature_pagefault_flag_wp = 1U << 0U;
inline constexpr std::uint64_t uffd_feature_event_fork = 1U << 1U;
inline constexpr std::uint64_t uffd_feature_event_remap = 1U << 2U;
inline constexpr std::uint64_t uffd_feature_event_remove = 1U << 3U;
inline constexpr std::uint64_t uffd_feature_event_unmap = 1U << 6U;
inline constexpr std::uint64_t uffd_feature_wp_hugetlbfs_shmem = 1U << 12U;

struct uffdio_api {
  std::uint64_t api{uffd_api};
  std::uint64_t features{0};
  std::uint64_t ioctls{0};
};

struct uffdio_range {
  std::uint64_t start{0};
  std::uint64_t len{0};
};

inline constexpr std::uint64_t uffdio_register_mode_wp = 1U << 1U;

struct uffdio_register {
  uffdio_range range{};
  std::uint64_t mode{0};
  std::uint64_t ioctls{0};
};

inline constexpr unsigned long uffdio_api_ioctl = iowr<uffdio_api>('\xaa', 0x3f);
inline constexpr unsigned long uffdio_register_ioctl = iowr<uffdio_register>('\xaa', 0x00);
inline constexpr unsigned long uffdio_unregister_ioctl = ior<uffdio_range>('\xaa', 0x01);

inline constexpr std::uint8_t uffd_event_fork = 0x13;
inline constexpr std::uint8_t uffd_event_remap = 0x14;
inline constexpr std::uint8_t uffd_event_remove = 0x15;
inline constexpr std::uint8_t uffd_event_unmap = 0x16;

/// What read(2) gives; the words by event. Fork: the descriptor, in 32 bits. Remap: from, to, length. Remove and unmap:
/// start, end.
struct uffd_msg {
  std::uint8_t event{0};
  std::uint8_t reserved1{0};
  std::uint16_t reserved2{0};
  std::uint32_t reserved3{0};
  std::uint64_t words[3]{};
};

}  // namespace PADDOCK_NAMESPACE::uapi
