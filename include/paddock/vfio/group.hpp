// SPDX-License-Identifier: BSL-1.0
/// \file
/// An IOMMU group: the devices that the IOMMU cannot tell apart, which VFIO hands out together.
#pragma once

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/uapi/vfio.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/pci/address.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// The number of a device's IOMMU group.
/// Errors: not_found (no such PCI device), unsupported_by_platform (it has no group: no IOMMU, or it is switched off).
[[nodiscard]] inline result<int> group_of(const pci::address& device, const std::filesystem::path& sysfs = "/sys") {
  std::error_code error;
  const auto folder = sysfs / "bus/pci/devices" / to_string(device);
  if (!std::filesystem::exists(folder, error)) {
    return error ? fail(error_from_errno(error.value(), "PCI device in sysfs"))
                 : fail(errc::not_found, "PCI device in sysfs");
  }
  const auto link = std::filesystem::read_symlink(folder / "iommu_group", error);
  if (error) {
    return error == std::errc::no_such_file_or_directory
               ? fail(errc::unsupported_by_platform, "IOMMU group of the PCI device")
               : fail(error_from_errno(error.value(), "IOMMU group of the PCI device"));
  }
  const std::string number = link.filename().string();
  int group = 0;
  const auto [end, parsed] = std::from_chars(number.data(), number.data() + number.size(), group);
  if (parsed != std::errc{} || end != number.data() + number.size()) {
    return fail(errc::unexpected, "IOMMU group of the PCI device");
  }
  return group;
}

/// An open group. Kernel: /dev/vfio/N; only one process holds it at a time.
class group {
 public:
  /// Errors: not_bound (no device of the group is bound to VFIO), busy (another process holds it), permission,
  /// not_viable (a member is bound to a kernel driver).
  [[nodiscard]] static result<group> open(int number) {
    auto fd = paddock::detail::open(fmt::format("/dev/vfio/{}", number).c_str(), O_RDWR, "open(/dev/vfio/GROUP)");
    if (!fd) {
      return fd.error() == errc::not_found ? fail(error{errc::not_bound, fd.error().sys_errno, fd.error().where})
                                           : fail(fd.error());
    }
    uapi::vfio_group_status status;
    PADDOCK_TRY_VOID(paddock::detail::ioctl_once(*fd, uapi::vfio_group_get_status, &status, "VFIO_GROUP_GET_STATUS"));
    if ((status.flags & uapi::vfio_group_flags_viable) == 0) {
      return fail(errc::not_viable, "VFIO_GROUP_GET_STATUS");
    }
    return group(number, std::move(*fd));
  }

  /// False before it is attached, and once its last device was unplugged: nothing brings the group back to life.
  [[nodiscard]] bool in_container() const noexcept {
    uapi::vfio_group_status status;
    const auto asked = paddock::detail::ioctl_once(fd_, uapi::vfio_group_get_status, &status, "VFIO_GROUP_GET_STATUS");
    if (!asked) {  // Nobody lets go of a group because a question about it failed, but when it says that it is gone.
      return asked.error().sys_errno != ENODEV;
    }
    return (status.flags & uapi::vfio_group_flags_container_set) != 0;
  }

  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] borrowed_fd fd() const noexcept { return fd_; }

 private:
  group(int number, unique_fd fd) noexcept : number_(number), fd_(std::move(fd)) {}

  int number_;
  unique_fd fd_;
};

}  // namespace PADDOCK_NAMESPACE::vfio
