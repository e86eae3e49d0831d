// SPDX-License-Identifier: BSL-1.0
#include <paddock/vfio/diagnose.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <paddock/pci/memory_windows.hpp>

#include "catch.hpp"

using namespace paddock;
namespace fs = std::filesystem;

namespace {

/// A small sysfs: a host bridge with a bridge and two functions in one IOMMU group.
class fake_sysfs {
 public:
  fake_sysfs() {
    fs::create_directories(root / "bus/pci/devices");
    fs::create_directories(root / "kernel/iommu_groups/9/devices");
    add("pci0000:00/0000:00:01.0", "pcieport", "0x00000000fe000000 0x00000000fe1fffff 0x0000000000000200\n");
    add("pci0000:00/0000:00:02.0", "",
        "0x0000000000001000 0x00000000000010ff 0x0000000000040101\n"
        "0x0000000380000000 0x000000038fffffff 0x000000000014220c\n"
        "0x0000000000000000 0x0000000000000000 0x0000000000000000\n");
    add("pci0000:00/0000:00:01.0/0000:01:00.0", "vfio-pci",
        "0x00000000fe000000 0x00000000fe003fff 0x0000000000140204\n");
    add("pci0000:00/0000:00:01.0/0000:01:00.1", "nvme", "");
    join("0000:01:00.0");
    join("0000:01:00.1");
  }
  fake_sysfs(const fake_sysfs&) = delete;
  fake_sysfs& operator=(const fake_sysfs&) = delete;
  ~fake_sysfs() { fs::remove_all(root); }

  const fs::path root = fs::temp_directory_path() / ("paddock-sysfs-" + std::to_string(::getpid()));

 private:
  void add(const std::string& path, const std::string& driver, const std::string& resources) {
    const fs::path device = root / "devices" / path;
    fs::create_directories(device);
    std::ofstream(device / "resource") << resources;
    fs::create_symlink(device, root / "bus/pci/devices" / device.filename());
    if (!driver.empty()) {
      fs::create_directories(root / "bus/pci/drivers" / driver);
      fs::create_symlink(root / "bus/pci/drivers" / driver, device / "driver");
    }
  }
  void join(const std::string& name) {
    const fs::path device = fs::canonical(root / "bus/pci/devices" / name);
    fs::create_symlink(root / "kernel/iommu_groups/9", device / "iommu_group");
    fs::create_symlink(device, root / "kernel/iommu_groups/9/devices" / name);
  }
};

const pci::address drive{0, 1, 0, 0};
const pci::address sibling{0, 1, 0, 1};

bool says(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the group and the drivers of a device are read from sysfs") {
  const fake_sysfs sysfs;
  CHECK(vfio::group_of(drive, sysfs.root).value_or(-1) == 9);
  CHECK(vfio::group_of({0, 0, 2, 0}, sysfs.root).error() == errc::unsupported_by_platform);
  CHECK(vfio::group_of({0, 9, 0, 0}, sysfs.root).error() == errc::not_found);
  CHECK(vfio::driver_of(drive, sysfs.root) == "vfio-pci");
  CHECK(vfio::driver_of({0, 0, 2, 0}, sysfs.root).empty());
  CHECK(vfio::group_members(drive, sysfs.root).size() == 2);
}

TEST_CASE("each way in which opening fails has its advice") {
  const fake_sysfs sysfs;
  const auto explain = [&](const pci::address& device, errc code) {
    return vfio::explain_open_failure(device, error{code, 0, "open"}, sysfs.root);
  };
  const std::string not_viable = explain(drive, errc::not_viable);
  INFO(not_viable);
  CHECK(says(not_viable, "0000:01:00.1 is bound to 'nvme'"));
  CHECK(says(not_viable, "echo 0000:01:00.1 > /sys/bus/pci/devices/0000:01:00.1/driver/unbind"));
  CHECK(says(explain(sibling, errc::not_bound), "in use by the kernel driver 'nvme'"));
  CHECK(says(explain({0, 0, 2, 0}, errc::unsupported_by_platform), "in no IOMMU group"));
  CHECK(says(explain({0, 9, 0, 0}, errc::not_found), "no such PCI device"));
  CHECK(says(explain(drive, errc::busy), "IOMMU group 9 is held by another process"));
  CHECK(says(explain(drive, errc::permission), "chown"));
  CHECK(says(explain(drive, errc::unsupported_by_kernel), "modprobe"));
}

TEST_CASE("the limit on locked memory says how much is needed") {
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
  limit.rlim_cur = rlim_t{64} * 1024;
  REQUIRE(::setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
  const std::string text = vfio::explain_map_failure(std::uint64_t{3} << 20U, error{errc::limit_reached, ENOMEM, "x"});
  CHECK(says(text, "3072 KiB"));
  CHECK(says(text, "which is 64 KiB"));
  CHECK(says(vfio::explain_map_failure(4096, error{errc::limit_reached, ENOSPC, "x"}), "dma_entry_limit"));
  CHECK(says(vfio::explain_map_failure(4096, error{errc::limit_reached, EMFILE, "x"}), "ulimit -n"));
  CHECK(says(vfio::explain_map_failure(4096, error{errc::bad_address, 0, "x"}), "bad_address"));
}

TEST_CASE("a host bridge's windows are what the functions on its root bus decode") {
  const fake_sysfs sysfs;
  const auto windows = pci::host_bridge_windows(drive, sysfs.root);
  REQUIRE(windows);
  REQUIRE(windows->size() == 2);
  for (const auto& window : *windows) {
    CHECK((window == pci::address_window{0xfe000000, 0xfe1fffff} ||
           window == pci::address_window{0x380000000, 0x38fffffff}));
  }
  CHECK(pci::host_bridge_windows({0, 9, 0, 0}, sysfs.root).error() == errc::not_found);
}
