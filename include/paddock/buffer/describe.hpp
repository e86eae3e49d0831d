// SPDX-License-Identifier: BSL-1.0
/// \file
/// `describe`: a buffer, for people. Kernel: /sys/kernel/debug/dma_buf/bufinfo, which knows less.
#pragma once

#include <iterator>
#include <string>

#include <fmt/format.h>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/attachment_node.hpp>
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/statistics.hpp>
#include <paddock/resv/describe.hpp>
#include <paddock/resv/reservation.hpp>

namespace PADDOCK_NAMESPACE {

/// As they are spelled in the source.
[[nodiscard]] constexpr const char* name(buffer_status s) noexcept {
  switch (s) {
    case buffer_status::live: return "live";
    case buffer_status::revoking: return "revoking";
    case buffer_status::revoked: return "revoked";
    case buffer_status::dead: return "dead";
  }
  return "unknown";
}
[[nodiscard]] constexpr const char* name(direction dir) noexcept {
  switch (dir) {
    case direction::bidirectional: return "bidirectional";
    case direction::to_device: return "to_device";
    case direction::from_device: return "from_device";
  }
  return "unknown";
}
[[nodiscard]] constexpr const char* name(storage_kind kind) noexcept {
  switch (kind) {
    case storage_kind::memory: return "memory";
    case storage_kind::device_memory: return "device_memory";
    case storage_kind::registers: return "registers";
  }
  return "unknown";
}

/// Name, size and status, and what its exporter says of itself; each segment; each attachment, with the name of its
/// device where it has one; what happened so far, where it did; and the reservation as describe(reservation) has it.
/// Errors: wrong_lock.
template <exporter E, class Policies>
[[nodiscard]] result<std::string> describe(const basic_dma_buf<E, Policies>& buffer, const resv_lock& held) {
  PADDOCK_TRY(const storage_ptr bytes, buffer.storage(held));
  PADDOCK_TRY(const std::size_t attached, buffer.attachments(held));
  PADDOCK_TRY(const std::size_t pins, buffer.pins(held));
  std::string text = buffer.name().empty() ? std::string() : fmt::format("{}: ", buffer.name());
  auto out = std::back_inserter(text);
  fmt::format_to(out, "{} bytes, {}", buffer.size(), name(buffer.status()));
  if constexpr (named_exporter<E>) {
    fmt::format_to(out, ", {}", std::string(buffer.exporter().name()));
  }
  for (const segment& each : bytes->segments()) {
    fmt::format_to(out, "\n  {} of {} bytes", name(each.kind), each.length);
    if (each.kind != storage_kind::memory && each.provider != pci::address{}) {  // Else nobody has named it.
      fmt::format_to(out, ", {} BAR {} at {:#x}", to_string(each.provider), each.bar.value(), each.offset);
    }
  }
  fmt::format_to(out, "\n  {} attached, {} pinned", attached, pins);
  const auto tell = [&](const attachment_facts& facts) {
    fmt::format_to(out, "\n    {}, {}, {}{}{}", facts.device.empty() ? "a device" : facts.device, facts.residency,
                   name(facts.use), facts.pins != 0 ? ", pinned" : "", facts.bounces ? ", with a copy" : "");
  };
  PADDOCK_TRY_VOID(buffer.for_each_attachment(held, tell));
  using count = buffer_statistics::what;
  for (const auto& [what, words] :
       {std::pair(count::moves, "moved"), std::pair(count::migrations, "moved for an importer"),
        std::pair(count::bounces, "bounced"), std::pair(count::revocations, "revoked"),
        std::pair(count::forced_unmaps, "unmapped by force"), std::pair(count::waits, "waited for"),
        std::pair(count::syncs_for_device, "caches written back"), std::pair(count::syncs_for_cpu, "caches dropped")}) {
    if (const auto times = buffer.statistics().of(what); times != 0) {
      fmt::format_to(out, "\n  {}: {}", words, times);
    }
  }
  fmt::format_to(out, "\n  reservation {}", describe(buffer.reservation()));
  return text;
}

}  // namespace PADDOCK_NAMESPACE
