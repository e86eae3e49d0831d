// SPDX-License-Identifier: BSL-1.0
/// \file
/// The PCI functions of a machine as a tree: who is below which bridge, and below which host bridge.
/// It is built from plain values; read_libpci.hpp gets those from a running system, a dump or a captured tree.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <paddock/base/result.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/pci/function.hpp>
#include <paddock/pci/host_bridge.hpp>

namespace PADDOCK_NAMESPACE::pci {

class topology;

/// A function in its tree: two words, copied freely. Refers to its topology, which must stay where it is.
class node {
 public:
  [[nodiscard]] const function& operator*() const noexcept;
  [[nodiscard]] const function* operator->() const noexcept { return &**this; }
  [[nodiscard]] const topology& tree() const noexcept { return *tree_; }
  [[nodiscard]] std::size_t index() const noexcept { return index_; }  ///< In topology::functions().

  /// The bridge right above; nullopt on a root bus, or when is_placed() is false for want of that bridge.
  /// Kernel: pci_upstream_bridge(): a virtual function has its physical function's.
  [[nodiscard]] std::optional<node> parent() const noexcept;
  /// Hops up to the root bus: 0 on it.
  [[nodiscard]] std::size_t depth() const noexcept;
  /// False: a bridge above could not be found, as in a partial dump; where this hangs cannot be told.
  [[nodiscard]] bool is_placed() const noexcept;
  /// The host bridge above. Requires: is_placed().
  [[nodiscard]] const host_bridge& root() const noexcept;

  friend bool operator==(const node& a, const node& b) noexcept = default;

 private:
  friend class topology;
  node(const topology* tree, std::size_t index) noexcept : tree_(tree), index_(static_cast<std::uint32_t>(index)) {}

  const topology* tree_;
  std::uint32_t index_;
};

/// What a tree of functions does not tell of its machine.
struct machine_facts {
  cpu_rule cpu{cpu_rule::unknown};
  /// Whether iommu_group is told where there is one, so that "none" means that nothing translates.
  bool iommu_groups_told{false};
};

/// An immutable tree. Thread-safety: any number of threads read. Nodes and routes refer to it.
class topology {
 public:
  /// Puts functions, in any order, into their tree.
  /// Where a function does not tell its place, the bridges' bus numbers do. A bus that no bridge leads to but that lies
  /// in a bridge's range belongs to virtual functions, or to a bridge that is missing here; so may a bus on which
  /// nothing says that it is a root bus. Then its functions are not placed, and every route to them is unknown. Errors:
  /// already_exists (one address twice), invalid_argument (bridges that lead to each other in a loop, or two that lead
  /// to one bus), limit_reached (more than 2^20 functions, or 1024 bridges below each other).
  [[nodiscard]] static result<topology> build(std::vector<function> functions, machine_facts facts = {});

  topology(topology&&) noexcept = default;
  topology& operator=(topology&&) noexcept = default;
  topology(const topology&) = delete;
  topology& operator=(const topology&) = delete;
  ~topology() = default;

  /// In ascending order of their addresses.
  [[nodiscard]] std::span<const function> functions() const noexcept { return functions_; }
  [[nodiscard]] std::size_t size() const noexcept { return functions_.size(); }
  [[nodiscard]] node at(std::size_t index) const noexcept { return {this, index}; }
  /// Errors: not_found.
  [[nodiscard]] result<node> find(const address& where) const noexcept {
    if (const auto index = index_of(functions_, where)) {
      return node{this, *index};
    }
    return fail(errc::not_found, "PCI function in this topology");
  }
  [[nodiscard]] std::span<const host_bridge> host_bridges() const noexcept { return host_bridges_; }
  [[nodiscard]] const machine_facts& facts() const noexcept { return facts_; }

 private:
  friend class node;
  friend class route_finder;

  static constexpr std::uint32_t none = UINT32_MAX;
  static constexpr std::size_t most_functions = std::size_t{1} << 20;
  static constexpr std::uint16_t deepest = 1024;  ///< A domain has 256 buses, and a VMD below it as many.

