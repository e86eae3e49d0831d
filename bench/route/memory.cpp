// SPDX-License-Identifier: BSL-1.0
// Memory near its users: which of 64 providers, for 16 clients, and pages of one of them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <paddock/pci/pool.hpp>
#include <paddock/pci/provider.hpp>
#include <paddock/pci/read_libpci.hpp>

#include "../support/batch.hpp"
#include "../support/server_dump.hpp"

namespace paddock::bench {
namespace {

constexpr std::size_t clients_asked = 16;
constexpr std::size_t providers_asked = 64;
constexpr std::uint64_t page = 4096;

struct offer {
  pci::address of;
  [[nodiscard]] pci::address provider() const noexcept { return of; }
  [[nodiscard]] std::uint64_t available() const noexcept { return 1U << 30; }
  [[nodiscard]] bool is_published() const noexcept { return true; }
};

/// Every client reaches every provider, so that none is passed over early.
struct market {
  market() {
    auto read = pci::read_dump(server_dump(), pci::cpu_rule::amd_zen);
    if (!read) {
      return;
    }
    tree.emplace(std::move(*read));
    for (std::size_t i = 0; i < tree->size(); ++i) {
      const pci::node each = tree->at(i);
      if (!each->is_endpoint() || !is_reached(each)) {
        continue;
      }
      if (clients.size() < clients_asked) {
        clients.push_back(each);
      } else if (providers.size() < providers_asked) {
        providers.push_back({each->where});
      }
    }
  }
  [[nodiscard]] bool is_reached(pci::node provider) const {
    return std::all_of(clients.begin(), clients.end(), [&](pci::node client) {
      const auto way = pci::route_between(client, provider, transaction::read);
      return way && way->is_supported();
    });
  }
  std::optional<pci::topology> tree;
  std::vector<pci::node> clients;
  std::vector<offer> providers;
};

void nearest(benchmark::State& state) {
  const market of;
  const auto found = pci::find_provider(of.clients, page, of.providers);
  if (of.clients.size() != clients_asked || of.providers.size() != providers_asked || !found) {
    state.SkipWithError("the server should have enough endpoints, all of which reach each other");
    return;
  }
  measure(
      state, 1, [] {}, [&] { benchmark::DoNotOptimize(pci::find_provider(of.clients, page, of.providers)); });
}

/// Two pages of a pool that has 200 blocks of all sizes in use, as after a while.
constexpr std::size_t in_use = 200;
constexpr std::uint64_t pool_pages = 4096;

std::uint64_t pages_of(std::size_t block) { return 1 + block * 7 % 13; }

void from_pool(benchmark::State& state) {
  auto pool = *pci::pool::create({{}, bar_index(2), 0, pool_pages * page}, page);
  std::vector<std::optional<pci::pool_memory>> held;
  for (std::size_t i = 0; i < 2 * in_use; ++i) {
    held.emplace_back(*pool.allocate(pages_of(i) * page));
  }
  for (std::size_t i = 0; i < held.size(); i += 2) {
    held[i].reset();
  }
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          const auto taken = pool.allocate(2 * page);
          benchmark::DoNotOptimize(&taken);
        }
      });
}

/// The library that a pool is made of, with nothing around it: the same gap is taken, and given back.
void from_library(benchmark::State& state) {
  using run = boost::icl::right_open_interval<std::uint64_t>;
  boost::icl::interval_set<std::uint64_t, std::less, run> free;
  free += run(0, pool_pages);
  std::vector<run> held;
  std::uint64_t next = 0;
  for (std::size_t i = 0; i < 2 * in_use; ++i) {
    held.emplace_back(next, next + pages_of(i));
    next += pages_of(i);
    free -= held.back();
  }
  for (std::size_t i = 0; i < held.size(); i += 2) {
    free += held[i];
  }
  const auto long_enough = [](const run& gap) { return gap.upper() - gap.lower() >= 2; };
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          const auto gap = std::find_if(free.begin(), free.end(), long_enough);
          const run taken(gap->lower(), gap->lower() + 2);
          free -= taken;
          benchmark::DoNotOptimize(&taken);
          free += taken;
        }
      });
}

const bool registered = [] {
  add_row("route: nearest of 64 for 16", "paddock", nearest);
  add_row("pool: allocate and free", "paddock", from_pool);
  add_row("pool: allocate and free", "floor: Boost.ICL", from_library);
  return true;
}();

}  // namespace
}  // namespace paddock::bench
