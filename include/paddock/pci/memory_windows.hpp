// SPDX-License-Identifier: BSL-1.0
/// \file
/// The bus addresses that a host bridge routes to its devices. An IOVA inside them would, where ACS redirect is off,
/// hit a neighbour's BAR instead of memory.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include <paddock/base/result.hpp>
#include <paddock/pci/address.hpp>

namespace PADDOCK_NAMESPACE::pci {

/// Addresses, both ends included.
struct address_window {
  std::uint64_t first{0};
  std::uint64_t last{0};

  friend constexpr bool operator==(const address_window&, const address_window&) noexcept = default;
};

namespace detail {

struct file_closer {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};

/// The memory resources of one device: its BARs, and for a bridge the windows that it forwards.
/// Kernel: the `resource` attribute (drivers/pci/pci-sysfs.c), a line "start end flags" for each.
[[nodiscard]] inline result<void> append_memory_resources(const std::filesystem::path& device,
                                                          std::vector<address_window>& windows) {
  constexpr std::uint64_t resource_is_memory = 0x200;
  const std::unique_ptr<std::FILE, file_closer> file(std::fopen((device / "resource").c_str(), "re"));
  if (!file) {
    return errno == ENOENT ? result<void>() : fail_errno("open(resource)");
  }
  unsigned long long first = 0;
  unsigned long long last = 0;
  unsigned long long flags = 0;
  while (std::fscanf(file.get(), "%llx %llx %llx", &first, &last, &flags) == 3) {  // NOLINT(cert-err34-c)
    if ((flags & resource_is_memory) != 0 && last > first) {
      windows.push_back({first, last});
    }
  }
  return {};
}
/// Of a folder that was walked: one that goes away meanwhile has nothing more.
[[nodiscard]] inline result<void> judge_walk(const std::error_code& ended) noexcept {
  return !ended || ended == std::errc::no_such_file_or_directory
             ? result<void>()
             : fail(error_from_errno(ended.value(), "opendir(/sys/devices)"));
}

/// What the functions on a host bridge's root bus decode and forward. `bridge` is its folder in sysfs.
[[nodiscard]] inline result<std::vector<address_window>> root_bus_windows(const std::filesystem::path& bridge) {
  std::vector<address_window> windows;
  std::error_code failed;
  for (std::filesystem::directory_iterator entry(bridge, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    if (address::parse(entry->path().filename().string())) {
      PADDOCK_TRY_VOID(append_memory_resources(entry->path(), windows));
    }
  }
  PADDOCK_TRY_VOID(judge_walk(failed));
  return windows;
}

}  // namespace detail

/// The memory windows of the host bridge above `client`: what the functions on its root bus decode and forward.
/// `sysfs` is for tests and captured trees.
/// Errors: not_found when there is no such device; limit_reached, permission: what is not known cannot be avoided.
/// Kernel: /sys/bus/pci/devices/BDF is a link into devices/pciDDDD:BB/, whose children are the root bus.
[[nodiscard]] inline result<std::vector<address_window>> host_bridge_windows(
    const address& client, const std::filesystem::path& sysfs = "/sys") {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::path device = fs::canonical(sysfs / "bus/pci/devices" / to_string(client), ignored);
  if (ignored) {
    return fail(errc::not_found, "PCI device in sysfs");
  }
  fs::path bridge = device;
  while (bridge.has_relative_path() && bridge.filename().string().rfind("pci", 0) != 0) {
    bridge = bridge.parent_path();
  }
  if (!bridge.has_relative_path()) {
    return fail(errc::not_found, "PCI host bridge in sysfs");
  }
  return detail::root_bus_windows(bridge);
}

/// The memory windows of every host bridge of the machine, in no particular order. Errors: limit_reached, permission.
/// Kernel: the folders devices/pciDDDD:BB.
[[nodiscard]] inline result<std::vector<address_window>> all_host_bridge_windows(
    const std::filesystem::path& sysfs = "/sys") {
  namespace fs = std::filesystem;
  std::vector<address_window> windows;
  std::error_code failed;
  for (fs::directory_iterator entry(sysfs / "devices", failed), end; !failed && entry != end; entry.increment(failed)) {
    if (entry->path().filename().string().rfind("pci", 0) == 0) {
      PADDOCK_TRY(const auto found, detail::root_bus_windows(entry->path()));
      windows.insert(windows.end(), found.begin(), found.end());
    }
  }
  PADDOCK_TRY_VOID(detail::judge_walk(failed));
  return windows;
}

}  // namespace PADDOCK_NAMESPACE::pci
