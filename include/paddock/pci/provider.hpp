// SPDX-License-Identifier: BSL-1.0
/// \file
/// Who has memory behind a BAR to give, and which of them is nearest to all who want to use it.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <ranges>
#include <span>
#include <vector>

#include <paddock/base/result.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/pci/quirks.hpp>
#include <paddock/pci/route.hpp>
#include <paddock/pci/topology.hpp>

namespace PADDOCK_NAMESPACE::pci {

/// Something that hands out memory of one PCI function: a pool, a driver's own allocator, or what the kernel publishes.
template <class Provider>
concept provider = requires(const Provider& of) {
  { of.provider() } -> std::convertible_to<address>;         ///< Whose BAR it is.
  { of.available() } -> std::convertible_to<std::uint64_t>;  ///< Bytes that are free.
  { of.is_published() } -> std::convertible_to<bool>;        ///< Whether others may be given it.
};

/// Memory that a kernel driver publishes; kernel/p2pmem.hpp maps it.
/// Kernel: /sys/bus/pci/devices/BDF/p2pmem (drivers/pci/p2pdma.c).
class kernel_provider {
 public:
  explicit kernel_provider(const address& of, const p2pmem_info& memory) noexcept : of_(of), memory_(memory) {}
  [[nodiscard]] address provider() const noexcept { return of_; }
  [[nodiscard]] std::uint64_t available() const noexcept { return memory_.available; }
  [[nodiscard]] bool is_published() const noexcept { return memory_.published; }

 private:
  address of_;
  p2pmem_info memory_;
};

/// All that the kernel published when the topology was read.
[[nodiscard]] inline std::vector<kernel_provider> kernel_providers(const topology& in) {
  std::vector<kernel_provider> found;
  for (const function& each : in.functions()) {
    if (each.p2pmem) {
      found.emplace_back(each.where, *each.p2pmem);
    }
  }
  return found;
}

/// A provider that all clients reach.
struct candidate {
  std::size_t index;        ///< In the range that was searched.
  node where;               ///< The function.
  unsigned distance;        ///< Hops, summed over all clients.
  std::uint64_t available;  ///< Bytes that were free.
};

/// Breaks ties the same way every time: the lowest address, and of two on one function the first in the range.
struct lowest_address {
  [[nodiscard]] bool operator()(const candidate& a, const candidate& b) const noexcept {
    return a.where->where != b.where->where ? a.where->where < b.where->where : a.index < b.index;
  }
};

/// What the memory will be used for.
struct provider_use {
  transactions what{transactions::both};  ///< As issued by the clients.
  dma_owner owner{dma_owner::kernel_dma};
  std::span<const quirk> quirks{};
};

namespace detail {

/// The sum of the distances, or nullopt when one of the clients does not reach it for certain.
[[nodiscard]] inline std::optional<unsigned> sum_of_distances(std::span<const node> clients, node to,
                                                              const provider_use& use) noexcept {
  unsigned sum = 0;
  for (const node& client : clients) {
    for (const transaction what : {transaction::read, transaction::write}) {
      if (!includes(use.what, what)) {
        continue;
      }
      const auto way = route_between(client, to, what, use.owner, use.quirks);
      if (!way || !way->is_supported()) {
        return std::nullopt;
      }
      if (what == transaction::read || use.what == transactions::writes) {
        sum += *way->distance();
      }
    }
  }
  return sum;
}

}  // namespace detail

/// Finds the published provider with at least `bytes` free that is nearest to all clients: with the least sum of
/// distances. `better(a, b)` says whether candidate a is to be preferred to b at the same distance.
/// Errors: invalid_argument (no client, clients of different topologies, or 0 bytes); not_found (nobody has published
/// memory of a function in this topology); unreachable (some have, but not all clients reach it for certain);
/// limit_reached (those who are reached have less than `bytes`).
/// Thread-safety: as the providers. Kernel: pci_p2pmem_find_many() (drivers/pci/p2pdma.c), which draws lots instead.
template <std::ranges::forward_range Providers, class Better = lowest_address>
requires provider<std::ranges::range_value_t<Providers>>
[[nodiscard]] result<candidate> find_provider(std::span<const node> clients, std::uint64_t bytes,
                                              const Providers& providers, const provider_use& use = {},
                                              Better better = {}) {
  if (clients.empty() || bytes == 0) {
    return fail(errc::invalid_argument, "find_provider: no client, or no bytes");
  }
  const topology& tree = clients.front().tree();
  for (const node& each : clients) {
    if (&each.tree() != &tree) {
      return fail(errc::invalid_argument, "find_provider: clients of two topologies");
    }
  }
  std::optional<candidate> best;
  errc why_not = errc::not_found;
  std::size_t index = 0;
  for (const auto& each : providers) {
    const std::size_t mine = index++;
    const auto where = tree.find(each.provider());
    if (!each.is_published() || !where) {
      continue;
    }
    const auto distance = detail::sum_of_distances(clients, *where, use);
    if (!distance) {
      why_not = why_not == errc::not_found ? errc::unreachable : why_not;
      continue;
    }
    const candidate found{mine, *where, *distance, each.available()};
    if (found.available < bytes) {
      why_not = errc::limit_reached;
    } else if (!best || found.distance < best->distance || (found.distance == best->distance && better(found, *best))) {
      best = found;
    }
  }
  if (!best) {
    return fail(why_not, "find_provider");
  }
  return *best;
}

/// The same over what the kernel publishes; `index` is that of the provider in kernel_providers(clients' topology).
[[nodiscard]] inline result<candidate> find_provider(std::span<const node> clients, std::uint64_t bytes,
                                                     const provider_use& use = {}) {
  if (clients.empty()) {
    return fail(errc::invalid_argument, "find_provider: no client, or no bytes");
  }
  return find_provider(clients, bytes, kernel_providers(clients.front().tree()), use);
}

}  // namespace PADDOCK_NAMESPACE::pci