  /// Sums run from the function itself up to the root bus, so that a difference of two is that of a stretch of the way.
  struct place {
    std::uint32_t parent{none};
    std::uint32_t root{none};
    std::uint16_t depth{0};
    std::uint16_t redirects{0};    ///< Functions whose ACS redirects.
    std::uint16_t unknown_acs{0};  ///< Functions whose ACS could not be read.
    bool placed{false};
  };

  /// Bridges by the bus behind them.
  struct bus_owner {
    std::uint32_t domain;
    std::uint8_t secondary;
    std::uint8_t subordinate;
    std::uint32_t bridge;
  };

  struct root_bus {
    std::uint32_t domain;
    std::uint8_t bus;
    friend auto operator<=>(const root_bus&, const root_bus&) noexcept = default;
  };

  topology() = default;

  static std::optional<std::uint32_t> index_of(const std::vector<function>& sorted, const address& where) noexcept {
    const auto at = std::lower_bound(sorted.begin(), sorted.end(), where,
                                     [](const function& each, const address& wanted) { return each.where < wanted; });
    if (at == sorted.end() || at->where != where) {
      return std::nullopt;
    }
    return static_cast<std::uint32_t>(at - sorted.begin());
  }

  [[nodiscard]] result<std::vector<bus_owner>> bus_owners() const;
  [[nodiscard]] std::optional<std::uint32_t> physical_function_of(const address& where) const noexcept;
  void attach(std::uint32_t index, const std::vector<bus_owner>& owners, std::vector<root_bus>& roots);
  void attach_by_bus(std::uint32_t index, const std::vector<bus_owner>& owners, std::vector<root_bus>& roots);
  void doubt_root_buses(const std::vector<root_bus>& roots);
  [[nodiscard]] result<void> add_up();
  void number_host_bridges(const std::vector<root_bus>& roots);

