// SPDX-License-Identifier: BSL-1.0
/// \file
/// What happened to a buffer, in numbers: each move, wait and cache operation that paddock did on somebody's behalf.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <paddock/buffer/route_choice.hpp>

namespace PADDOCK_NAMESPACE {

/// Thread-safety: any thread; each number is a snapshot of its own.
class buffer_statistics {
 public:
  enum class what : std::uint8_t {
    moves,             ///< The storage became another one.
    migrations,        ///< Of these, those that an importer caused which did not reach the old one.
    bounces,           ///< Mappings of a shadow, as the importer did not reach the storage, and it could not move.
    bounce_copies,     ///< Copies between storage and shadow.
    revocations,       ///< The storage was taken back.
    forced_unmaps,     ///< Mappings that were taken away after the deadline of a revocation.
    waits,             ///< Waits for fences, by map and by CPU access, that found something pending.
    syncs_for_device,  ///< Cache maintenance before a device's turn; on a kernel dma-buf, the END of an access by CPU.
    syncs_for_cpu,     ///< Cache maintenance before the CPU's turn; on a kernel dma-buf, the START.
  };

  [[nodiscard]] std::uint64_t of(what asked) const noexcept {
    // order: relaxed: a number, which publishes nothing.
    return counts_[static_cast<std::size_t>(asked)].load(std::memory_order_relaxed);
  }
  void count(what happened) noexcept {
    // order: relaxed, as above.
    counts_[static_cast<std::size_t>(happened)].fetch_add(1, std::memory_order_relaxed);
  }
  /// Why mappings went through system memory, or failed to go peer to peer.
  [[nodiscard]] const fallback_counts& routes() const noexcept { return routes_; }
  [[nodiscard]] fallback_counts& routes() noexcept { return routes_; }

 private:
  std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(what::syncs_for_cpu) + 1> counts_{};
  fallback_counts routes_;
};

}  // namespace PADDOCK_NAMESPACE
