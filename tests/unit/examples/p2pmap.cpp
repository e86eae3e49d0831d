// SPDX-License-Identifier: BSL-1.0
// The parts of examples/p2pmap, on machines that no dump holds.
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "json.hpp"
#include "question.hpp"
#include "svg.hpp"
#include "text.hpp"
#include "tree.hpp"
#include "words.hpp"

using namespace p2pmap;
using paddock::transaction;

namespace {

constexpr std::uint32_t class_nvme = 0x010802;
constexpr std::uint32_t class_gpu = 0x030200;
constexpr std::uint32_t class_host_bridge = 0x060000;
constexpr std::uint32_t class_pci_bridge = 0x060400;

pci::function make(const char* where, std::uint32_t class_code, pci::port_type port) {
  pci::function one;
  one.where = *pci::address::parse(where);
  one.vendor = 0x1234;
  one.device = 0x5678;
  one.class_code = class_code;
  one.responds = true;
  one.port = port;
  one.acs.found = pci::capability::state::absent;
  return one;
}

pci::function make_bridge(const char* where, pci::port_type port, std::uint8_t secondary, std::uint8_t subordinate) {
  pci::function one = make(where, class_pci_bridge, port);
  one.bridge = true;
  one.secondary = secondary;
  one.subordinate = subordinate;
  return one;
}

pci::function redirecting(pci::function one) {
  one.acs = {pci::capability::state::present, 0x1f, pci::acs_bits::request_redirect};
  return one;
}

/// A switch with two drives, and a GPU below a root port of its own.
std::vector<pci::function> drives_and_gpu() {
  return {
      make("00:00.0", class_host_bridge, pci::port_type::conventional),
      make_bridge("00:01.0", pci::port_type::root_port, 1, 4),
      make_bridge("00:02.0", pci::port_type::root_port, 5, 5),
      make_bridge("01:00.0", pci::port_type::upstream, 2, 4),
      make_bridge("02:00.0", pci::port_type::downstream, 3, 3),
      make_bridge("02:01.0", pci::port_type::downstream, 4, 4),
      make("03:00.0", class_nvme, pci::port_type::endpoint),
      make("04:00.0", class_nvme, pci::port_type::endpoint),
      make("05:00.0", class_gpu, pci::port_type::endpoint),
  };
}

pci::topology build(std::vector<pci::function> functions, pci::cpu_rule cpu = pci::cpu_rule::none) {
  auto built = pci::topology::build(std::move(functions), {cpu, false});
  REQUIRE(built);
  return std::move(*built);
}

pci::node find(const pci::topology& in, const char* where) { return *in.find(*pci::address::parse(where)); }

std::string code(const pci::topology& machine, const char* client, const char* provider) {
  return cell_of(pair_of_routes::between(find(machine, client), find(machine, provider))).code;
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

question ask(const pci::topology& machine) {
  auto asked = question::about(machine, {}, {});
  REQUIRE(asked);
  return std::move(*asked);
}

}  // namespace

TEST_CASE("a cell says the verdict, the hops and what decided") {
  const pci::topology plain = build(drives_and_gpu());
  CHECK(code(plain, "03:00.0", "03:00.0") == "X");
  CHECK(code(plain, "03:00.0", "04:00.0") == "B4");
  CHECK(code(plain, "03:00.0", "05:00.0") == "-");

  auto functions = drives_and_gpu();
  functions[4] = redirecting(functions[4]);
  CHECK(code(build(functions), "03:00.0", "04:00.0") == "-a");
  const pci::topology zen = build(functions, pci::cpu_rule::amd_zen);
  CHECK(code(zen, "03:00.0", "04:00.0") == "H4a");
  CHECK(code(zen, "03:00.0", "05:00.0") == "H6");
  CHECK(code(build(functions, pci::cpu_rule::unknown), "03:00.0", "05:00.0") == "?");
  functions[6] = redirecting(functions[6]);
  CHECK(code(build(functions, pci::cpu_rule::amd_zen), "03:00.0", "03:00.0") == "H0a");
}

TEST_CASE("a cell tells reads from writes where they differ") {
  const pci::topology machine = build(drives_and_gpu());
  const auto judge = [&](pci::transactions fails) {
    const pci::quirk known{pci::quirk::role::client,  0x1234, pci::quirk::any, fails,
                           pci::quirk::effect::fails, "known"};
    const auto way = [&](transaction what) {
      return *pci::route_between(find(machine, "03:00.0"), find(machine, "04:00.0"), what, pci::dma_owner::kernel_dma,
                                 {&known, 1});
    };
    return cell_of(pair_of_routes{way(transaction::read), way(transaction::write)});
  };
  CHECK(judge(pci::transactions::reads).code == "B4qw");
  CHECK(judge(pci::transactions::reads).kind == verdict::direct);
  CHECK(judge(pci::transactions::writes).code == "B4qr");
  CHECK(judge(pci::transactions::both).code == "-q");
}

TEST_CASE("what the kernel's rule lacks is told though a quirk decided") {
  auto functions = drives_and_gpu();
  functions[0].vendor = 0x8086;
  functions[0].device = 0x4c43;  // Of builtin_quirks.
  const auto between = [&](const pci::topology& machine) {
    return pair_of_routes::between(find(machine, "03:00.0"), find(machine, "05:00.0"));
  };
  const pci::topology dump = build(functions, pci::cpu_rule::unknown);
  REQUIRE(between(dump).reads.type() == pci::route_type::not_supported);
  REQUIRE(between(dump).reads.what_is_missing() == pci::missing::nothing);
  CHECK(between(dump).reads.kernel_misses() == pci::missing::cpu);
  CHECK(between(build(functions)).reads.kernel_misses() == pci::missing::nothing);

  // The same for ACS.
  functions = drives_and_gpu();
  functions[4].acs.found = pci::capability::state::unreadable;
  const pci::topology machine = build(functions);
  const pci::quirk known{pci::quirk::role::client};
  const auto way = pci::route_between(find(machine, "03:00.0"), find(machine, "04:00.0"), transaction::read,
                                      pci::dma_owner::kernel_dma, {&known, 1});
  REQUIRE(way->decided_by() == &known);
  CHECK(way->kernel_misses() == pci::missing::acs);
}

TEST_CASE("functions that are asked about are numbered, whichever side they are on") {
  const pci::topology machine = build(drives_and_gpu());
  const std::vector<pci::address> clients = {*pci::address::parse("05:00.0"), *pci::address::parse("03:00.0")};
  const std::vector<pci::address> providers = {*pci::address::parse("04:00.0"), *pci::address::parse("04:00.0")};
  const auto asked = question::about(machine, clients, providers);
  REQUIRE(asked);
  REQUIRE(asked->clients().size() == 2);
  CHECK(asked->clients()[0] == find(machine, "03:00.0"));
  REQUIRE(asked->providers().size() == 1);
  CHECK(asked->number(find(machine, "03:00.0")) == 1);
  CHECK(asked->number(find(machine, "04:00.0")) == 2);
  CHECK(asked->number(find(machine, "05:00.0")) == 3);
  CHECK(asked->number(find(machine, "00:01.0")) == 0);
  CHECK(!question::about(machine, std::vector{*pci::address::parse("99:00.0")}, {}));
}

TEST_CASE("the text has the tree, the matrix and the reasons") {
  auto functions = drives_and_gpu();
  functions[4] = redirecting(functions[4]);
  functions[8].iommu_group = 12;
  functions[8].driver = "vfio-pci";
  const pci::topology machine = build(functions);
  const std::string text = render_text(ask(machine));
  CHECK(text.substr(0, text.find("\n\n") + 1) ==
        "0000:00  host bridge [1234:5678], not on the kernel's list\n"
        "├─ 0000:00:00.0  host bridge [1234:5678], conventional PCI\n"
        "├─ 0000:00:01.0  PCI bridge [1234:5678], root port, buses 01-04\n"
        "│  └─ 0000:01:00.0  PCI bridge [1234:5678], switch upstream port, buses 02-04\n"
        "│     ├─ 0000:02:00.0  PCI bridge [1234:5678], switch downstream port, buses 03-03, ACS redirects: ReqRedir\n"
        "│     │  └─ #1 0000:03:00.0  NVMe drive [1234:5678], endpoint\n"
        "│     └─ 0000:02:01.0  PCI bridge [1234:5678], switch downstream port, buses 04-04\n"
        "│        └─ #2 0000:04:00.0  NVMe drive [1234:5678], endpoint\n"
        "└─ 0000:00:02.0  PCI bridge [1234:5678], root port, buses 05-05\n"
        "   └─ #3 0000:05:00.0  3D controller [1234:5678], endpoint, IOMMU group 12, driver vfio-pci\n");
  CHECK(holds(text,
              "                                                #1    #2    #3\n"
              "   #1 0000:03:00.0  NVMe drive                   X    -a     -\n"
              "   #2 0000:04:00.0  NVMe drive                  -a     X     -\n"
              "   #3 0000:05:00.0  3D controller                -     -     X\n"));
  CHECK(holds(text, "\na: ACS sends what passes these up to the root complex: 0000:02:00.0 (ReqRedir).\n"));
  CHECK(holds(text, "pci=disable_acs_redir=0000:02:00.0 "));
  CHECK(holds(text,
              "\n-: the kernel's list does not have these root complexes, and the CPU is no AMD since Zen: "
              "0000:00 [1234:5678].\n"));
  CHECK(!holds(text, "\n?: "));
}

TEST_CASE("a wide matrix is printed in parts that a terminal can show") {
  std::vector<pci::function> functions = {make("00:00.0", class_host_bridge, pci::port_type::conventional)};
  for (unsigned i = 0; i < 30; ++i) {
    functions.push_back(make(fmt::format("00:{:02x}.0", i + 1).c_str(), class_nvme, pci::port_type::rc_endpoint));
  }
  const pci::topology machine = build(functions);
  const std::string text = render_text(ask(machine));
  std::size_t rows = 0;
  for (std::size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    const std::string line = text.substr(at, end - at);
    if (holds(line, "#") && !holds(line, "─")) {
      CHECK(line.size() <= 120);
      rows += holds(line, "NVMe") ? 1 : 0;
    }
  }
  CHECK(rows == 90);  // Thrice each.
}

TEST_CASE("each thing that is missing is told in words") {
  auto functions = drives_and_gpu();
  functions[0].port = pci::port_type::unknown;
  functions[0].responds = false;
  functions[4].acs.found = pci::capability::state::unreadable;
  functions.push_back(make_bridge("80:00.0", pci::port_type::downstream, 0x81, 0x81));
  functions.push_back(make("81:00.0", class_nvme, pci::port_type::endpoint));
  const pci::topology machine = build(functions, pci::cpu_rule::unknown);
  const std::string text = render_text(ask(machine));
  CHECK(holds(text, "0000:00  host bridge [1234:5678], could not be read\n"));
  CHECK(holds(text,
              "Place not known: a bridge above is missing\n"
              "└─ 0000:80:00.0  PCI bridge [1234:5678], switch downstream port, buses 81-81\n"
              "   └─ #4 0000:81:00.0"));
  CHECK(holds(text, "\n?: the ACS of these could not be read: 0000:02:00.0. Run this as root"));
  CHECK(holds(text, "\n?: the kind of CPU is not known"));
  CHECK(holds(text, "so the kernel's list cannot be asked: 0000:00 [1234:5678].\n"));
  CHECK(holds(text, "so their place is not known: 0000:81:00.0.\n"));
}

TEST_CASE("JSON is sound whatever a driver is called") {
  auto functions = drives_and_gpu();
  functions[8].driver = "a\"b\\c\x01\xff";
  functions[8].p2pmem = pci::p2pmem_info{4096, 1024, true};
  const pci::topology machine = build(functions);
  const auto read = nlohmann::json::parse(render_json(ask(machine)), nullptr, false);
  REQUIRE(!read.is_discarded());
  CHECK(read["pairs"].size() == 9);
  const auto& gpu = read["devices"]["0000:05:00.0"];
  CHECK(gpu["driver"] == "a\"b\\c\x01\xef\xbf\xbd");
  CHECK(gpu["p2pmem"]["available"] == 1024);
  CHECK(gpu["acs_ctrl"] == false);
  CHECK(gpu["bus"].is_null());
  CHECK(read["devices"]["0000:01:00.0"]["bus"] == nlohmann::json::array({2, 4}));
}

TEST_CASE("a switch that might be a root port is not told as one or the other") {
  auto functions = drives_and_gpu();
  functions[3].port = pci::port_type::unknown;
  const pci::topology machine = build(functions);
  const auto read = nlohmann::json::parse(render_json(ask(machine)), nullptr, false);
  CHECK(read["pairs"][1]["common_upstream_bridge"] == "0000:01:00.0");
  CHECK(read["pairs"][1]["same_switch"].is_null());
  CHECK(read["pairs"][0]["same_switch"] == true);
}

TEST_CASE("text is escaped and cut to size") {
  CHECK(detail::escaped("a<b>&\"\x1b\n") == "a&lt;b&gt;&amp;&quot;?\n");
  CHECK(detail::wrapped("aaa bb c", 7) == std::vector<std::string>{"aaa bb ", "c"});
  CHECK(detail::wrapped("a;bbbbbbbbbb;c", 4) == std::vector<std::string>{"a;", "bbbbbbbbbb;", "c"});
}

TEST_CASE("nothing in the picture overlaps") {
  auto functions = drives_and_gpu();
  functions[1] = redirecting(functions[1]);
  functions[5] = redirecting(functions[5]);
  functions.push_back(make("04:00.1", class_gpu, pci::port_type::endpoint));
  functions.push_back(make("00:1f.0", 0x060100, pci::port_type::conventional));
  functions.push_back(make("10:00.0", class_nvme, pci::port_type::rc_endpoint));
  functions.push_back(make_bridge("80:00.0", pci::port_type::downstream, 0x81, 0x81));
  functions.push_back(make("81:00.0", class_nvme, pci::port_type::endpoint));
  const pci::topology machine = build(functions);
  const question asked = ask(machine);
  const detail::layout picture(asked, 10, 20);

  const auto apart = [](const detail::label& a, const detail::label& b) {
    return a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
  };
  std::size_t shown = 0;
  for (const detail::box& one : picture.boxes()) {
    CHECK(one.x >= 10);
    CHECK(one.y >= 20);
    CHECK(one.x + one.width <= picture.right());
    CHECK(one.y + one.height <= picture.bottom());
    for (const detail::box& other : picture.boxes()) {
      CHECK((&one == &other || apart(one, other)));
    }
    int top = one.y + detail::header_height(one);
    for (const detail::row& each : one.rows) {
      CHECK(each.y >= top);
      CHECK(each.height >= static_cast<int>(each.lines.size()) * detail::line_height);
      CHECK(each.x > one.x);
      CHECK(each.x + each.width < one.x + one.width);
      top = each.y + each.height;
      for (const std::size_t child : each.behind) {
        CHECK(picture.boxes()[child].x > one.x + one.width);
      }
    }
    CHECK(top <= one.y + one.height);
    shown += 1 + one.rows.size();
  }
  // All functions but the two that are summed up in a row, that row, two host bridges, and the box for lost ones.
  CHECK(shown == machine.size() - 2 + 1 + 2 + 1);
}

TEST_CASE("an explanation has reads and writes, for the kernel and for a process") {
  const pci::topology machine = build(drives_and_gpu());
  const std::string text = render_explanation(find(machine, "03:00.0"), find(machine, "04:00.0"));
  CHECK(holds(text, "DMA of a kernel driver\n0000:03:00.0 reads 0000:04:00.0: BUS_ADDR, 4 hops\n"));
  CHECK(holds(text, "\n0000:03:00.0 writes 0000:04:00.0: BUS_ADDR, 4 hops\n"));
  CHECK(
      holds(text, "\n\nDMA of a process, in a VFIO address space\n0000:03:00.0 reads 0000:04:00.0: UNKNOWN, 4 hops\n"));
}
