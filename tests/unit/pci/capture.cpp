// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/capture.hpp>

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "catch.hpp"
#include "machines.hpp"

namespace fs = std::filesystem;
using namespace paddock;

namespace {

/// Everything below a folder, by its path there: links with what they say, files with what they hold.
std::map<std::string, std::string> everything(const fs::path& root) {
  std::map<std::string, std::string> all;
  for (const fs::directory_entry& each : fs::recursive_directory_iterator(root)) {
    const std::string name = each.path().lexically_relative(root).string();
    if (each.is_symlink()) {
      all[name] = "-> " + fs::read_symlink(each.path()).string();
    } else if (each.is_regular_file()) {
      all[name] = test::read_text(each.path());
    }
  }
  return all;
}

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

/// A small system in /sys's form, and a folder for captures of it.
struct small_system {
  small_system() {
    tree.add("platform/ACPI0004:00/VMBUS:00/0f5e-4c1d/pci0000:00/0000:00:01.0", test::root_port(1, 1));
    std::size_t at = 0;
    test::config space = test::endpoint().extended(0x0003, at).put32(at + 4, 0xfeedbeef).put32(at + 8, 0xdeadface);
    home = tree.add("platform/ACPI0004:00/VMBUS:00/0f5e-4c1d/pci0000:00/0000:00:01.0/0000:01:00.0", space.acs(0x1d));
    test::write_text(home / "resource", "0x00000000fe000000 0x00000000fe003fff 0x0000000000140204\n");
    test::write_text(home / "vendor", "0x1234\n");
    test::write_text(home / "device", "0x5678\n");
    test::write_text(home / "class", "0x010802\n");
    test::write_text(home / "numa_node", "0\n");
    test::write_text(home / "serial_number", "S1234\n");
    test::write_text(home / "p2pmem/size", "65536\n");
    test::write_text(home / "p2pmem/available", "4096\n");
    test::write_text(home / "p2pmem/published", "1\n");
    tree.group(home, "4", "DMA\n");
    fs::create_symlink("../../../bus/pci/drivers/nvme", home / "driver");
    test::write_text(tree.root() / "proc/cpuinfo",
                     "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel name\t: X\nSerial\t\t: 77\n"
                     "\nprocessor\t: 1\nvendor_id\t: AuthenticAMD\n");
  }
  [[nodiscard]] fs::path into() const { return folder.path() / "captured"; }

  test::sysfs_tree tree;
  test::scratch_folder folder;
  fs::path home;
};

}  // namespace

TEST_CASE("a capture is the tree that replays, and no more") {
  const small_system system;
  REQUIRE(pci::capture(system.into(), system.tree.root()));
  auto captured = everything(system.into());
  const std::string port = "sys/devices/pci0000:00/0000:00:01.0/";
  const std::string disk = port + "0000:01:00.0/";
  std::string config = test::read_text(system.home / "config");
  config.replace(0x104, 8, 8, '\0');
  const std::map<std::string, std::string> expected{
      {"proc/cpuinfo", "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\n"},
      {"sys/bus/pci/devices/0000:00:01.0", "-> ../../../devices/pci0000:00/0000:00:01.0"},
      {"sys/bus/pci/devices/0000:01:00.0", "-> ../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0"},
      {"sys/kernel/iommu_groups/4/type", "DMA\n"},
      {port + "config", test::read_text(system.home.parent_path() / "config")},
      {disk + "config", config},
      {disk + "resource", "0x00000000fe000000 0x00000000fe003fff 0x0000000000140204\n"},
      {disk + "vendor", "0x1234\n"},
      {disk + "device", "0x5678\n"},
      {disk + "class", "0x010802\n"},
      {disk + "numa_node", "0\n"},
      {disk + "p2pmem/size", "65536\n"},
      {disk + "p2pmem/available", "4096\n"},
      {disk + "p2pmem/published", "1\n"},
      {disk + "iommu_group", "-> ../../../../kernel/iommu_groups/4"},
      {disk + "driver", "-> ../../../../bus/pci/drivers/nvme"}};
  CHECK(captured == expected);
  CHECK(fs::is_directory(system.into() / disk / "iommu_group"));
  CHECK(fs::is_directory(system.into() / disk / "driver"));
  CHECK(entries(system.folder.path()) == 1);
}

TEST_CASE("a capture of a capture is the same") {
  const small_system system;
  REQUIRE(pci::capture(system.into(), system.tree.root()));
  REQUIRE(pci::capture(system.folder.path() / "again/", system.into()));
  CHECK(everything(system.into()) == everything(system.folder.path() / "again"));
}

TEST_CASE("serial numbers are taken out of config space, and nothing else is") {
  std::size_t at = 0;
  test::config space = test::endpoint().extended(0x0001, at).extended(0x0003, at);
  for (std::size_t i = 4; i < 12; ++i) {
    space.put8(at + i, 0xaa);
  }
  space.acs(0x1d).put8(0x41, 0x60).put16(0x60, 0x0003).put16(0x62, 0x8012).put32(0x64, 0x31323334);
  std::vector<std::byte> bytes(space.bytes().begin(), space.bytes().end());
  pci::detail::remove_serial_numbers(bytes);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const bool secret = (at + 4 <= i && i < at + 12) || (0x62 <= i && i < 0x68);
    if (bytes[i] != (secret ? std::byte{0} : space.bytes()[i])) {
      FAIL_CHECK("byte " << i);
    }
  }
}

