// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/sysfs.hpp>

#include <sys/stat.h>

#include <fstream>

#include "catch.hpp"
#include "machines.hpp"

namespace fs = std::filesystem;
using namespace paddock;
using pci::cpu_rule;
using kind = pci::attachment_point::kind;

namespace {

pci::function facts(const test::sysfs_tree& tree, const char* where, const test::config& space = test::endpoint()) {
  pci::function of = pci::read_function(test::at(where), space.view());
  pci::add_sysfs_facts(of, tree.root());
  return of;
}

cpu_rule cpu_of(std::string_view cpuinfo) {
  const test::scratch_folder folder;
  test::write_text(folder.path() / "proc/cpuinfo", cpuinfo);
  return pci::read_cpu_rule(folder.path());
}

}  // namespace

TEST_CASE("sysfs tells where a function hangs") {
  test::sysfs_tree tree;
  tree.add("pci0000:00/0000:00:01.0", test::root_port(3, 3));
  tree.add("pci0000:00/0000:00:01.0/0000:03:00.0", test::endpoint());
  tree.add("pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:01.0", test::root_port(0xe1, 0xe1));
  const pci::function port = facts(tree, "00:01.0");
  CHECK(port.attached.how == kind::root_bus);
  CHECK(port.attached.parent == test::at("00:00.0"));
  const pci::function disk = facts(tree, "03:00.0");
  CHECK(disk.attached.how == kind::below);
  CHECK(disk.attached.parent == test::at("00:01.0"));
  const pci::function behind_vmd = facts(tree, "10000:e0:01.0");
  CHECK(behind_vmd.attached.how == kind::root_bus);
  CHECK(behind_vmd.attached.parent == test::at("10000:e0:00.0"));
}

TEST_CASE("sysfs tells a function's group, driver, node, memory and BARs") {
  test::sysfs_tree tree;
  const fs::path home = tree.add("pci0000:00/0000:00:01.0", test::endpoint());
  tree.group(home, "12", "DMA-FQ\n");
  fs::create_symlink("../../../bus/pci/drivers/vfio-pci", home / "driver");
  test::write_text(home / "numa_node", "1\n");
  test::write_text(home / "p2pmem/size", "8388608\n");
  test::write_text(home / "p2pmem/available", "4096\n");
  test::write_text(home / "p2pmem/published", "1\n");
  test::write_text(home / "resource",
                   "0x00000000fe000000 0x00000000fe003fff 0x0000000000140204\n"
                   "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
                   "0x000000000000e000 0x000000000000e01f 0x0000000000040101\n"
                   "0x0000004000000000 0x00000043ffffffff 0x000000000014220c\n");
  const pci::function of = facts(tree, "00:01.0");
  CHECK(of.iommu_group == 12U);
  CHECK(of.domain == pci::iommu_domain::translated);
  CHECK(of.driver == "vfio-pci");
  CHECK(of.numa_node == 1);
  REQUIRE(of.p2pmem);
  CHECK(of.p2pmem->size == 8388608);
  CHECK(of.p2pmem->available == 4096);
  CHECK(of.p2pmem->published);
  CHECK(of.bars[0].first == 0xfe000000);
  CHECK(of.bars[0].size == 0x4000);
  CHECK(of.bars[0].memory);
  CHECK_FALSE(of.bars[0].prefetchable);
  CHECK(of.bars[1].size == 0);
  CHECK_FALSE(of.bars[2].memory);
  CHECK(of.bars[2].size == 0x20);
  CHECK(of.bars[3].size == 0x400000000);
  CHECK(of.bars[3].prefetchable);
}

TEST_CASE("what sysfs does not tell stays unknown") {
  test::sysfs_tree tree;
  tree.add("pci0000:00/0000:00:01.0", test::endpoint());
  for (const char* where : {"00:01.0", "00:02.0"}) {  // The second one is not there at all.
    const pci::function of = facts(tree, where);
    CHECK_FALSE(of.iommu_group);
    CHECK(of.domain == pci::iommu_domain::unknown);
    CHECK(of.driver.empty());
    CHECK(of.numa_node == -1);
    CHECK_FALSE(of.p2pmem);
    CHECK(of.bars[0].size == 0);
  }
  CHECK(facts(tree, "00:02.0").attached.how == kind::from_bus_numbers);
}

