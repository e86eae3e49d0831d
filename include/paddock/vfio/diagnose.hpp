// SPDX-License-Identifier: BSL-1.0
/// \file
/// What to do about a device that does not open, or memory that does not map: plain sentences, with the commands.
#pragma once

#include <sys/resource.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include <paddock/base/error.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/vfio/group.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// The driver that a PCI function is bound to; empty when none. Kernel: the `driver` link in sysfs.
[[nodiscard]] inline std::string driver_of(const pci::address& device, const std::filesystem::path& sysfs = "/sys") {
  std::error_code error;
  const auto link = std::filesystem::read_symlink(sysfs / "bus/pci/devices" / to_string(device) / "driver", error);
  return error ? std::string() : link.filename().string();
}

/// Whether the driver is vfio-pci or one of the drivers built on it for a device of its own (mlx5_vfio_pci, …).
/// Kernel: VFIO drivers register a vfio-dev below the device, since 6.1.
[[nodiscard]] inline bool is_driven_by_vfio(const pci::address& device, const std::filesystem::path& sysfs = "/sys") {
  std::error_code ignored;
  return driver_of(device, sysfs) == "vfio-pci" ||
         std::filesystem::exists(sysfs / "bus/pci/devices" / to_string(device) / "vfio-dev", ignored);
}

/// One function of an IOMMU group, and who drives it.
struct group_member {
  pci::address device;
  std::string driver;
  bool by_vfio{false};
};

/// Everyone in the same IOMMU group, the device itself included.
[[nodiscard]] inline std::vector<group_member> group_members(const pci::address& device,
                                                             const std::filesystem::path& sysfs = "/sys") {
  std::vector<group_member> members;
  std::error_code error;
  const auto folder = sysfs / "bus/pci/devices" / to_string(device) / "iommu_group/devices";
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (const auto member = pci::address::parse(entry->path().filename().string())) {
      members.push_back({*member, driver_of(*member, sysfs), is_driven_by_vfio(*member, sysfs)});
    }
  }
  return members;
}

/// The commands that hand a device from its driver to vfio-pci.
[[nodiscard]] inline std::string bind_commands(const pci::address& device, const std::string& driver) {
  std::string commands = "modprobe vfio-pci";
  commands += fmt::format("\necho vfio-pci > /sys/bus/pci/devices/{}/driver_override", device);
  if (!driver.empty()) {
    commands += fmt::format("\necho {0} > /sys/bus/pci/devices/{0}/driver/unbind", device);
  }
  commands += fmt::format("\necho {} > /sys/bus/pci/drivers_probe", device);
  return commands;
}

/// Why device::open() failed, and what to type. Reads sysfs now; the text is for people.
[[nodiscard]] inline std::string explain_open_failure(const pci::address& device, const error& why,
                                                      const std::filesystem::path& sysfs = "/sys") {
  std::error_code ignored;
  if (!std::filesystem::exists(sysfs / "bus/pci/devices" / to_string(device), ignored)) {
    return fmt::format("{}: there is no such PCI device (lspci -D lists those that are there)", device);
  }
  const auto group = group_of(device, sysfs);
  if (!group) {
    return fmt::format(
        "{}: the device is in no IOMMU group. VFIO needs an IOMMU: switch it on in the firmware, and on the kernel "
        "command line (intel_iommu=on; AMD's is on by default)",
        device);
  }
  const std::string driver = driver_of(device, sysfs);
  if (!is_driven_by_vfio(device, sysfs)) {
    const std::string bound = driver.empty()
                                  ? std::string("bound to no driver")
                                  : fmt::format(
                                        "in use by the kernel driver '{}' (whatever it serves, mounted file systems "
                                        "included, must be given up first)",
                                        driver);
    return fmt::format("{}: the device is {}, not to vfio-pci. To hand it over, as root:\n{}", device, bound,
                       bind_commands(device, driver));
  }
  std::string others;
  for (const group_member& member : group_members(device, sysfs)) {
    if (!member.driver.empty() && !member.by_vfio && member.driver != "pcieport" && member.driver != "pci-stub") {
      others += fmt::format("\n{} is bound to '{}'; to hand it over:\n{}", member.device, member.driver,
                            bind_commands(member.device, member.driver));
    }
  }
  switch (why.code) {
    case errc::not_viable:
      return fmt::format(
          "{}: IOMMU group {} is not viable: all of its members must be bound to vfio-pci or to nothing.{}", device,
          *group, others);
    case errc::busy:
      return fmt::format(
          "{}: IOMMU group {} is held by another process (fuser -v /dev/vfio/{} names it), or by another container of "
          "this one ({})",
          device, *group, *group, why);
    case errc::unsupported_by_platform:
      return fmt::format(
          "{}: the platform has no interrupt remapping, without which a device could raise any interrupt. Switch it on "
          "in the firmware; or, where every guest and program is trusted: "
          "echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts ({})",
          device, why);
    case errc::permission:
      return fmt::format(
          "{}: no permission for /dev/vfio/{}. Run as root, or give the group to your user: chown $USER /dev/vfio/{}",
          device, *group, *group);
    case errc::unsupported_by_kernel:
      return fmt::format("{}: this kernel has no VFIO: modprobe vfio-pci vfio_iommu_type1 ({})", device, why);
    default: return fmt::format("{}: {}", device, why);
  }
}

/// Why a mapping of `bytes` failed. For the limit on locked memory it says how much is needed.
[[nodiscard]] inline std::string explain_map_failure(std::uint64_t bytes, const error& why) {
  if (why.code == errc::limit_reached && why.sys_errno == ENOSPC) {
    return fmt::format(
        "mapping {} bytes for DMA: the container has as many mappings as it may have. Map fewer, larger ranges, or "
        "raise "
        "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit before the container is made ({})",
        bytes, why);
  }
  if (why.sys_errno == EMFILE || why.sys_errno == ENFILE) {
    return fmt::format("too many open files: raise the limit with `ulimit -n` ({})", why);
  }
  if (why.code != errc::limit_reached || why.sys_errno != ENOMEM) {
    return fmt::format("mapping {} bytes for DMA: {}", bytes, why);
  }
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) {
    return fmt::format("mapping {} bytes for DMA: the kernel had no memory for it, and no limit stands in the way ({})",
                       bytes, why);
  }
  return fmt::format(
      "mapping {} bytes for DMA would exceed the limit on locked memory, which is {} KiB: it must allow at least {} "
      "KiB "
      "more than is locked already. Raise it with `ulimit -l` (as root), in /etc/security/limits.conf, or run with "
      "CAP_IPC_LOCK ({})",
      bytes, limit.rlim_cur / 1024, (bytes + 1023) / 1024, why);
}

}  // namespace PADDOCK_NAMESPACE::vfio
