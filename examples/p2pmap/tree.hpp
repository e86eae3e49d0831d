// SPDX-License-Identifier: BSL-1.0
/// \file
/// The tree from the top down; a topology itself knows the way up only.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <paddock/pci/topology.hpp>

#include "machine.hpp"

namespace p2pmap {

/// Who is below whom, all in ascending order of their addresses. Refers to its topology.
class tree {
 public:
  explicit tree(const pci::topology& machine) : below_(machine.size()), on_(machine.host_bridges().size()) {
    for (std::size_t i = 0; i < machine.size(); ++i) {
      const pci::node each = machine.at(i);
      if (const auto parent = each.parent()) {
        below_[parent->index()].push_back(each);
      } else if (each.is_placed()) {
        on_[static_cast<std::size_t>(&each.root() - machine.host_bridges().data())].push_back(each);
      } else {
        unplaced_.push_back(each);
      }
    }
  }

  [[nodiscard]] std::span<const pci::node> below(const pci::node& bridge) const { return below_[bridge.index()]; }
  /// On the root bus of a host bridge, by its index.
  [[nodiscard]] std::span<const pci::node> on(std::size_t host_bridge) const { return on_[host_bridge]; }
  /// The tops of what hangs below bridges that were not read.
  [[nodiscard]] std::span<const pci::node> unplaced() const { return unplaced_; }

 private:
  std::vector<std::vector<pci::node>> below_;
  std::vector<std::vector<pci::node>> on_;
  std::vector<pci::node> unplaced_;
};

}  // namespace p2pmap
