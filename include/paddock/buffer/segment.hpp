// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a piece of a buffer is stored in, and where.
#pragma once

#include <cstddef>
#include <cstdint>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/pci/address.hpp>

namespace PADDOCK_NAMESPACE {

/// Decides who may touch the bytes, and how.
enum class storage_kind : std::uint8_t {
  memory,         ///< System memory: the CPU caches it.
  device_memory,  ///< Memory behind a BAR: bytes that stay where they are put.
  registers,      ///< Doorbells and the like: reading or writing does something. Never migrated, bounced or copied.
};

/// Whoever has memory behind a BAR, for importers that take no address but a dma-buf of the kernel's (iommufd).
class segment_exporter {
 public:
  segment_exporter() noexcept = default;
  segment_exporter(const segment_exporter&) = delete;
  segment_exporter& operator=(const segment_exporter&) = delete;
  /// A dma-buf of [offset, offset + length) of the BAR. Errors: no_device, unsupported_by_kernel, limit_reached, those
  /// of the driver.
  [[nodiscard]] virtual result<unique_fd> export_range(std::uint64_t offset, std::uint64_t length) const noexcept = 0;

 protected:
  ~segment_exporter() = default;
};

/// A piece of a buffer. One of memory has an address in this process, or a file and an offset in it, or both; one
/// behind a BAR has its provider, and an address where the CPU has a window on it. A value: who holds the storage keeps
/// it true.
struct segment {
  storage_kind kind{storage_kind::memory};
  bar_index bar{0};
  borrowed_fd file{};                         ///< Of memory that is a file's; otherwise not open.
  std::uint64_t length{0};                    ///< Bytes.
  std::byte* address{nullptr};                ///< In this process; null when the CPU has no way to it.
  std::uint64_t offset{0};                    ///< In the file, or in the BAR.
  pci::address provider{};                    ///< Whose BAR it is.
  const segment_exporter* exporter{nullptr};  ///< Of the BAR, where the kernel may be given a dma-buf of it.
};

}  // namespace PADDOCK_NAMESPACE
