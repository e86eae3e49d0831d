// SPDX-License-Identifier: BSL-1.0
/// \file
/// Whether one function's DMA reaches another one's memory, which way, and why.
/// For DMA that the kernel issues the verdict is the kernel's own rule, in Linux 7.2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <fmt/format.h>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/pci/quirks.hpp>
#include <paddock/pci/topology.hpp>

namespace PADDOCK_NAMESPACE::pci {

enum class route_type : std::uint8_t {
  unknown,           ///< What would decide could not be read; route::what_is_missing() tells what.
  not_supported,     ///< No transaction gets through, or the kernel refuses to try.
  bus_addr,          ///< Directly, below a common bridge: the client uses the provider's bus address.
  thru_host_bridge,  ///< Up to the root complex and down again.
};

/// As the kernel spells it: "BUS_ADDR".
[[nodiscard]] constexpr const char* name(route_type type) noexcept {
  switch (type) {
    case route_type::unknown: return "UNKNOWN";
    case route_type::not_supported: return "NOT_SUPPORTED";
    case route_type::bus_addr: return "BUS_ADDR";
    case route_type::thru_host_bridge: return "THRU_HOST_BRIDGE";
  }
  return "UNKNOWN";
}

/// Who programs the client's DMA, and with which addresses.
enum class dma_owner : std::uint8_t {
  kernel_dma,  ///< A kernel driver, through the DMA API.
  vfio,        ///< A process, through an IOMMU address space: the device issues IOVAs.
  /// As vfio, with the provider's memory mapped at the IOVA that equals its bus address. Where nothing redirects, a
  /// switch then takes the transaction for its own and does not ask the IOMMU.
  vfio_identity,
};

/// What decided about the way through the root complex.
enum class root_complex_rule : std::uint8_t {
  not_asked,     ///< The route does not leave the common bridge.
  cpu,           ///< The kernel trusts every host bridge of this kind of CPU.
  listed,        ///< The host bridges are on the kernel's list.
  only_same,     ///< They are listed for traffic inside one host bridge, and these are two.
  not_listed,    ///< They are not.
  undetermined,  ///< Not on the list as far as it could be read, and the CPU, or the host bridge, is not known.
};

/// Facts without which there is no verdict; a set of bits.
enum class missing : std::uint8_t {
  nothing = 0,
  placement = 1,    ///< A bridge above the client or the provider is not in the topology.
  acs = 2,          ///< The ACS of a function on the way: reading it takes CAP_SYS_ADMIN, or a fuller dump.
  cpu = 4,          ///< The kind of CPU, which a dump does not hold.
  host_bridge = 8,  ///< The first function of a root bus does not answer, or not enough of it was read.
  forwarding = 16,  ///< For VFIO: nothing tells whether this root complex forwards; verify() does.
};
[[nodiscard]] constexpr missing operator|(missing a, missing b) noexcept {
  return static_cast<missing>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
[[nodiscard]] constexpr bool has(missing set, missing one) noexcept {
  return (static_cast<unsigned>(set) & static_cast<unsigned>(one)) != 0;
}

/// A verdict with its reasons. Small, without allocations; refers to its topology and to the quirk that decided.
/// Thread-safety: a value that is only read.
class route {
 public:
  [[nodiscard]] node client() const noexcept { return client_; }
  [[nodiscard]] node provider() const noexcept { return provider_; }
  [[nodiscard]] transaction what() const noexcept { return what_; }
  [[nodiscard]] dma_owner owner() const noexcept { return owner_; }

  [[nodiscard]] route_type type() const noexcept { return type_; }
  [[nodiscard]] bool is_supported() const noexcept {
    return type_ == route_type::bus_addr || type_ == route_type::thru_host_bridge;
  }
  /// What the kernel's rule alone says, before quirks and whoever owns the DMA.
  [[nodiscard]] route_type kernel_type() const noexcept { return kernel_type_; }
  /// Hops from the one to the other. 0 for one function, 2 for two of one device, 4 for two below one switch.
  /// Without a common bridge: the functions from both up to their root buses. nullopt when a place is not known.
  /// The kernel's own call answers -1 where the route is not supported; this tells the hops all the same.
  [[nodiscard]] std::optional<unsigned> distance() const noexcept {
    return has(missing_, missing::placement) ? std::nullopt : std::optional<unsigned>(distance_);
  }
  /// The nearest bridge above both; the function itself when they are one. nullopt: their ways meet in a root complex.
  [[nodiscard]] std::optional<node> common_bridge() const noexcept { return common_; }
  /// Whether they are below one common bridge and a function on the way has ACS that redirects.
  [[nodiscard]] bool is_redirected() const noexcept { return redirected_; }

  /// Calls `visit(node)` for each function on the way whose ACS redirects, in the order in which the kernel logs them:
  /// from the provider up to and with the common bridge, then from the client up to below it. Without a common bridge
  /// there is nothing to redirect: the way leads to the root complex.
  template <class Visit>
  void for_each_redirect(Visit&& visit) const {
    if (!common_) {
      return;
    }
    visit_redirects(provider_, visit);
    if ((*common_)->acs.redirects()) {
      visit(*common_);
    }
    visit_redirects(client_, visit);
  }

  /// Whether the client's IOMMU domain lets no DMA of a kernel driver through, whatever the way is.
  [[nodiscard]] bool is_blocked() const noexcept {
    return owner_ == dma_owner::kernel_dma && client_->domain == iommu_domain::blocked;
  }
  /// What decided about the root complex.
  [[nodiscard]] root_complex_rule root_rule() const noexcept { return root_rule_; }
  /// The list entry of the provider's host bridge; null when it has none.
  [[nodiscard]] const host_bridge_entry* provider_entry() const noexcept { return entry_of(provider_); }
  /// The list entry of the client's host bridge; null when it has none.
  [[nodiscard]] const host_bridge_entry* client_entry() const noexcept { return entry_of(client_); }
  /// The quirk that decided; null when none did.
  [[nodiscard]] const quirk* decided_by() const noexcept { return quirk_; }
  /// Whether the ACS of all functions on the way could be read, so that for_each_redirect() misses none.
  [[nodiscard]] bool is_acs_known() const noexcept { return acs_known_; }
  /// Why kernel_type() is unknown.
  [[nodiscard]] missing kernel_misses() const noexcept { return kernel_misses_; }
  /// Why type() is unknown.
  [[nodiscard]] missing what_is_missing() const noexcept { return missing_; }

  /// The boot parameter that would let a kernel driver's DMA stay below the common bridge:
  /// "pci=disable_acs_redir=BDF;BDF". Empty when nothing redirects, when the ACS of a function on the way could not be
  /// read, when a quirk refuses the route, and for a process. It weakens the isolation of these ports for all devices.
  /// Kernel: Documentation/admin-guide/kernel-parameters.txt, pci=disable_acs_redir.
  [[nodiscard]] std::string boot_parameter() const {
    std::string text;
    const bool helps = owner_ == dma_owner::kernel_dma && acs_known_ && quirk_ == nullptr;
    if (common_ && redirected_ && helps) {
      for_each_redirect([&](const node& port) {
        text += text.empty() ? "pci=disable_acs_redir=" : ";";
        text += to_string(port->where);
      });
    }
    return text;
  }

 private:
  friend class route_finder;
  route(node client, node provider, transaction what, dma_owner owner) noexcept
      : client_(client), provider_(provider), what_(what), owner_(owner) {}

  /// From `at` up to below the common bridge.
  template <class Visit>
  void visit_redirects(node at, Visit& visit) const {
    for (; at != *common_; at = *at.parent()) {
      if (at->acs.redirects()) {
        visit(at);
      }
    }
  }

  static const host_bridge_entry* entry_of(const node& of) noexcept {
    return of.is_placed() ? of.root().entry : nullptr;
  }

  node client_;
  node provider_;
  std::optional<node> common_;
  const quirk* quirk_{nullptr};
  unsigned distance_{0};
  transaction what_;
  dma_owner owner_;
  route_type type_{route_type::unknown};
  route_type kernel_type_{route_type::unknown};
  root_complex_rule root_rule_{root_complex_rule::not_asked};
  missing missing_{missing::nothing};
  missing kernel_misses_{missing::nothing};
  bool redirected_{false};
  bool acs_known_{true};
};

/// The rules. Kernel: calc_map_type_and_dist() (drivers/pci/p2pdma.c).
class route_finder {
 public:
  [[nodiscard]] static route find(node client, node provider, transaction what, dma_owner owner,
                                  std::span<const quirk> quirks) noexcept {
    route found(client, provider, what, owner);
    if (!client.is_placed() || !provider.is_placed()) {
      found.missing_ = missing::placement;
      found.kernel_misses_ = missing::placement;
      return found;
    }
    measure(found);
    judge_kernel(found);
    found.kernel_misses_ = found.missing_;
    if (owner == dma_owner::kernel_dma) {
      found.type_ = found.is_blocked() ? route_type::not_supported : found.kernel_type_;
    } else {
      judge_vfio(found);
    }
    apply(found, builtin_quirks);
    apply(found, quirks);
    return found;
  }

 private:
  using place = topology::place;

  /// Finds where the two ways meet, how long they are, and whether something on them redirects.
  static void measure(route& found) noexcept {
    const auto& places = found.client_.tree().places_;
    auto a = static_cast<std::uint32_t>(found.provider_.index());
    auto b = static_cast<std::uint32_t>(found.client_.index());
    const place& provider = places[a];
    const place& client = places[b];
    while (a != b) {
      // The deeper one goes up; the root complex, which is `none`, is above all.
      const unsigned depth_a = a == topology::none ? 0 : places[a].depth + 1U;
      const unsigned depth_b = b == topology::none ? 0 : places[b].depth + 1U;
      if (depth_a >= depth_b) {
        a = places[a].parent;
      }
      if (depth_b >= depth_a) {
        b = places[b].parent;
      }
    }
    if (a == topology::none) {
      found.distance_ = provider.depth + 1U + client.depth + 1U;
      return;
    }
    found.common_ = found.client_.tree().at(a);
    const place& common = places[a];
    const place above = common.parent == topology::none ? place{} : places[common.parent];
    found.distance_ = provider.depth + client.depth - 2U * common.depth;
    // Both ways with the common bridge once: its own bits count too.
    found.redirected_ = provider.redirects + client.redirects != common.redirects + above.redirects;
    found.acs_known_ = provider.unknown_acs + client.unknown_acs == common.unknown_acs + above.unknown_acs;
  }

  /// Whether the root complex forwards, as the kernel judges it; `lacks` is what is missing for "undetermined".
  static root_complex_rule judge_root_complex(const route& found, missing& lacks) noexcept {
    const cpu_rule cpu = found.client_.tree().facts().cpu;
    const host_bridge& of_client = found.client_.root();
    const host_bridge& of_provider = found.provider_.root();
    if (cpu == cpu_rule::amd_zen) {
      return root_complex_rule::cpu;
    }
    bool only_same = false;
    if (of_client.entry != nullptr && of_provider.entry != nullptr) {
      only_same =
          &of_client != &of_provider && (of_client.entry->same_host_bridge || of_provider.entry->same_host_bridge);
      if (!only_same) {
        return root_complex_rule::listed;
      }
    }
    const bool bridges_known = of_client.known && of_provider.known;
    // One that is not listed is enough to refuse.
    const bool unlisted =
        (of_client.known && of_client.entry == nullptr) || (of_provider.known && of_provider.entry == nullptr);
    if (cpu == cpu_rule::none && (bridges_known || unlisted)) {
      return only_same ? root_complex_rule::only_same : root_complex_rule::not_listed;
    }
    lacks = (cpu == cpu_rule::unknown ? missing::cpu : missing::nothing) |
            (bridges_known ? missing::nothing : missing::host_bridge);
    return root_complex_rule::undetermined;
  }

  static void judge_kernel(route& found) noexcept {
    if (found.common_ && !found.redirected_) {
      found.kernel_type_ = found.acs_known_ ? route_type::bus_addr : route_type::unknown;
      found.missing_ = found.acs_known_ ? missing::nothing : missing::acs;
      return;
    }
    found.root_rule_ = judge_root_complex(found, found.missing_);
    switch (found.root_rule_) {
      case root_complex_rule::cpu:
      case root_complex_rule::listed: found.kernel_type_ = route_type::thru_host_bridge; break;
      case root_complex_rule::undetermined: found.kernel_type_ = route_type::unknown; break;
      default: found.kernel_type_ = route_type::not_supported; break;
    }
  }

  /// A process's transactions carry IOVAs, and no rule is asked when it maps a peer's BAR: what decides is where the
  /// transaction goes. An IOVA that is no bus address leaves every switch upwards, whatever its ACS.
  static void judge_vfio(route& found) noexcept {
    found.missing_ = missing::nothing;
    found.root_rule_ = root_complex_rule::not_asked;
    if (found.client_.tree().facts().iommu_groups_told && !found.client_->iommu_group) {
      found.type_ = route_type::not_supported;
      return;
    }
    const bool inside = found.client_ == found.provider_;
    if (found.common_ && !found.redirected_ && (inside || found.owner_ == dma_owner::vfio_identity)) {
      found.type_ = found.acs_known_ ? route_type::bus_addr : route_type::unknown;
      found.missing_ = found.acs_known_ ? missing::nothing : missing::acs;
      return;
    }
    found.root_rule_ = judge_root_complex(found, found.missing_);
    if (found.root_rule_ == root_complex_rule::cpu || found.root_rule_ == root_complex_rule::listed) {
      found.type_ = route_type::thru_host_bridge;
    } else {
      found.missing_ = missing::forwarding;
    }
  }

  static bool is_on_the_way(const route& found, const quirk& each) noexcept {
    switch (each.who) {
      case quirk::role::client: return each.matches(*found.client_);
      case quirk::role::provider: return each.matches(*found.provider_);
      case quirk::role::bridge:
        return has_bridge(found, found.client_, each) || has_bridge(found, found.provider_, each);
      case quirk::role::host_bridge: {
        // One that loses data spoils the way; to vouch for it takes both.
        const bool of_client = has_root(found.client_, each);
        const bool of_provider = has_root(found.provider_, each);
        return found.root_rule_ != root_complex_rule::not_asked &&
               (each.does == quirk::effect::fails ? of_client || of_provider : of_client && of_provider);
      }
    }
    return false;
  }
  /// Up to the common bridge, or to the root bus where the way leads there.
  static bool has_bridge(const route& found, const node& end, const quirk& each) noexcept {
    const bool to_the_root = found.root_rule_ != root_complex_rule::not_asked || !found.common_;
    for (node at = end; to_the_root || at != *found.common_;) {
      const std::optional<node> above = at.parent();
      if (!above) {
        return false;
      }
      if (each.matches(**above)) {
        return true;
      }
      at = *above;
    }
    return false;
  }
  static bool has_root(const node& end, const quirk& each) noexcept {
    return each.matches(*end.tree().at(end.root().first));
  }

  static void apply(route& found, std::span<const quirk> quirks) noexcept {
    for (const quirk& each : quirks) {
      if (!includes(each.which, found.what_) || !is_on_the_way(found, each)) {
        continue;
      }
      if (each.does == quirk::effect::fails) {
        found.type_ = route_type::not_supported;
        found.missing_ = missing::nothing;
        found.quirk_ = &each;
      } else if (each.who == quirk::role::host_bridge && found.missing_ == missing::forwarding) {
        // Only for a process, which is free to try: the kernel refuses what its own list lacks.
        found.type_ = route_type::thru_host_bridge;
        found.missing_ = missing::nothing;
        found.quirk_ = &each;
      }
    }
  }
};

/// Judges the way of `what`, issued by the client, to the provider's memory.
/// `quirks` are tables of your own, asked after builtin_quirks; they must outlive the route.
/// Errors: invalid_argument when the two are of different topologies.
/// Thread-safety: any. Allocates nothing.
[[nodiscard]] inline result<route> route_between(node client, node provider, transaction what,
                                                 dma_owner owner = dma_owner::kernel_dma,
                                                 std::span<const quirk> quirks = {}) noexcept {
  if (&client.tree() != &provider.tree()) {
    return fail(errc::invalid_argument, "route_between: two topologies");
  }
  return route_finder::find(client, provider, what, owner, quirks);
}

}  // namespace PADDOCK_NAMESPACE::pci
