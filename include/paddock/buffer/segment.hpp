// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a piece of a buffer is stored in, and where.
#pragma once

#include <cstddef>
#include <cstdint>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/pci/address.hpp>

namespace PADDOCK_NAMESPACE {

/// Decides who may touch the bytes, and how.
enum class storage_kind : std::uint8_t {
  memory,         ///< System memory: the CPU caches it.
  device_memory,  ///< Memory behind a BAR: bytes that stay where they are put.
  registers,      ///< Doorbells and the like: reading or writing does something. Never migrated, bounced or copied.
};

/// A piece of a buffer. One of memory has an address in this process, or a file and an offset in it, or both; one
/// behind a BAR has its provider, and an address where the CPU has a window on it. A value: who holds the storage keeps
/// it true.
struct segment {
  storage_kind kind{storage_kind::memory};
  bar_index bar{0};
  borrowed_fd file{};           ///< Of memory that is a file's; otherwise not open.
  std::uint64_t length{0};      ///< Bytes.
  std::byte* address{nullptr};  ///< In this process; null when the CPU has no way to it.
  std::uint64_t offset{0};      ///< In the file, or in the BAR.
  pci::address provider{};      ///< Whose BAR it is.
};

}  // namespace PADDOCK_NAMESPACE