  std::vector<function> functions_;
  std::vector<place> places_;
  std::vector<std::uint32_t> physical_functions_;  ///< Those with virtual ones; only while the tree is built.
  std::vector<host_bridge> host_bridges_;
  machine_facts facts_;
};

inline const function& node::operator*() const noexcept { return tree_->functions_[index_]; }
inline std::optional<node> node::parent() const noexcept {
  const std::uint32_t above = tree_->places_[index_].parent;
  return above == topology::none ? std::nullopt : std::optional(node(tree_, above));
}
inline std::size_t node::depth() const noexcept { return tree_->places_[index_].depth; }
inline bool node::is_placed() const noexcept { return tree_->places_[index_].placed; }
inline const host_bridge& node::root() const noexcept { return tree_->host_bridges_[tree_->places_[index_].root]; }

/// All bridges with a bus behind them, by that bus.
inline result<std::vector<topology::bus_owner>> topology::bus_owners() const {
  std::vector<bus_owner> owners;
  bool needed = false;
  for (std::uint32_t i = 0; i < functions_.size(); ++i) {
    const function& each = functions_[i];
    needed = needed || each.attached.how == attachment_point::kind::from_bus_numbers;
    if (each.bridge && each.secondary != 0) {
      owners.push_back({each.where.domain, each.secondary, each.subordinate, i});
    }
  }
  const auto bus = [](const bus_owner& each) { return std::pair(each.domain, each.secondary); };
  std::sort(owners.begin(), owners.end(), [&](const bus_owner& a, const bus_owner& b) { return bus(a) < bus(b); });
  const auto twice = std::adjacent_find(owners.begin(), owners.end(),
                                        [&](const bus_owner& a, const bus_owner& b) { return bus(a) == bus(b); });
  if (needed && twice != owners.end()) {
    return fail(errc::invalid_argument, "PCI topology: two bridges lead to one bus");
  }
  return owners;
}

/// The function whose SR-IOV capability counts this address among its virtual functions.
inline std::optional<std::uint32_t> topology::physical_function_of(const address& where) const noexcept {
  const auto requester = [](const address& a) { return a.bus << 8 | a.device << 3 | a.function; };
  for (const std::uint32_t index : physical_functions_) {
    const function& each = functions_[index];
    const int distance = requester(where) - requester(each.where) - each.vf_offset;
    if (each.where.domain != where.domain || distance < 0) {
      continue;
    }
    const bool counted = each.vf_stride == 0
                             ? distance == 0
                             : distance % each.vf_stride == 0 && distance / each.vf_stride < each.vf_count;
    if (counted) {
      return index;
    }
  }
  return std::nullopt;
}

inline void topology::attach_by_bus(std::uint32_t index, const std::vector<bus_owner>& owners,
                                    std::vector<root_bus>& roots) {
  const address& where = functions_[index].where;
  place& mine = places_[index];
  const auto here = std::equal_range(owners.begin(), owners.end(), bus_owner{where.domain, 0, 0, 0},
                                     [](const bus_owner& a, const bus_owner& b) { return a.domain < b.domain; });
  bool inside = false;
  for (auto owner = here.first; owner != here.second; ++owner) {
    if (owner->bridge == index) {
      continue;
    }
    if (owner->secondary == where.bus) {
      mine.parent = owner->bridge;
      mine.placed = true;
      return;
    }
    inside = inside || (owner->secondary < where.bus && where.bus <= owner->subordinate);
  }
  if (const auto physical = physical_function_of(where); physical && functions_[*physical].where.bus != where.bus) {
    mine = places_[*physical];  // Comes first in the order, so its place is known.
    roots[index] = roots[*physical];
    return;
  }
  mine.placed = !inside;
  roots[index] = {where.domain, where.bus};
}

inline void topology::attach(std::uint32_t index, const std::vector<bus_owner>& owners, std::vector<root_bus>& roots) {
  const function& each = functions_[index];
  place& mine = places_[index];
  switch (each.attached.how) {
    case attachment_point::kind::from_bus_numbers: attach_by_bus(index, owners, roots); break;
    case attachment_point::kind::root_bus:
      roots[index] = {each.attached.parent.domain, each.attached.parent.bus};
      mine.placed = true;
      break;
    case attachment_point::kind::below:
      if (const auto above = index_of(functions_, each.attached.parent)) {
        mine.parent = *above;
        mine.placed = true;
      }
      break;
  }
}

/// A dump may leave bridges out, as lspci -s and -d do. A bus to which none leads is a root bus only where something on
/// it says so, since a device below a bridge that is missing must not be taken for one beside the host bridge.
inline void topology::doubt_root_buses(const std::vector<root_bus>& roots) {
  const auto is_told_by_buses = [&](std::uint32_t i) {
    return places_[i].parent == none && functions_[i].attached.how == attachment_point::kind::from_bus_numbers;
  };
  std::vector<root_bus> certain;
  for (std::uint32_t i = 0; i < functions_.size(); ++i) {
    const function& each = functions_[i];
    constexpr std::uint32_t class_host_bridge = 0x0600;
    const bool says_so = each.class_code >> 8 == class_host_bridge || each.port == port_type::root_port ||
                         each.port == port_type::rc_endpoint || each.port == port_type::rc_event_collector;
    if (is_told_by_buses(i) && says_so) {
      certain.push_back(roots[i]);
    }
  }
  for (std::uint32_t i = 0; i < functions_.size(); ++i) {
    const bool of_switch = functions_[i].port == port_type::upstream || functions_[i].port == port_type::downstream;
    // Sorted, as the functions are.
    if (is_told_by_buses(i) && (of_switch || !std::binary_search(certain.begin(), certain.end(), roots[i]))) {
      places_[i].placed = false;
    }
  }
}

/// Depths and sums, from the roots down, however the functions are ordered.
inline result<void> topology::add_up() {
  enum class mark : std::uint8_t { untouched, on_the_way, done };
  std::vector<mark> marks(functions_.size(), mark::untouched);
  std::vector<std::uint32_t> way;
  for (std::uint32_t start = 0; start < functions_.size(); ++start) {
    way.clear();
    std::uint32_t up = start;
    while (up != none && marks[up] == mark::untouched) {
      marks[up] = mark::on_the_way;
      way.push_back(up);
      up = places_[up].parent;
    }
    if (up != none && marks[up] == mark::on_the_way) {
      return fail(errc::invalid_argument, "PCI topology: bridges that lead to each other");
    }
    for (; !way.empty(); way.pop_back()) {
      place& mine = places_[way.back()];
      const acs_state& acs = functions_[way.back()].acs;
      const place above = mine.parent == none ? place{} : places_[mine.parent];
      if (above.depth == deepest) {
        return fail(errc::limit_reached, "PCI topology: bridges below each other");
      }
      mine.depth = mine.parent == none ? std::uint16_t{0} : static_cast<std::uint16_t>(above.depth + 1);
      mine.redirects = static_cast<std::uint16_t>(above.redirects + (acs.redirects() ? 1 : 0));
      mine.unknown_acs = static_cast<std::uint16_t>(above.unknown_acs + (acs.is_known() ? 0 : 1));
      if (mine.parent != none) {
        mine.placed = above.placed;
      }
      marks[way.back()] = mark::done;
    }
  }
  return {};
}

inline void topology::number_host_bridges(const std::vector<root_bus>& roots) {
  std::vector<root_bus> buses;
  for (std::uint32_t i = 0; i < functions_.size(); ++i) {
    if (places_[i].parent == none && places_[i].placed) {
      buses.push_back(roots[i]);
    }
  }
  std::sort(buses.begin(), buses.end());
  buses.erase(std::unique(buses.begin(), buses.end()), buses.end());
  for (const root_bus& each : buses) {
    host_bridges_.push_back({each.domain, each.bus, host_bridge::none, false, nullptr});
  }
  // Bridges have lower depths than what is below them, but not lower addresses: parents are looked up by walking.
  for (std::uint32_t i = 0; i < functions_.size(); ++i) {
    if (!places_[i].placed) {
      continue;
    }
    std::uint32_t top = i;
    while (places_[top].parent != none) {
      top = places_[top].parent;
    }
    const auto bus = std::lower_bound(buses.begin(), buses.end(), roots[top]);
    places_[i].root = static_cast<std::uint32_t>(bus - buses.begin());
    host_bridge& mine = host_bridges_[places_[i].root];
    if (top == i && mine.first == host_bridge::none) {
      const function& first = functions_[i];
      mine.first = i;
      const bool is_lowest = (first.where.device | first.where.function) == 0;
      // Of a dump, the function that stands for the bridge may have been left out.
      const bool is_first = first.attached.how != attachment_point::kind::from_bus_numbers;
      mine.known = first.responds && (is_lowest || (is_first && first.port != port_type::unknown));
      mine.entry = mine.known ? find_entry(first) : nullptr;
    }
  }
}

inline result<topology> topology::build(std::vector<function> functions, machine_facts facts) {
  if (functions.size() > most_functions) {
    return fail(errc::limit_reached, "PCI topology");
  }
  std::sort(functions.begin(), functions.end(), [](const function& a, const function& b) { return a.where < b.where; });
  if (std::adjacent_find(functions.begin(), functions.end(),
                         [](const function& a, const function& b) { return a.where == b.where; }) != functions.end()) {
    return fail(errc::already_exists, "PCI topology: one address twice");
  }
  topology built;
  built.functions_ = std::move(functions);
  built.facts_ = facts;
  built.places_.resize(built.functions_.size());
  PADDOCK_TRY(const auto owners, built.bus_owners());
  for (std::uint32_t i = 0; i < built.functions_.size(); ++i) {
    if (built.functions_[i].vf_count != 0) {
      built.physical_functions_.push_back(i);
    }
  }
  std::vector<root_bus> roots(built.functions_.size(), root_bus{0, 0});
  for (std::uint32_t i = 0; i < built.functions_.size(); ++i) {
    built.attach(i, owners, roots);
  }
  built.doubt_root_buses(roots);
  PADDOCK_TRY_VOID(built.add_up());
  built.number_host_bridges(roots);
  return built;
}

}  // namespace PADDOCK_NAMESPACE::pci
