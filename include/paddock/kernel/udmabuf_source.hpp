// SPDX-License-Identifier: BSL-1.0
/// \file
/// `udmabuf_source`: memory of this process as a place of a placement_exporter, which other processes and kernel
/// drivers can be given.
#pragma once

#include <cstdint>
#include <utility>

#include <paddock/base/result.hpp>
#include <paddock/buffer/placement.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/kernel/udmabuf.hpp>
#include <paddock/kernel/udmabuf_exporter.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// As memory_source, of which each piece is a dma-buf, so that CPU access makes the SYNC ioctl. Thread-safety: as
/// placement_exporter.
class udmabuf_source {
 public:
  static constexpr p2p_segments p2p = p2p_segments::never;
  static constexpr bool revokes = false;
  static constexpr bool brackets_storage = true;

  /// Errors: as udmabuf_device::open().
  [[nodiscard]] static result<udmabuf_source> open() noexcept {
    PADDOCK_TRY(udmabuf_device device, udmabuf_device::open());
    return udmabuf_source(std::move(device));
  }

  [[nodiscard]] segment prototype() const noexcept { return {.kind = storage_kind::memory}; }
  /// Errors: as udmabuf_exporter::create().
  [[nodiscard]] result<storage_ptr> allocate(std::uint64_t bytes) noexcept {
    PADDOCK_TRY(udmabuf_exporter made, udmabuf_exporter::create(device_, bytes));
    return made.initial_storage();
  }

 private:
  explicit udmabuf_source(udmabuf_device device) noexcept : device_(std::move(device)) {}

  udmabuf_device device_;
};
static_assert(storage_source<udmabuf_source>);

}  // namespace PADDOCK_NAMESPACE::kernel