TEST_CASE("a serial number that the copy cuts off is taken out as far as it is there") {
  std::size_t at = 0;
  test::config space = test::endpoint().extended(0x0003, at).put32(at + 4, 0xaaaaaaaa).first(at + 6);
  std::vector<std::byte> bytes(space.bytes().begin(), space.bytes().end());
  pci::detail::remove_serial_numbers(bytes);
  CHECK(bytes[at + 4] == std::byte{0});
  CHECK(bytes[at + 5] == std::byte{0});
  CHECK(bytes.size() == at + 6);
}

TEST_CASE("functions without a place in the tree are captured where they are") {
  test::sysfs_tree tree;
  test::write_text(tree.entry("0000:01:00.0") / "config", "0123456789");
  const test::scratch_folder folder;
  REQUIRE(pci::capture(folder.path() / "x", tree.root()));
  CHECK(everything(folder.path() / "x") ==
        std::map<std::string, std::string>{{"sys/bus/pci/devices/0000:01:00.0/config", "0123456789"}});
}

TEST_CASE("a link out of the tree is not followed into the capture") {
  test::sysfs_tree tree;
  const test::scratch_folder outside;
  test::write_text(outside.path() / "0000:00:01.0/config", "0123");
  fs::create_symlink("../../../devices/pci0000:00/../../../../../../tmp/0000:00:02.0", tree.entry("0000:00:02.0"));
  fs::create_symlink(outside.path() / "0000:00:01.0", tree.entry("0000:00:01.0"));
  const test::scratch_folder folder;
  REQUIRE(pci::capture(folder.path() / "x", tree.root()));
  CHECK(everything(folder.path() / "x") ==
        std::map<std::string, std::string>{{"sys/bus/pci/devices/0000:00:01.0/config", "0123"},
                                           {"sys/bus/pci/devices/0000:00:02.0/config", ""}});
}

TEST_CASE("a machine without groups and without x86's lines is captured as one") {
  test::sysfs_tree tree;
  test::write_text(tree.root() / "proc/cpuinfo", "processor 0: version = FF,  identification = 0123AB\n");
  const test::scratch_folder folder;
  REQUIRE(pci::capture(folder.path() / "x", tree.root()));
  CHECK(everything(folder.path() / "x") == std::map<std::string, std::string>{{"proc/cpuinfo", "processor\t: 0\n"}});
  CHECK_FALSE(pci::read_machine_facts(folder.path() / "x").iommu_groups_told);
  CHECK(pci::read_cpu_rule(folder.path() / "x") == pci::cpu_rule::none);
}

TEST_CASE("what is there is never written over") {
  const small_system system;
  test::write_text(system.into(), "mine");
  CHECK(pci::capture(system.into(), system.tree.root()).error() == errc::already_exists);
  CHECK(test::read_text(system.into()) == "mine");
  CHECK(pci::capture(system.into(), "/nowhere").error() == errc::already_exists);  // Asked first of all.
  fs::remove(system.into());
  fs::create_directory(system.into());
  CHECK(pci::capture(system.into(), system.tree.root()).error() == errc::already_exists);
  CHECK(pci::capture(system.into() / "", system.tree.root()).error() == errc::already_exists);
  fs::remove(system.into());
  fs::create_symlink("nowhere", system.into());
  CHECK(pci::capture(system.into(), system.tree.root()).error() == errc::already_exists);
  CHECK(entries(system.folder.path()) == 1);
}

TEST_CASE("a capture that fails leaves nothing behind") {
  const test::scratch_folder folder;
  const fs::path into = folder.path() / "captured";
  {
    const test::sysfs_tree strange;
    fs::create_directory(strange.entry("slot"));
    CHECK(pci::capture(into, strange.root()).error() == errc::invalid_argument);
    CHECK(entries(folder.path()) == 0);
  }
  {
    test::sysfs_tree pipe;
    pipe.add("pci0000:00/0000:00:01.0", test::endpoint());
    fs::create_directory(pipe.entry("0000:00:02.0"));
    REQUIRE(::mkfifo((pipe.entry("0000:00:02.0") / "config").c_str(), 0600) == 0);
    CHECK(pci::capture(into, pipe.root()).error() == errc::invalid_argument);
    CHECK(entries(folder.path()) == 0);
  }
  CHECK(pci::capture(into, folder.path() / "nowhere").error() == errc::not_found);
  CHECK(pci::capture(folder.path() / "no/where", folder.path()).error() == errc::not_found);
  CHECK(entries(folder.path()) == 0);
}

TEST_CASE("a folder that may not be written to is a typed error") {
  const small_system system;
  // Nobody makes folders there, not even root.
  CHECK(pci::capture("/proc/paddock", system.tree.root()).error() != errc::unexpected);
  CHECK_FALSE(pci::capture("/proc/paddock", system.tree.root()));
}

TEST_CASE("functions that are listed and cannot be read are captured as such") {
  small_system system;
  fs::create_symlink("../../../devices/pci0000:00/0000:00:03.0", system.tree.entry("0000:00:03.0"));
  fs::create_directory(system.tree.entry("0000:00:04.0"));
  REQUIRE(pci::capture(system.into(), system.tree.root()));
  CHECK(entries(system.into() / "sys/bus/pci/devices") == 4);
  CHECK(everything(system.into()).at("sys/devices/pci0000:00/0000:00:03.0/config").empty());
}
