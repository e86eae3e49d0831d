// SPDX-License-Identifier: BSL-1.0
/// \file
/// The machine and the pairs as JSON, for programs. A line a device and a line a pair, so that two machines, or one
/// before and after, can be compared with diff. null stands for what is not known.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include <paddock/pci/route.hpp>
#include <paddock/pci/topology.hpp>

#include "question.hpp"
#include "words.hpp"

namespace p2pmap {

namespace detail {

/// Keeps the order in which members are written.
using json = nlohmann::ordered_json;

/// A line; bytes of a driver's name that are no UTF-8 do not end the program.
[[nodiscard]] inline std::string line(const json& of) {
  return of.dump(-1, ' ', false, json::error_handler_t::replace);
}

[[nodiscard]] inline json known_type(pci::route_type type) {
  return type == pci::route_type::unknown ? json(nullptr) : json(pci::name(type));
}

/// The verdict on reads or on writes, quirks included, and the quirk if one decided.
inline void fill(json& verdict, const pci::route& of) {
  verdict["type"] = known_type(of.type());
  verdict["quirk"] = of.decided_by() == nullptr ? json(nullptr) : json(of.decided_by()->why);
}

[[nodiscard]] inline json names_of(pci::missing set) {
  constexpr std::pair<pci::missing, const char*> all[] = {{pci::missing::placement, "placement"},
                                                          {pci::missing::acs, "acs"},
                                                          {pci::missing::cpu, "cpu"},
                                                          {pci::missing::host_bridge, "host_bridge"}};
  json names = json::array();
  for (const auto& [bit, name] : all) {
    if (has(set, bit)) {
      names.push_back(name);
    }
  }
  return names;
}

/// Whether the two meet below a root port; or are one function. null where they might.
[[nodiscard]] inline json same_switch(const pci::route& of) {
  const auto common = of.common_bridge();
  if (!of.distance() || (common && (*common)->port == pci::port_type::unknown)) {
    return nullptr;
  }
  return common && (*common)->port != pci::port_type::root_port;
}

/// `pair` is new, or the one before, whose members are used again: there are many pairs.
inline void fill(json& pair, const pair_of_routes& of) {
  const pci::route& route = of.reads;  // What is the kernel's rule's is the same for both.
  const auto hops = route.distance();
  const auto common = route.common_bridge();
  const bool redirect_known = hops && (route.is_acs_known() || route.is_redirected());
  pair["client"] = pci::to_string(route.client()->where);
  pair["provider"] = pci::to_string(route.provider()->where);
  pair["distance"] = hops ? json(*hops) : json(nullptr);
  pair["same_switch"] = same_switch(route);
  pair["acs_redirect"] = redirect_known ? json(route.is_redirected()) : json(nullptr);
  pair["map_type"] = known_type(route.kernel_type());
  pair["common_upstream_bridge"] = common ? json(pci::to_string((*common)->where)) : json(nullptr);
  json& redirects = pair["acs_list"] = json::array();
  route.for_each_redirect([&](const pci::node& port) { redirects.push_back(pci::to_string(port->where)); });
  fill(pair["reads"], of.reads);
  fill(pair["writes"], of.writes);
  pair["missing"] = names_of(route.kernel_misses());
}

/// A register, false without the capability, null if that could not be read.
[[nodiscard]] inline json acs_register(const pci::acs_state& acs, std::uint16_t value) {
  switch (acs.found) {
    case pci::capability::state::present: return value;
    case pci::capability::state::absent: return false;
    case pci::capability::state::unreadable: break;
  }
  return nullptr;
}

[[nodiscard]] inline json json_of(const pci::node& of) {
  const auto parent = of.parent();
  json one = {{"id", of->responds ? json(id(*of)) : json(nullptr)},
              {"class", of->responds ? json(fmt::format("{:04x}", of->class_code >> 8)) : json(nullptr)},
              {"class_name", class_words(*of)},
              {"parent", parent ? json(pci::to_string((*parent)->where)) : json(nullptr)},
              {"host_bridge", of.is_placed() ? json(name(of.root())) : json(nullptr)},
              {"port", pci::name(of->port)},
              {"bus", of->bridge && of->secondary != 0 ? json::array({of->secondary, of->subordinate}) : json(nullptr)},
              {"acs_cap", acs_register(of->acs, of->acs.supported)},
              {"acs_ctrl", acs_register(of->acs, of->acs.enabled)},
              {"config_bytes", of->config_bytes}};
  if (of->iommu_group) {
    one["iommu_group"] = *of->iommu_group;
    one["iommu_domain"] = pci::name(of->domain);
  }
  if (of->numa_node >= 0) {
    one["numa_node"] = of->numa_node;
  }
  if (!of->driver.empty()) {
    one["driver"] = of->driver;
  }
  if (of->p2pmem) {
    one["p2pmem"] = {
        {"size", of->p2pmem->size}, {"available", of->p2pmem->available}, {"published", of->p2pmem->published}};
  }
  return one;
}

[[nodiscard]] inline json json_of(const pci::host_bridge& of, const pci::function& first) {
  const bool listed = of.entry != nullptr;
  const auto if_known = [&](bool value) { return of.known ? json(value) : json(nullptr); };
  return {{"device", pci::to_string(first.where)},
          {"id", first.responds ? json(id(first)) : json(nullptr)},
          {"listed_as", listed ? json(of.entry->name) : json(nullptr)},
          {"whitelisted_same_host", if_known(listed)},
          {"whitelisted_cross_host", if_known(listed && !of.entry->same_host_bridge)}};
}

[[nodiscard]] inline json json_of(pci::cpu_rule cpu) {
  return cpu == pci::cpu_rule::unknown ? json(nullptr) : json(cpu == pci::cpu_rule::amd_zen);
}

/// Puts the members of an object, or the elements of an array, on a line each.
class lines {
 public:
  lines(std::string& into, const char* name, char open, char close) : text_(into), close_(close) {
    text_ += fmt::format(" {}: {}", line(name), open);
  }
  lines(const lines&) = delete;
  lines& operator=(const lines&) = delete;
  ~lines() { text_ += fmt::format("{} {}", first_ ? "" : "\n", close_); }

