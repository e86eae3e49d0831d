// SPDX-License-Identifier: BSL-1.0
/// \file
/// Which attachments there are: what is by default, and what does not compile.
#pragma once

#include <concepts>
#include <string>

#include <paddock/base/ids.hpp>
#include <paddock/buffer/attachment_node.hpp>
#include <paddock/buffer/device.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/policy/residency.hpp>
#include <paddock/policy/selection.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// What an attachment is by default: what the buffer's policies say, but that it is pinned, and that the device says
/// how it sees the CPU's caches.
template <class Buffer, class Device>
using attachment_defaults =
    policy_set<pinned, typename Buffer::policies::fencing, typename Buffer::policies::wait,
               typename cache_of<Device, typename Buffer::policies::cache>::type, typename Buffer::policies::route>;

template <class Policies, class Device>
[[nodiscard]] attachment_facts facts_of(const Device& device, direction use, unsigned pins, bool bounces) {
  using residency = typename Policies::residency;
  attachment_facts facts;
  facts.use = use;
  facts.pins = pins;
  facts.bounces = bounces;
  facts.residency = std::same_as<residency, kernel_managed> ? "kernel_managed"
                    : residency::may_move                   ? "movable"
                    : residency::may_revoke                 ? "revocable"
                                                            : "pinned";
  if constexpr (named_device<Device>) {
    facts.device = device.name();
  }
  return facts;
}

/// True, or a sentence from the compiler.
template <class Buffer, class Device, class Policies>
[[nodiscard]] consteval bool obeys_rules() noexcept {
  static_assert(device<Device>, "paddock: the importer is no device: it has mapped, map() and unmap()");
  static_assert(
      !(Buffer::exporter_type::revokes && (!Policies::residency::may_move && !Policies::residency::may_revoke)),
      "paddock: this exporter takes its storage back when its device is reset, so its importers are revocable "
      "or movable; a pinned one could not be told");
  static_assert(!(Policies::route::tries_p2p && !Policies::route::falls_back &&
                  Buffer::exporter_type::p2p == p2p_segments::never),
                "paddock: p2p_only on a buffer that never has a segment behind a BAR");
  static_assert(!register_exporter<typename Buffer::exporter_type> ||
                    (Policies::route::tries_p2p && !Policies::route::falls_back),
                "paddock: registers are never bounced nor copied, so what attaches to them is p2p_only");
  static_assert(!pins_pages<Device>() || has_pinnable_pages<typename Buffer::exporter_type>(),
                "paddock: this device pins pages by their address, and the kernel pins none of a dma-buf FD or of "
                "p2pmem; memory, a memfd, a udmabuf's memfd and a slice of a BAR reach it");
  static_assert(!cache_of<Device, coherent>::is_given || !Policies::cache::maintains,
                "paddock: this device sees what is in the CPU's caches, so its attachments are coherent");
  static_assert(!std::same_as<typename Policies::residency, kernel_managed> ||
                    std::same_as<typename Buffer::policies::residency, kernel_managed>,
                "paddock: only a buffer that the kernel manages has attachments that the kernel manages");
  return true;
}

}  // namespace PADDOCK_NAMESPACE::detail
