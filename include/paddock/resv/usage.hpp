// SPDX-License-Identifier: BSL-1.0
/// \file
/// `usage`: what a fence in a reservation stands for, and so who has to wait for it. Kernel: enum dma_resv_usage.
#pragma once

#include <cstdint>

#include <paddock/base/ids.hpp>

namespace PADDOCK_NAMESPACE {

/// From the strongest to the weakest. A query for one of them is about that one and all that stand before it.
enum class usage : std::uint8_t {
  kernel = 0,    ///< The storage itself is in the making: moved, cleared. Everybody waits.
  write = 1,     ///< A job writes the buffer's bytes.
  read = 2,      ///< A job reads the buffer's bytes.
  bookkeep = 3,  ///< A job uses the storage, but orders itself: only who takes the storage away waits.
};

/// What a new access has to wait for: a reader for writers, a writer for everybody but `bookkeep`.
/// Kernel: dma_resv_usage_rw.
[[nodiscard]] constexpr usage usage_for(access a) noexcept { return writes(a) ? usage::read : usage::write; }

/// As what the fence of an access stands in a reservation.
[[nodiscard]] constexpr usage usage_of(access a) noexcept { return writes(a) ? usage::write : usage::read; }

/// As it is spelled in the source.
[[nodiscard]] constexpr const char* name(usage u) noexcept {
  switch (u) {
    case usage::kernel: return "kernel";
    case usage::write: return "write";
    case usage::read: return "read";
    case usage::bookkeep: return "bookkeep";
  }
  return "unknown";
}

}  // namespace PADDOCK_NAMESPACE
