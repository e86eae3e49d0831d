// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/topology.hpp>

#include <algorithm>
#include <random>

#include "catch.hpp"
#include "machines.hpp"

using namespace paddock;
using pci::topology;
using test::machine;

namespace {

topology must_build(const machine& of) {
  auto built = of.build();
  REQUIRE(built);
  return std::move(*built);
}

pci::node node_at(const topology& tree, const char* where) {
  const auto found = tree.find(test::at(where));
  REQUIRE(found);
  return *found;
}

/// The address of the bridge above; "root" on a root bus, "lost" when the place is not known.
std::string above(const topology& tree, const char* where) {
  const pci::node of = node_at(tree, where);
  if (!of.is_placed()) {
    return "lost";
  }
  return of.parent() ? to_string((*of.parent())->where) : "root";
}

errc refusal(const machine& of) {
  const auto built = of.build();
  REQUIRE_FALSE(built);
  return built.error().code;
}

}  // namespace

TEST_CASE("functions are put below the bridges that lead to their buses") {
  const topology tree = must_build(test::two_switches());
  CHECK(above(tree, "00:01.0") == "root");
  CHECK(above(tree, "01:00.0") == "0000:00:01.0");
  CHECK(above(tree, "02:02.0") == "0000:01:00.0");
  CHECK(above(tree, "03:00.1") == "0000:02:00.0");
  CHECK(above(tree, "07:00.0") == "0000:06:00.0");
  CHECK(node_at(tree, "07:00.0").depth() == 5);
  CHECK(node_at(tree, "00:00.0").depth() == 0);
  CHECK(node_at(tree, "07:00.0").root().bus == 0);
  CHECK(tree.host_bridges().size() == 1);
}

TEST_CASE("functions come in any order and are kept in ascending order") {
  std::vector<pci::function> functions = test::two_switches().functions();
  std::mt19937 random(1);
  for (int i = 0; i < 20; ++i) {
    std::shuffle(functions.begin(), functions.end(), random);
    const auto tree = topology::build(functions);
    REQUIRE(tree);
    CHECK(above(*tree, "07:00.0") == "0000:06:00.0");
    CHECK(std::is_sorted(tree->functions().begin(), tree->functions().end(),
                         [](const pci::function& a, const pci::function& b) { return a.where < b.where; }));
  }
}

TEST_CASE("a function that is not there is not found") {
  const topology tree = must_build(test::two_switches());
  CHECK(tree.find(test::at("03:00.2")).error() == errc::not_found);
  CHECK(tree.find(test::at("0001:03:00.0")).error() == errc::not_found);
}

TEST_CASE("an empty machine is a topology of nothing") {
  CHECK(must_build(machine()).size() == 0);
  CHECK(must_build(machine()).host_bridges().empty());
}

TEST_CASE("domains are 32 bits wide and keep apart") {
  machine m;
  m.add("00:01.0", test::root_port(0xe1, 0xe1)).add("10000:e0:01.0", test::root_port(0xe1, 0xe1));
  m.add("10000:e1:00.0", test::endpoint())
      .add("fffffffe:e1:00.0", test::root_port(0xe2, 0xe2))
      .add("e1:00.0", test::endpoint());
  const topology tree = must_build(m);
  CHECK(above(tree, "10000:e1:00.0") == "10000:e0:01.0");
  CHECK(above(tree, "e1:00.0") == "0000:00:01.0");
  CHECK(above(tree, "fffffffe:e1:00.0") == "root");
  CHECK(node_at(tree, "fffffffe:e1:00.0").root().domain == 0xfffffffe);
  CHECK(tree.host_bridges().size() == 3);
}

TEST_CASE("conventional functions are below a bridge from PCI Express") {
  machine m;
  m.add("00:1c.0", test::root_port(1, 2)).add("01:00.0", test::config().bridge(2, 2).express(7));
  m.add("02:00.0", test::config()).add("02:1f.7", test::config());
  const topology tree = must_build(m);
  CHECK(above(tree, "02:00.0") == "0000:01:00.0");
  CHECK(above(tree, "02:1f.7") == "0000:01:00.0");
}

TEST_CASE("virtual functions are below their physical function's bridge, on its bus and on the next ones") {
  machine m;
  m.add("00:01.0", test::root_port(3, 5)).add("03:00.0", test::endpoint().sriov(3, 4, 0xfe));
  m.add("03:00.4", test::virtual_function()).add("04:00.2", test::virtual_function());
  m.add("05:00.0", test::virtual_function());
  const topology tree = must_build(m);
  CHECK(above(tree, "03:00.4") == "0000:00:01.0");
  CHECK(above(tree, "04:00.2") == "0000:00:01.0");
  CHECK(above(tree, "05:00.0") == "0000:00:01.0");
  CHECK(node_at(tree, "05:00.0").depth() == 1);
}

