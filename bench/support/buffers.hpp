// SPDX-License-Identifier: BSL-1.0
/// \file
/// A device and a source of memory that do next to nothing, so that what is measured is paddock's.
#pragma once

#include <cstdint>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/buffer/placement.hpp>

namespace paddock::bench {

inline constexpr std::uint64_t buffer_bytes = 4096;

/// Its addresses are those of the process, and it sees what is in the CPU's caches.
struct plain_device {
  struct mapped {
    paddock::iova at{};
    [[nodiscard]] paddock::iova iova() const noexcept { return at; }
  };
  using cache = coherent;
  [[nodiscard]] result<mapped> map(const storage_ptr& s, direction) noexcept {
    return mapped{paddock::iova(reinterpret_cast<std::uintptr_t>(s->segments().front().address))};
  }
  [[nodiscard]] result<void> unmap(mapped&) noexcept { return {}; }
};

/// Memory that is there from the first time on, so that a later move allocates no pages.
class kept_source {
 public:
  static constexpr p2p_segments p2p = p2p_segments::maybe;
  static constexpr bool revokes = false;

  [[nodiscard]] segment prototype() const noexcept { return {.kind = storage_kind::memory}; }
  [[nodiscard]] result<storage_ptr> allocate(std::uint64_t bytes) noexcept {
    if (kept_ == nullptr) {
      PADDOCK_TRY(kept_, allocate_memory(bytes));
    }
    return kept_;
  }

 private:
  storage_ptr kept_;
};
using two_places = placement_exporter<kept_source, kept_source>;

}  // namespace paddock::bench
