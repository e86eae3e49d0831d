// SPDX-License-Identifier: BSL-1.0
/// \file
/// `describe`: what a reservation holds, for people. Kernel: dma_resv_describe.
#pragma once

#include <iterator>
#include <string>

#include <fmt/format.h>

#include <paddock/fence/describe.hpp>
#include <paddock/resv/cursor.hpp>
#include <paddock/resv/reservation.hpp>

namespace PADDOCK_NAMESPACE {

/// "locked" or "unlocked", and the pending fences, one a line: usage, then as describe(fence&). A snapshot, without the
/// lock. Thread-safety: any thread.
[[nodiscard]] inline std::string describe(const reservation& r) {
  std::string text = r.is_locked() ? "locked" : "unlocked";
  const std::size_t head = text.size();
  fence_cursor each(r, usage::bookkeep);
  for (fence_ptr f = each.next(); f; f = each.next()) {
    if (each.is_restarted()) {
      text.resize(head);
    }
    fmt::format_to(std::back_inserter(text), "\n  {}: {}", name(each.current_usage()), describe(*f));
  }
  if (each.is_restarted()) {
    text.resize(head);  // And nothing was there any more.
  }
  return text;
}

}  // namespace PADDOCK_NAMESPACE