TEST_CASE("every type of IOMMU domain is told") {
  using pci::iommu_domain;
  CHECK(pci::detail::parse_domain("DMA") == iommu_domain::translated);
  CHECK(pci::detail::parse_domain("DMA-FQ") == iommu_domain::translated);
  CHECK(pci::detail::parse_domain("identity") == iommu_domain::passthrough);
  CHECK(pci::detail::parse_domain("unmanaged") == iommu_domain::unmanaged);
  CHECK(pci::detail::parse_domain("blocked") == iommu_domain::blocked);
  CHECK(pci::detail::parse_domain("auto") == iommu_domain::unknown);
}

TEST_CASE("a virtual function has its ids from sysfs") {
  test::sysfs_tree tree;
  const fs::path home = tree.add("pci0000:00/0000:00:01.0/0000:03:00.4", test::virtual_function());
  test::write_text(home / "vendor", "0x8086\n");
  test::write_text(home / "device", "0x154c\n");
  const pci::function of = facts(tree, "03:00.4", test::virtual_function());
  CHECK(of.vendor == 0x8086);
  CHECK(of.device == 0x154c);
  const pci::function off = facts(tree, "03:00.4", test::all_ones());
  CHECK(off.vendor == 0xffff);
}

TEST_CASE("attributes that are no files, or hold no numbers, tell nothing") {
  test::sysfs_tree tree;
  const fs::path home = tree.add("pci0000:00/0000:00:01.0", test::endpoint());
  REQUIRE(::mkfifo((home / "numa_node").c_str(), 0600) == 0);
  std::fstream pipe(home / "numa_node", std::ios::in | std::ios::out);
  pipe << "1\n" << std::flush;
  fs::create_directory(home / "resource");
  fs::create_symlink("iommu_group", home / "iommu_group");
  fs::create_symlink("..", home / "driver");
  test::write_text(home / "p2pmem/size", "much\n");
  const pci::function of = facts(tree, "00:01.0");
  CHECK(of.numa_node == -1);
  CHECK(of.bars[0].size == 0);
  CHECK_FALSE(of.iommu_group);
  CHECK(of.driver.empty());
  CHECK_FALSE(of.p2pmem);
}

TEST_CASE("AMD's CPUs since Zen are told from all others") {
  const auto amd = [](const char* family) {
    return cpu_of(std::string("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: ") + family +
                  "\nmodel\t\t: 1\n");
  };
  CHECK(amd("23") == cpu_rule::amd_zen);
  CHECK(amd("26") == cpu_rule::amd_zen);
  CHECK(amd("22") == cpu_rule::none);
  CHECK(amd("x") == cpu_rule::none);
  CHECK(cpu_of("processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 25\n") == cpu_rule::none);
  CHECK(cpu_of("processor\t: 0\nvendor_id\t: HygonGenuine\ncpu family\t: 24\n") == cpu_rule::none);
  CHECK(cpu_of("processor\t: 0\nCPU implementer\t: 0x41\n") == cpu_rule::none);
  CHECK(cpu_of("") == cpu_rule::unknown);
  // A line without a value has none of the next one's.
  CHECK(cpu_of("vendor_id\t: AuthenticAMD\ncpu family\t\nmodel\t\t: 25\n") == cpu_rule::none);
  CHECK(pci::read_cpu_rule("/nowhere") == cpu_rule::unknown);
}

TEST_CASE("whether groups are told is told by their folder") {
  test::sysfs_tree tree;
  CHECK_FALSE(pci::read_machine_facts(tree.root()).iommu_groups_told);
  fs::create_directories(tree.root() / "sys/kernel/iommu_groups");
  CHECK(pci::read_machine_facts(tree.root()).iommu_groups_told);
}
