// SPDX-License-Identifier: BSL-1.0
/// \file
/// What state a buffer is in, and where its last move went.
#pragma once

#include <cstddef>
#include <cstdint>

#include <paddock/buffer/route_choice.hpp>

namespace PADDOCK_NAMESPACE {

/// Whether a buffer has storage.
enum class buffer_status : std::uint32_t {
  live,
  revoking,  ///< It is being taken back: no new use begins.
  revoked,   ///< It was taken back. restore() gives it new life; attachments of before stay dead.
  dead,      ///< For good: its device is closed.
};

/// A move, for people: when it was asked for by nobody but an importer that did not reach the storage, `why` says so.
struct move_report {
  std::size_t from{0};
  std::size_t to{0};
  fallback why{fallback::none};
};

}  // namespace PADDOCK_NAMESPACE
