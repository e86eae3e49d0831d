// SPDX-License-Identifier: BSL-1.0
/// \file
/// Mirror of the udmabuf interface. Kernel: include/uapi/linux/udmabuf.h.
#pragma once

#include <cstdint>

#include <paddock/base/uapi/ioctl_number.hpp>

namespace PADDOCK_NAMESPACE::uapi {

inline constexpr std::uint32_t udmabuf_flags_cloexec = 1;

struct udmabuf_create {
  std::uint32_t memfd{0};
  std::uint32_t flags{0};
  std::uint64_t offset{0};
  std::uint64_t size{0};
};

struct udmabuf_create_item {
  std::uint32_t memfd{0};
  std::uint32_t pad{0};
  std::uint64_t offset{0};
  std::uint64_t size{0};
};

/// Followed in memory by `count` items.
struct udmabuf_create_list {
  std::uint32_t flags{0};
  std::uint32_t count{0};
};

inline constexpr unsigned long udmabuf_create_ioctl = iow<udmabuf_create>('u', 0x42);
inline constexpr unsigned long udmabuf_create_list_ioctl = iow<udmabuf_create_list>('u', 0x43);

}  // namespace PADDOCK_NAMESPACE::uapi
