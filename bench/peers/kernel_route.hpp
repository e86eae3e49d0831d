// SPDX-License-Identifier: BSL-1.0
/// \file
/// The kernel's search for a route, step for step: for each bridge above the provider, each one above the client, with
/// a look at ACS on the way. Kernel: calc_map_type_and_dist() (drivers/pci/p2pdma.c).
#pragma once

#include <cstddef>
#include <vector>

#include <paddock/pci/topology.hpp>

namespace paddock::bench {

class kernel_route {
 public:
  struct verdict {
    unsigned distance{0};
    unsigned redirects{0};
    bool common{false};
  };

  explicit kernel_route(const pci::topology& tree) {
    for (std::size_t i = 0; i < tree.size(); ++i) {
      const auto above = tree.at(i).parent();
      devices_.push_back({above ? above->index() : none, tree.functions()[i].acs.redirects()});
    }
  }

  [[nodiscard]] verdict find(std::size_t client, std::size_t provider) const noexcept {
    verdict found;
    unsigned up_a = 0;
    unsigned up_b = 0;
    for (std::size_t a = provider; a != none; a = devices_[a].above, ++up_a) {
      found.redirects += devices_[a].redirects ? 1U : 0U;
      up_b = 0;
      for (std::size_t b = client; b != none; b = devices_[b].above, ++up_b) {
        if (a == b) {
          for (std::size_t below = client; below != a; below = devices_[below].above) {
            found.redirects += devices_[below].redirects ? 1U : 0U;
          }
          found.distance = up_a + up_b;
          found.common = true;
          return found;
        }
      }
    }
    found.distance = up_a + up_b;
    return found;
  }

 private:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  struct device {
    std::size_t above;
    bool redirects;
  };
  std::vector<device> devices_;
};

}  // namespace paddock::bench
