// SPDX-License-Identifier: BSL-1.0
/// \file
/// Which storage a device behind an IOMMU address space reaches, by what the program knows of the machine's routes.
#pragma once

#include <optional>
#include <span>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/route_choice.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/pci/quirks.hpp>
#include <paddock/pci/route.hpp>
#include <paddock/pci/topology.hpp>

namespace PADDOCK_NAMESPACE::vfio::detail {

/// Of one device. Thread-safety: set before the device is attached to anything; then any thread reads.
class route_knowledge {
 public:
  /// Errors: not_found (the topology has no such function).
  [[nodiscard]] result<void> use(const pci::topology& machine, const pci::address& client,
                                 std::span<const pci::quirk> known) noexcept {
    PADDOCK_TRY(client_, machine.find(client));
    known_ = known;
    return {};
  }
  void trust(bool on) noexcept { trusted_ = on; }

  [[nodiscard]] route_choice reach(const segment& where, direction dir) const noexcept {
    if (where.kind == storage_kind::memory) {
      return {true, fallback::none, nullptr};
    }
    fallback why = client_ ? fallback::none : fallback::unknown;
    if (client_) {
      const auto provider = client_->tree().find(where.provider);
      if (!provider) {
        why = fallback::no_route;
      } else {
        why = worst_of(*provider, dir);
      }
    }
    if (trusted_ && (why == fallback::unknown || why == fallback::no_route)) {
      why = fallback::none;
    }
    return {why == fallback::none, why, nullptr};
  }

 private:
  [[nodiscard]] fallback worst_of(pci::node provider, direction dir) const noexcept {
    if (dir != direction::from_device) {
      if (const fallback why = judge(provider, transaction::read); why != fallback::none) {
        return why;
      }
    }
    return dir == direction::to_device ? fallback::none : judge(provider, transaction::write);
  }
  [[nodiscard]] fallback judge(pci::node provider, transaction what) const noexcept {
    const auto way = pci::route_between(*client_, provider, what, pci::dma_owner::vfio, known_);
    return way ? paddock::detail::judge_routes({&*way, 1}).why : fallback::no_route;
  }

  std::optional<pci::node> client_;
  std::span<const pci::quirk> known_;
  bool trusted_{false};
};

}  // namespace PADDOCK_NAMESPACE::vfio::detail