TEST_CASE("what no physical function counts among its own is no virtual function") {
  for (const char* where : {"04:00.1", "04:00.3", "05:00.1", "05:1f.6"}) {  // Between two, and one too far.
    machine m;
    m.add("00:01.0", test::root_port(3, 5)).add("03:00.0", test::endpoint().sriov(3, 4, 0xfe));
    m.add(where, test::virtual_function());
    CHECK(above(must_build(m), where) == "lost");
  }
}

TEST_CASE("a physical function has none in another domain") {
  machine m;
  m.add("00:01.0", test::root_port(3, 5)).add("03:00.0", test::endpoint().sriov(3, 4, 0xfe));
  m.add("0001:04:00.2", test::virtual_function());
  const topology tree = must_build(m);
  CHECK(above(tree, "0001:04:00.2") == "lost");
}

TEST_CASE("virtual functions of an integrated endpoint are on its root bus's host bridge") {
  machine m;
  m.add("37:01.0", test::config().express(9).sriov(1, 0xf8, 1)).add("38:00.0", test::virtual_function());
  const topology tree = must_build(m);
  CHECK(above(tree, "38:00.0") == "root");
  CHECK(node_at(tree, "38:00.0").root().bus == 0x37);
  CHECK(tree.host_bridges().size() == 1);
}

TEST_CASE("behind a bridge that is missing nothing has a place") {
  machine m;
  m.add("00:01.0", test::root_port(1, 7)).add("02:00.0", test::downstream(3, 3)).add("03:00.0", test::endpoint());
  const topology tree = must_build(m);
  CHECK(above(tree, "02:00.0") == "lost");
  CHECK(above(tree, "03:00.0") == "lost");
  CHECK(above(tree, "00:01.0") == "root");
}

TEST_CASE("a port of a switch is on no root bus, even if no bridge is there at all") {
  machine m;
  m.add("01:00.0", test::upstream(2, 3)).add("02:00.0", test::downstream(3, 3)).add("03:00.0", test::endpoint());
  const topology tree = must_build(m);
  CHECK(above(tree, "01:00.0") == "lost");
  CHECK(above(tree, "03:00.0") == "lost");
  CHECK(tree.host_bridges().empty());
}

TEST_CASE("a bridge that reads all ones hides where its own are") {
  machine m = test::two_switches();
  m["02:02.0"] = test::all_ones();
  const topology tree = must_build(m);
  CHECK(above(tree, "02:02.0") == "0000:01:00.0");
  CHECK(above(tree, "05:00.0") == "lost");
  CHECK(above(tree, "07:00.0") == "lost");
  CHECK(above(tree, "04:00.0") == "0000:02:01.0");
}

TEST_CASE("a bridge without buses, or to its own bus, has nothing below it") {
  machine m;
  m.add("00:01.0", test::root_port(0, 0)).add("00:02.0", test::root_port(0, 0)).add("03:00.0", test::root_port(3, 3));
  m.add("00:03.0", test::endpoint());
  const topology tree = must_build(m);
  CHECK(above(tree, "00:03.0") == "root");
  CHECK(above(tree, "03:00.0") == "root");
}

TEST_CASE("bridges that lead to each other are refused") {
  CHECK(refusal(machine().add("01:00.0", test::root_port(2, 2)).add("02:00.0", test::root_port(1, 1))) ==
        errc::invalid_argument);
  machine three;
  three.add("01:00.0", test::root_port(2, 2))
      .add("02:00.0", test::root_port(3, 3))
      .add("03:00.0", test::root_port(1, 1));
  CHECK(refusal(three.add("01:01.0", test::endpoint())) == errc::invalid_argument);
}

TEST_CASE("two bridges to one bus are refused; ranges that overlap are not") {
  machine m;
  m.add("00:01.0", test::root_port(1, 5)).add("00:02.0", test::root_port(3, 8)).add("01:00.0", test::endpoint());
  m.add("03:00.0", test::endpoint());
  CHECK(above(must_build(m), "01:00.0") == "0000:00:01.0");
  CHECK(above(must_build(m), "03:00.0") == "0000:00:02.0");
  CHECK(refusal(m.add("00:03.0", test::root_port(3, 3))) == errc::invalid_argument);
}

TEST_CASE("one address twice is refused") {
  CHECK(refusal(machine().add("01:00.0", test::endpoint()).add("01:00.0", test::endpoint())) == errc::already_exists);
}

TEST_CASE("more functions than a machine has are refused") {
  std::vector<pci::function> many((std::size_t{1} << 20) + 1);
  const auto refused = topology::build(std::move(many));
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::limit_reached);
}

