// SPDX-License-Identifier: BSL-1.0
/// \file
/// Which pairs are asked about, what the rules say of each, and what decided about all of them together.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <paddock/pci/route.hpp>
#include <paddock/pci/topology.hpp>

#include "machine.hpp"

namespace p2pmap {

/// The routes from one client to one provider, for DMA that a kernel driver issues.
struct pair_of_routes {
  pci::route reads;
  pci::route writes;

  [[nodiscard]] static pair_of_routes between(const pci::node& client, const pci::node& provider) {
    // Only fails for nodes of two topologies.
    return {*pci::route_between(client, provider, paddock::transaction::read),
            *pci::route_between(client, provider, paddock::transaction::write)};
  }
};

/// Whose DMA is asked about, and whose memory: every pair of the two. Refers to its topology.
class question {
 public:
  /// All endpoints on a side for which none is named. Fails for an address that is not in the machine.
  [[nodiscard]] static outcome<question> about(const pci::topology& machine, std::span<const pci::address> clients,
                                               std::span<const pci::address> providers) {
    question asked(machine);
    for (auto [named, side] : {std::pair{clients, &asked.clients_}, std::pair{providers, &asked.providers_}}) {
      for (const pci::address& each : named) {
        const auto found = machine.find(each);
        if (!found) {
          return tl::unexpected(fmt::format("there is no {} in this machine", each));
        }
        side->push_back(*found);
      }
      for (std::size_t i = 0; named.empty() && i < machine.size(); ++i) {
        if (machine.at(i)->is_endpoint()) {
          side->push_back(machine.at(i));
        }
      }
      std::sort(side->begin(), side->end(), by_address);
      side->erase(std::unique(side->begin(), side->end()), side->end());
    }
    asked.count();
    return asked;
  }

  [[nodiscard]] const pci::topology& machine() const noexcept { return *machine_; }
  /// In ascending order of their addresses; likewise providers.
  [[nodiscard]] std::span<const pci::node> clients() const noexcept { return clients_; }
  [[nodiscard]] std::span<const pci::node> providers() const noexcept { return providers_; }
  /// The short name of a function that is asked about, from 1; 0 for the others.
  [[nodiscard]] std::size_t number(const pci::node& of) const noexcept { return numbers_[of.index()]; }

 private:
  explicit question(const pci::topology& machine) : machine_(&machine), numbers_(machine.size(), 0) {}

  static bool by_address(const pci::node& a, const pci::node& b) noexcept { return a.index() < b.index(); }

  void count() {
    std::vector<pci::node> all;
    std::set_union(clients_.begin(), clients_.end(), providers_.begin(), providers_.end(), std::back_inserter(all),
                   by_address);
    for (std::size_t i = 0; i < all.size(); ++i) {
      numbers_[all[i].index()] = i + 1;
    }
  }

  const pci::topology* machine_;
  std::vector<pci::node> clients_;
  std::vector<pci::node> providers_;
  std::vector<std::size_t> numbers_;
};

/// What decided about the pairs of a question, each thing once however many pairs it decided about.
class reasons {
 public:
  explicit reasons(const question& asked)
      : machine_(&asked.machine()),
        redirecting_(machine_->size()),
        unreadable_(machine_->size()),
        unplaced_(machine_->size()),
        untrusted_(machine_->host_bridges().size()),
        only_within_(machine_->host_bridges().size()),
        silent_(machine_->host_bridges().size()) {
    for (const pci::node& client : asked.clients()) {
      for (const pci::node& provider : asked.providers()) {
        const auto routes = pair_of_routes::between(client, provider);
        add(routes.reads);
        add_quirk(routes.reads.decided_by());
        add_quirk(routes.writes.decided_by());
      }
    }
  }

