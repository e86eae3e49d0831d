// SPDX-License-Identifier: BSL-1.0
/// \file
/// A route in words: the verdict first, then every reason for it, a line each.
#pragma once

#include <iterator>
#include <string>

#include <fmt/format.h>

#include <paddock/pci/route.hpp>

namespace PADDOCK_NAMESPACE::pci {

namespace detail {

[[nodiscard]] inline std::string describe_function(const node& of) {
  return fmt::format("{} [{:04x}:{:04x}] {}", of->where, of->vendor, of->device, name(of->port));
}

[[nodiscard]] inline std::string describe_root(const node& of, const host_bridge_entry* entry) {
  const host_bridge& root = of.root();
  const function& first = *of.tree().at(root.first);
  return fmt::format("{:04x}:{:02x} [{:04x}:{:04x}], {}", root.domain, root.bus, first.vendor, first.device,
                     !root.known        ? "which could not be read"
                     : entry == nullptr ? "not on the kernel's list"
                                        : fmt::format("on the kernel's list as {}", entry->name));
}

[[nodiscard]] inline const char* describe_rule(root_complex_rule rule) noexcept {
  switch (rule) {
    case root_complex_rule::not_asked: return "";
    case root_complex_rule::cpu: return "the kernel trusts every host bridge of an AMD CPU since Zen";
    case root_complex_rule::listed: return "the kernel's list says that it forwards between its ports";
    case root_complex_rule::only_same: return "the kernel's list trusts it within one host bridge, and these are two";
    case root_complex_rule::not_listed: return "it is not on the kernel's list, and the CPU is no AMD since Zen";
    case root_complex_rule::undetermined: return "whether it forwards cannot be told";
  }
  return "";
}

inline void describe_missing(missing what, std::string& text) {
  struct sentence {
    missing bit;
    const char* says;
  };
  constexpr sentence all[] = {
      {missing::placement, "a bridge above one of them is not in this topology, so their place is not known"},
      {missing::acs,
       "the ACS of a function on the way could not be read: that takes CAP_SYS_ADMIN, or lspci -xxxx as root"},
      {missing::cpu, "the kind of CPU is not known: a dump does not hold it"},
      {missing::host_bridge, "the first function of a root bus could not be read"},
      {missing::forwarding,
       "nothing vouches for the root complex, and nothing refuses a process: verify the route with data"},
  };
  for (const sentence& each : all) {
    if (has(what, each.bit)) {
      fmt::format_to(std::back_inserter(text), "  missing: {}\n", each.says);
    }
  }
}

inline void describe_iommu(const char* who, const node& of, std::string& text) {
  if (of->iommu_group) {
    fmt::format_to(std::back_inserter(text), "  {}: IOMMU group {}, {}\n", who, *of->iommu_group, name(of->domain));
  } else if (of.tree().facts().iommu_groups_told) {
    fmt::format_to(std::back_inserter(text), "  {}: in no IOMMU group\n", who);
  }
}

}  // namespace detail

/// Says the verdict and why, for people: one line, then indented ones, each with its line end.
[[nodiscard]] inline std::string describe(const route& of) {
  std::string text =
      fmt::format("{} {} {}: {}", of.client()->where, of.what() == transaction::read ? "reads" : "writes",
                  of.provider()->where, name(of.type()));
  const auto add = [&text](fmt::format_string<std::string> line, std::string value) {
    fmt::format_to(std::back_inserter(text), line, std::move(value));
  };
  if (const auto hops = of.distance()) {
    add(", {}", fmt::format("{} hops", *hops));
  }
  text += '\n';
  add("  client: {}\n", detail::describe_function(of.client()));
  add("  provider: {}\n", detail::describe_function(of.provider()));
  detail::describe_iommu("client", of.client(), text);
  detail::describe_iommu("provider", of.provider(), text);
  if (const auto common = of.common_bridge()) {
    add("  common bridge: {}\n", detail::describe_function(*common));
  } else if (of.distance()) {
    text += "  common bridge: none; their ways meet in a root complex\n";
  }
  of.for_each_redirect([&](const node& port) {
    add("  ACS redirects at {}\n",
        fmt::format("{}: {}", port->where, acs_names(port->acs.enabled & acs_bits::redirect)));
  });
  if (!of.is_acs_known() && of.common_bridge()) {
    text += "  ACS could not be read everywhere on the way: more of it may redirect\n";
  }
  if (of.is_blocked()) {
    text += "  the client's IOMMU domain lets no DMA through\n";
  }
  if (of.root_rule() != root_complex_rule::not_asked) {
    add("  host bridge of the provider: {}\n", detail::describe_root(of.provider(), of.provider_entry()));
    if (&of.client().root() != &of.provider().root()) {
      add("  host bridge of the client: {}\n", detail::describe_root(of.client(), of.client_entry()));
    }
    add("  root complex: {}\n", detail::describe_rule(of.root_rule()));
  }
  if (const quirk* known = of.decided_by()) {
    add("  known: {}\n", known->why);
  }
  detail::describe_missing(of.what_is_missing(), text);
  if (const std::string parameter = of.boot_parameter(); !parameter.empty()) {
    add("  boot parameter that lets them talk below the common bridge: {}\n", parameter);
  }
  return text;
}

}  // namespace PADDOCK_NAMESPACE::pci