TEST_CASE("bridges are below each other as deep as machines go, and no deeper") {
  for (const std::uint32_t depth : {1024U, 1025U}) {
    std::vector<pci::function> chain(depth + 1);
    for (std::uint32_t i = 0; i <= depth; ++i) {
      chain[i].where = {i, 0, 0, 0};
      if (i == 0) {
        chain[i].attached = {pci::attachment_point::kind::root_bus, {}};
      } else {
        chain[i].attached = {pci::attachment_point::kind::below, chain[i - 1].where};
      }
    }
    const auto built = topology::build(chain);
    if (depth == 1024) {
      REQUIRE(built);
      CHECK(built->at(depth).depth() == depth);
    } else {
      REQUIRE_FALSE(built);
      CHECK(built.error() == errc::limit_reached);
    }
  }
}

TEST_CASE("a place that is told is believed, whatever the bus numbers say") {
  std::vector<pci::function> functions = test::two_switches().functions();
  for (pci::function& each : functions) {
    each.attached.how = pci::attachment_point::kind::root_bus;
    each.attached.parent = {7, 0, 0, 0};
  }
  functions.back().attached = {pci::attachment_point::kind::below, test::at("00:01.0")};
  functions[2].secondary = 1;  // Two to one bus: nobody asks.
  const auto tree = topology::build(functions);
  REQUIRE(tree);
  CHECK(above(*tree, "09:00.0") == "0000:00:01.0");
  CHECK(above(*tree, "07:00.0") == "root");
  CHECK(node_at(*tree, "09:00.0").root().domain == 7);
}

TEST_CASE("below a bridge that is not there nothing has a place") {
  std::vector<pci::function> one{pci::read_function(test::at("01:00.0"), test::endpoint().view())};
  one[0].attached = {pci::attachment_point::kind::below, test::at("00:01.0")};
  const auto tree = topology::build(one);
  REQUIRE(tree);
  CHECK(above(*tree, "01:00.0") == "lost");
}

TEST_CASE("places that are told may lead in a loop, and are refused then") {
  std::vector<pci::function> functions = test::two_switches().functions();
  functions[1].attached = {pci::attachment_point::kind::below, test::at("01:00.0")};
  CHECK(topology::build(functions).error() == errc::invalid_argument);
}

/// The first host bridge, of a machine whose places are told.
pci::host_bridge told_entry_of(const machine& m) {
  std::vector<pci::function> functions = m.functions();
  for (pci::function& each : functions) {
    each.attached = {pci::attachment_point::kind::root_bus, each.where};
  }
  auto built = topology::build(std::move(functions));
  REQUIRE(built);
  return built->host_bridges()[0];
}

TEST_CASE("a host bridge is known by the lowest function on its bus") {
  const auto entry_of = [](const machine& m) { return must_build(m).host_bridges()[0]; };
  CHECK(
      entry_of(machine().add("37:00.0", test::host_bridge(0x8086, 0x09a2)).add("37:00.1", test::host_bridge())).entry);
  CHECK_FALSE(
      entry_of(machine().add("37:00.0", test::host_bridge()).add("37:00.1", test::host_bridge(0x8086, 0x09a2))).entry);
  const test::config port = test::root_port(1, 1).put16(0, 0x8086).put16(2, 0x2030);
  CHECK(told_entry_of(machine().add("00:01.0", port)).entry);
  const pci::host_bridge endpoint = told_entry_of(machine().add("00:01.0", test::endpoint().put16(0, 0x1ae0)));
  CHECK(endpoint.known);
  CHECK_FALSE(endpoint.entry);
  // A dump may have left the lowest one out.
  const pci::host_bridge of_a_dump = entry_of(machine().add("00:01.0", port));
  CHECK_FALSE(of_a_dump.known);
  CHECK_FALSE(of_a_dump.entry);
}

TEST_CASE("a bus to which no bridge leads is a root bus only if something on it says so") {
  for (const char* lost : {"09:00.0", "07:00.0"}) {
    machine alone;
    alone.add(lost, test::endpoint());
    CHECK(above(must_build(alone), lost) == "lost");
    alone.add("00:00.0", test::host_bridge());
    CHECK(above(must_build(alone), lost) == "lost");
    CHECK(above(must_build(alone), "00:00.0") == "root");
  }
  for (const auto& sign :
       {test::host_bridge(), test::root_port(1, 1), test::config().express(9), test::config().express(10)}) {
    machine beside;
    beside.add("00:1f.0", sign).add("00:02.0", test::endpoint());
    CHECK(above(must_build(beside), "00:02.0") == "root");
  }
}

TEST_CASE("a first function that does not answer leaves its host bridge unknown") {
  CHECK_FALSE(must_build(machine().add("00:00.0", test::all_ones()).add("00:01.0", test::host_bridge()))
                  .host_bridges()[0]
                  .known);
  CHECK_FALSE(told_entry_of(machine().add("00:01.0", test::root_port(1, 1).first(64))).known);
  CHECK(told_entry_of(machine().add("00:00.0", test::root_port(1, 1).first(64))).known);
}
