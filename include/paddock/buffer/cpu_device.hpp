// SPDX-License-Identifier: BSL-1.0
/// \file
/// `cpu_device`: the CPU as an importer. Its mappings are what cpu_access opens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/device.hpp>
#include <paddock/buffer/storage.hpp>

namespace PADDOCK_NAMESPACE {

/// Sees a buffer of memory as a span. Memory behind a BAR is no span: mmio_access is for that, on the buffer itself.
/// Thread-safety: any thread.
class cpu_device {
 public:
  class mapped {
   public:
    mapped() noexcept = default;
    explicit mapped(std::span<std::byte> bytes) noexcept : bytes_(bytes) {}
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

   private:
    std::span<std::byte> bytes_;
  };
  static constexpr bool unmaps_on_revoke = true;

  /// The direction as the CPU being the device: `to_device` maps for reading, `from_device` for writing.
  /// Errors: not_mappable: not all of it is memory in a row.
  [[nodiscard]] result<mapped> map(const storage_ptr& s, direction) noexcept {
    std::byte* const first = s->contiguous_address();
    if (first == nullptr || s->has(storage_kind::device_memory) || s->has(storage_kind::registers)) {
      return fail(errc::not_mappable, "cpu_device::map: not memory in a row; mmio_access reaches what is behind a BAR");
    }
    return mapped(std::span(first, static_cast<std::size_t>(s->size())));
  }
  [[nodiscard]] result<void> unmap(mapped&) noexcept { return {}; }
  [[nodiscard]] static const char* name() noexcept { return "the CPU"; }
};
static_assert(named_device<cpu_device>);

}  // namespace PADDOCK_NAMESPACE