  void add(const json& element) {
    text_ += first_ ? "\n  " : ",\n  ";
    text_ += line(element);
    first_ = false;
  }
  void add(const std::string& key, const json& value) {
    text_ += first_ ? "\n  " : ",\n  ";
    text_ += line(key) + ": " + line(value);
    first_ = false;
  }

 private:
  std::string& text_;
  char close_;
  bool first_{true};
};

}  // namespace detail

[[nodiscard]] inline std::string render_json(const question& asked) {
  using detail::line;
  const pci::topology& machine = asked.machine();
  std::string text = "{\n";
  text += fmt::format(" \"rules\": {},\n", line("Linux 7.2, drivers/pci/p2pdma.c"));
  text += fmt::format(" \"cpu_amd_zen\": {},\n", line(detail::json_of(machine.facts().cpu)));
  {
    detail::lines bridges(text, "host_bridges", '{', '}');
    for (const pci::host_bridge& each : machine.host_bridges()) {
      bridges.add(name(each), detail::json_of(each, machine.functions()[each.first]));
    }
  }
  text += ",\n";
  {
    detail::lines devices(text, "devices", '{', '}');
    for (std::size_t i = 0; i < machine.size(); ++i) {
      devices.add(pci::to_string(machine.at(i)->where), detail::json_of(machine.at(i)));
    }
  }
  text += ",\n";
  {
    detail::lines pairs(text, "pairs", '[', ']');
    detail::json pair;
    for (const pci::node& client : asked.clients()) {
      for (const pci::node& provider : asked.providers()) {
        detail::fill(pair, pair_of_routes::between(client, provider));
        pairs.add(pair);
      }
    }
  }
  return text + "\n}\n";
}

}  // namespace p2pmap