  /// For people, a sentence or two each, that begin with the code of the matrix which they explain.
  [[nodiscard]] std::vector<std::string> in_words() const {
    std::vector<std::string> notes;
    const auto add_note = [&notes](const char* before, const std::string& what, const char* after) {
      if (!what.empty()) {
        notes.push_back(before + what + after);
      }
    };
    add_note("a: ACS sends what passes these up to the root complex: ",
             functions(redirecting_,
                       [](const pci::function& each) {
                         return fmt::format("{} ({})", each.where,
                                            pci::acs_names(each.acs.enabled & pci::acs_bits::redirect));
                       }),
             ".");
    add_note("a: the boot parameter pci=disable_acs_redir=",
             functions(
                 redirecting_, [](const pci::function& each) { return pci::to_string(each.where); }, ";"),
             " would end that, and weaken the isolation of these ports for all devices.");
    add_note("-: the kernel's list does not have these root complexes, and the CPU is no AMD since Zen: ",
             host_bridges(untrusted_), ".");
    add_note("-: the kernel's list trusts these root complexes only between ports of one host bridge: ",
             host_bridges(only_within_), ".");
    for (const pci::quirk* each : quirks_) {
      add_note("q: ", each->why, ".");
    }
    const auto where = [](const pci::function& each) { return pci::to_string(each.where); };
    add_note("?: the ACS of these could not be read: ", functions(unreadable_, where),
             ". Run this as root, or take the dump as root with lspci -xxxx.");
    if (cpu_unknown_) {
      notes.emplace_back(
          "?: the kind of CPU is not known, which decides whether the root complex forwards. "
          "Say --zen yes for AMD since Zen (family 17h), or --zen no.");
    }
    add_note("?: the first function of these root buses could not be read, so the kernel's list cannot be asked: ",
             host_bridges(silent_), ".");
    add_note("?: a bridge above these is missing from what was read, so their place is not known: ",
             functions(unplaced_, where), ".");
    return notes;
  }

 private:
  void add(const pci::route& of) {
    of.for_each_redirect([&](const pci::node& port) { redirecting_[port.index()] = true; });
    switch (of.root_rule()) {
      case pci::root_complex_rule::not_listed: add_roots(of, untrusted_, is_not_listed); break;
      case pci::root_complex_rule::only_same: add_roots(of, only_within_, is_only_within); break;
      default: break;
    }
    const pci::missing missing = of.kernel_misses();
    if (has(missing, pci::missing::acs)) {
      add_unreadable(of, of.provider());
      add_unreadable(of, of.client());
    }
    cpu_unknown_ = cpu_unknown_ || has(missing, pci::missing::cpu);
    if (has(missing, pci::missing::host_bridge)) {
      add_roots(of, silent_, [](const pci::host_bridge& each) { return !each.known; });
    }
    if (has(missing, pci::missing::placement)) {
      for (const pci::node& end : {of.client(), of.provider()}) {
        unplaced_[end.index()] = unplaced_[end.index()] || !end.is_placed();
      }
    }
  }

  /// From `at` up to and with the common bridge.
  void add_unreadable(const pci::route& of, pci::node at) {
    for (;; at = *at.parent()) {
      unreadable_[at.index()] = unreadable_[at.index()] || !at->acs.is_known();
      if (at == *of.common_bridge()) {
        break;
      }
    }
  }

  static bool is_not_listed(const pci::host_bridge& each) { return each.entry == nullptr; }
  static bool is_only_within(const pci::host_bridge& each) { return each.entry->same_host_bridge; }

  void add_roots(const pci::route& of, std::vector<bool>& to, bool (*belongs)(const pci::host_bridge&)) {
    for (const pci::node& end : {of.client(), of.provider()}) {
      if (belongs(end.root())) {
        to[static_cast<std::size_t>(&end.root() - machine_->host_bridges().data())] = true;
      }
    }
  }

  void add_quirk(const pci::quirk* one) {
    if (one != nullptr && std::find(quirks_.begin(), quirks_.end(), one) == quirks_.end()) {
      quirks_.push_back(one);
    }
  }

  template <class Say>
  [[nodiscard]] std::string functions(const std::vector<bool>& which, Say say, const char* between = ", ") const {
    std::string list;
    for (std::size_t i = 0; i < which.size(); ++i) {
      if (which[i]) {
        list += (list.empty() ? "" : between) + say(machine_->functions()[i]);
      }
    }
    return list;
  }
  [[nodiscard]] std::string host_bridges(const std::vector<bool>& which) const {
    std::string list;
    for (std::size_t i = 0; i < which.size(); ++i) {
      const pci::host_bridge& each = machine_->host_bridges()[i];
      if (which[i]) {
        const pci::function& first = machine_->functions()[each.first];
        list += fmt::format("{}{:04x}:{:02x} [{:04x}:{:04x}]", list.empty() ? "" : ", ", each.domain, each.bus,
                            first.vendor, first.device);
      }
    }
    return list;
  }

  const pci::topology* machine_;
  std::vector<bool> redirecting_;
  std::vector<bool> unreadable_;
  std::vector<bool> unplaced_;
  std::vector<bool> untrusted_;
  std::vector<bool> only_within_;
  std::vector<bool> silent_;
  std::vector<const pci::quirk*> quirks_;
  bool cpu_unknown_{false};
};

}  // namespace p2pmap
