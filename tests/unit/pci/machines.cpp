// SPDX-License-Identifier: BSL-1.0
// Real machines, and what the kernel says of them: tests/data/topology has their dumps and the kernel's verdicts.
#include "machines.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <paddock/pci/route.hpp>

#include "catch.hpp"
#include "read_json.hpp"

namespace fs = std::filesystem;
using namespace paddock;
using paddock::test::json;

namespace {

struct known_machine {
  std::string name;
  std::string dump;
  json expected;
  pci::cpu_rule cpu;
};

std::vector<known_machine> known_machines() {
  std::vector<known_machine> all;
  for (const fs::directory_entry& folder : fs::directory_iterator(fs::path(PADDOCK_TEST_DATA) / "topology")) {
    json expected = test::read_json(folder.path() / "expected.json");
    const bool zen = test::read_json(folder.path() / "machine.json")["cpu_amd_zen"].text == "true";
    all.push_back({folder.path().filename(), test::read_text(folder.path() / "lspci.txt"), std::move(expected),
                   zen ? pci::cpu_rule::amd_zen : pci::cpu_rule::none});
  }
  return all;
}

pci::topology tree_of(const known_machine& machine, pci::cpu_rule cpu) {
  auto tree = test::read_plainly(machine.dump, cpu);
  REQUIRE(tree);
  return std::move(*tree);
}

std::string address_of(const std::optional<pci::node>& node) { return node ? to_string((*node)->where) : "null"; }

std::vector<std::string> texts(const json& list) {
  std::vector<std::string> all;
  for (const json& each : list.items) {
    all.push_back(each.text);
  }
  return all;
}

/// A row of expected.json, in the order of its columns.
enum column { client, provider, distance, same_switch, acs_redirect, map_type, without_list, common_bridge, acs_list };

/// What the kernel would say of a machine whose CPU and host bridges it does not know.
std::string kernel_without_list(const pci::route& of) {
  return name(of.root_rule() == pci::root_complex_rule::listed ? pci::route_type::not_supported : of.kernel_type());
}

void compare(const json& pair, const pci::topology& tree, const pci::topology& without_cpu) {
  const std::vector<json>& expected = pair.items;
  const auto route_in = [&](const pci::topology& in) {
    return *pci::route_between(*in.find(test::at(expected[client].text)), *in.find(test::at(expected[provider].text)),
                               transaction::write);
  };
  const pci::route of = route_in(tree);
  const auto common = of.common_bridge();
  const bool below_one_switch = common && (*common)->port != pci::port_type::root_port;
  std::vector<std::string> redirects;
  of.for_each_redirect([&](const pci::node& port) { redirects.push_back(to_string(port->where)); });

  INFO(expected[client].text << " to " << expected[provider].text);
  CHECK(std::to_string(of.distance().value_or(999)) == expected[distance].text);
  CHECK((below_one_switch ? "true" : "false") == expected[same_switch].text);
  CHECK((of.is_redirected() ? "true" : "false") == expected[acs_redirect].text);
  CHECK(name(of.kernel_type()) == expected[map_type].text);
  CHECK(kernel_without_list(route_in(without_cpu)) == expected[without_list].text);
  CHECK(address_of(common) == expected[common_bridge].text);
  CHECK(redirects == texts(expected[acs_list]));
}

/// false: no capability; null: it could not be read; otherwise the register.
std::string acs_text(const pci::acs_state& acs, std::uint16_t word) {
  switch (acs.found) {
    case pci::capability::state::absent: return "false";
    case pci::capability::state::unreadable: return "null";
    default: return std::to_string(word);
  }
}

std::string bus_text(const pci::function& of) {
  return of.bridge ? fmt::format("{}-{}", of.secondary, of.subordinate) : "null";
}

}  // namespace

TEST_CASE("every pair of every known machine has the kernel's verdict") {
  std::size_t pairs = 0;
  for (const known_machine& machine : known_machines()) {
    INFO(machine.name);
    const pci::topology tree = tree_of(machine, machine.cpu);
    const pci::topology without_cpu = tree_of(machine, pci::cpu_rule::none);
    for (const json& pair : machine.expected["pairs"].items) {
      compare(pair, tree, without_cpu);
      ++pairs;
    }
  }
  CHECK(pairs == 163);
}

TEST_CASE("every function of every known machine is what it is, and where it is") {
  std::size_t functions = 0;
  for (const known_machine& machine : known_machines()) {
    INFO(machine.name);
    const pci::topology tree = tree_of(machine, machine.cpu);
    REQUIRE(tree.size() == machine.expected["devices"].items.size());
    for (const json& expected : machine.expected["devices"].items) {
      INFO(expected.key);
      const auto found = tree.find(test::at(expected.key));
      REQUIRE(found);
      CHECK(address_of(found->parent()) == expected["parent"].text);
      REQUIRE(found->is_placed());
      CHECK(fmt::format("{:04x}:{:02x}", found->root().domain, found->root().bus) == expected["host_bridge"].text);
      ++functions;
      if (expected["id"].text == "?:?") {
        continue;  // It read all ones on the machine itself; the dump has what its text says in place of that.
      }
      const pci::function& of = **found;
      CHECK(fmt::format("{:04x}:{:04x}", of.vendor, of.device) == expected["id"].text);
      CHECK(fmt::format("{:04x}", of.class_code >> 8) == expected["class"].text);
      CHECK(address_of(found->parent()) == expected["parent"].text);
      const std::string port = expected["port"].text;
      CHECK(name(of.port) == (port != "null"                        ? port
                              : expected["acs_from"].text != "null" ? "conventional"
                                                                    : "unknown"));
      const std::vector<std::string> bus = texts(expected["bus"]);
      CHECK(bus_text(of) == (bus.empty() ? "null" : bus[0] + "-" + bus[1]));
      CHECK(acs_text(of.acs, of.acs.supported) == expected["acs_cap"].text);
      CHECK(acs_text(of.acs, of.acs.enabled) == expected["acs_ctrl"].text);
    }
  }
  CHECK(functions == 227);
}

TEST_CASE("every host bridge of every known machine is on the kernel's list, or is not") {
  std::size_t bridges = 0;
  for (const known_machine& machine : known_machines()) {
    INFO(machine.name);
    const pci::topology tree = tree_of(machine, machine.cpu);
    REQUIRE(tree.host_bridges().size() == machine.expected["host_bridges"].items.size());
    for (const pci::host_bridge& of : tree.host_bridges()) {
      const json& expected = machine.expected["host_bridges"][fmt::format("{:04x}:{:02x}", of.domain, of.bus)];
      const pci::function& first = tree.functions()[of.first];
      CHECK(to_string(first.where) == expected["device"].text);
      CHECK(fmt::format("{:04x}:{:04x}", first.vendor, first.device) == expected["id"].text);
      CHECK((of.entry != nullptr ? "true" : "false") == expected["whitelisted_same_host"].text);
      const bool across = of.entry != nullptr && !of.entry->same_host_bridge;
      CHECK((across ? "true" : "false") == expected["whitelisted_cross_host"].text);
      ++bridges;
    }
  }
  CHECK(bridges == 10);
}
