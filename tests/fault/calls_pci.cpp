// SPDX-License-Identifier: BSL-1.0
// As calls.cpp: a machine's PCI functions read by libpci, and captured.
#include <paddock/pci/read_libpci.hpp>

#include <filesystem>

#include <paddock/pci/capture.hpp>
#include <paddock/pci/memory_windows.hpp>

#include "catch.hpp"
#include "fault_runs.hpp"
#include "machines.hpp"

namespace fs = std::filesystem;
using namespace paddock;

namespace {

/// What is not read is not known, but never taken for something else.
result<void> same_functions(const result<pci::topology>& read, const pci::topology& whole) {
  if (!read) {
    return fail(read.error());
  }
  for (const pci::function& each : read->functions()) {
    const auto known = whole.find(each.where);
    REQUIRE(known);
    REQUIRE((each.config_bytes == 0 || each.vendor == (*known)->vendor));
  }
  return {};
}

}  // namespace

TEST_CASE("faults: a dump of a machine") {
  const std::string dump = test::two_switches().dump();
  const auto whole = pci::read_dump(dump);
  REQUIRE(whole);
  test::fail_each_call(
      {.name = "dump", .run = [&] { return same_functions(pci::read_dump(dump), *whole); }, .least = 3});
}

TEST_CASE("faults: a running system, and its capture") {
  test::sysfs_tree tree;
  tree.add("pci0000:00/0000:00:01.0", test::root_port(3, 3));
  const fs::path home = tree.add("pci0000:00/0000:00:01.0/0000:03:00.0", test::endpoint());
  tree.group(home, "12", "DMA-FQ\n");
  test::write_text(home / "numa_node", "1\n");
  test::write_text(home / "resource", "0x00000000fe000000 0x00000000fe003fff 0x0000000000140204\n");
  test::write_text(home / "p2pmem/size", "8388608\n");
  test::write_text(tree.root() / "proc/cpuinfo", "vendor_id\t: AuthenticAMD\ncpu family\t: 25\n\n");
  const auto whole = pci::read_system(tree.root());
  REQUIRE(whole);
  test::fail_each_call(
      {.name = "system", .run = [&] { return same_functions(pci::read_system(tree.root()), *whole); }, .least = 40});
  test::fail_each_call({.name = "windows of host bridges",
                        .run = [&]() -> result<void> {
                          PADDOCK_TRY_VOID(pci::host_bridge_windows(test::at("03:00.0"), tree.root() / "sys"));
                          static_cast<void>(pci::all_host_bridge_windows(tree.root() / "sys"));
                          return {};
                        },
                        .least = 5});

  // All of it, or no folder of that name; nor a draft, unless that could not be removed, which was told.
  const test::scratch_folder folder;
  const fs::path into = folder.path() / "captured";
  int lost_before = 0;
  const auto cleared = [&] {
    const test::faults::unaffected by_the_test;
    fs::remove_all(into);
    REQUIRE((fs::is_empty(folder.path()) || test::lost_errors::count() != lost_before));
    for (const auto& draft : fs::directory_iterator(folder.path())) {
      fs::remove_all(draft);
    }
  };
  test::fail_each_call({.name = "capture",
                        .run = [&]() -> result<void> {
                          lost_before = test::lost_errors::count();
                          const auto captured = pci::capture(into, tree.root());
                          const test::faults::unaffected by_the_test;
                          REQUIRE((captured || !fs::exists(into)));
                          if (captured) {
                            PADDOCK_TRY_VOID(same_functions(pci::read_system(into), *whole));
                          }
                          cleared();
                          return captured;
                        },
                        .least = 60});
}
