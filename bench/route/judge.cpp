// SPDX-License-Identifier: BSL-1.0
// Routes between the endpoints of a server: one at a time in an order drawn at random, and all of them.
#include <cstddef>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include <paddock/pci/read_libpci.hpp>
#include <paddock/pci/route.hpp>

#include "../peers/kernel_route.hpp"
#include "../support/batch.hpp"
#include "../support/server_dump.hpp"

namespace paddock::bench {
namespace {

constexpr std::size_t asked_endpoints = 100;

struct server {
  server() {
    auto read = pci::read_dump(server_dump(), pci::cpu_rule::none);
    if (!read) {
      return;
    }
    tree.emplace(std::move(*read));
    for (std::size_t i = 0; i < tree->size() && endpoints.size() < asked_endpoints; ++i) {
      if (tree->functions()[i].is_endpoint()) {
        endpoints.push_back(i);
      }
    }
    std::mt19937 random(1);
    for (std::size_t i = 0; i < batch_size && !endpoints.empty(); ++i) {
      pairs.emplace_back(endpoints[random() % endpoints.size()], endpoints[random() % endpoints.size()]);
    }
  }
  std::optional<pci::topology> tree;
  std::vector<std::size_t> endpoints;
  std::vector<std::pair<std::size_t, std::size_t>> pairs;
};

[[nodiscard]] const server& the_server() {
  static const server made;
  return made;
}

/// The subject itself, and its peer, under one verb.
class paddock_routes {
 public:
  explicit paddock_routes(const pci::topology& tree) : tree_(&tree) {}
  [[nodiscard]] auto find(std::size_t client, std::size_t provider) const noexcept {
    return pci::route_between(tree_->at(client), tree_->at(provider), transaction::write);
  }

 private:
  const pci::topology* tree_;
};

template <class Routes>
void measure_routes(benchmark::State& state, bool all) {
  const server& of = the_server();
  if (of.endpoints.size() != asked_endpoints) {
    state.SkipWithError("the server should have enough endpoints");
    return;
  }
  const Routes routes(*of.tree);
  if (all) {
    measure(
        state, 1, [] {},
        [&] {
          for (const std::size_t client : of.endpoints) {
            for (const std::size_t provider : of.endpoints) {
              benchmark::DoNotOptimize(routes.find(client, provider));
            }
          }
        });
  } else {
    measure(
        state, of.pairs.size(), [] {},
        [&] {
          for (const auto& [client, provider] : of.pairs) {
            benchmark::DoNotOptimize(routes.find(client, provider));
          }
        });
  }
}

const bool registered = [] {
  for (const bool all : {false, true}) {
    const char* const row = all ? "route: all of 100 endpoints" : "route: between two";
    add_row(row, "paddock", [all](benchmark::State& state) { measure_routes<paddock_routes>(state, all); });
    add_row(row, "kernel steps, no list", [all](benchmark::State& state) { measure_routes<kernel_route>(state, all); });
  }
  return true;
}();

}  // namespace
}  // namespace paddock::bench
