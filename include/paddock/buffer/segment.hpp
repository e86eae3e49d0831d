// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a piece of a buffer is stored in.
#pragma once

#include <cstdint>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE {

/// Decides who may touch the bytes, and how.
enum class storage_kind : std::uint8_t {
  memory,         ///< System memory: the CPU caches it.
  device_memory,  ///< Memory behind a BAR: bytes that stay where they are put.
  registers,      ///< Doorbells and the like: reading or writing does something. Never migrated, bounced or copied.
};

}  // namespace PADDOCK_NAMESPACE
