// SPDX-License-Identifier: BSL-1.0
/// \file
/// What sysfs tells of PCI functions beside their config space: where they hang, their IOMMU groups, their drivers.
/// It works on a captured tree as on a running system. Needs no privilege; what is missing stays unknown.
#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/pci/function.hpp>
#include <paddock/pci/host_bridge.hpp>
#include <paddock/pci/topology.hpp>

namespace PADDOCK_NAMESPACE::pci {

namespace detail {

/// A small attribute, without its line end. nullopt when it cannot be read. A captured tree may hold anything, so what
/// is no regular file is not opened for long: a pipe would block.
[[nodiscard]] inline std::optional<std::string> read_attribute(const std::filesystem::path& file) {
  const auto fd = ::paddock::detail::open(file.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY, "open(attribute)");
  struct stat what {};
  if (!fd || ::fstat(fd->get(), &what) != 0 || !S_ISREG(what.st_mode)) {
    return std::nullopt;
  }
  std::array<char, 4096> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): read fills it.
  const auto got = ::paddock::detail::retry<false>([&] { return ::read(fd->get(), buffer.data(), buffer.size()); });
  if (got < 0) {
    return std::nullopt;
  }
  std::string text(buffer.data(), static_cast<std::size_t>(got));
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  return text;
}

/// A decimal number, or one in hex after "0x".
template <class Integer>
[[nodiscard]] std::optional<Integer> parse_number(std::string_view text) noexcept {
  const bool hex = text.substr(0, 2) == "0x";
  text.remove_prefix(hex ? 2 : 0);
  Integer value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

template <class Integer>
[[nodiscard]] std::optional<Integer> read_number(const std::filesystem::path& file) {
  const auto text = read_attribute(file);
  return text ? parse_number<Integer>(*text) : std::nullopt;
}

/// Where a link points to, as written in it; empty for none.
[[nodiscard]] inline std::filesystem::path link_target(const std::filesystem::path& link) {
  std::error_code failed;
  std::filesystem::path target = std::filesystem::read_symlink(link, failed);
  return failed ? std::filesystem::path() : target;
}

/// The last name in a link's target: a driver's, or a group's number. Empty for none.
[[nodiscard]] inline std::string link_name(const std::filesystem::path& link) {
  std::string name = link_target(link).filename().string();
  return name == "." || name == ".." ? std::string() : name;
}

/// "pci10000:00": the folder of a root bus.
[[nodiscard]] inline std::optional<address> parse_root_bus(std::string_view folder) noexcept {
  if (folder.substr(0, 3) != "pci") {
    return std::nullopt;
  }
  folder.remove_prefix(3);
  const std::size_t colon = folder.find(':');
  std::uint32_t domain = 0;
  std::uint32_t bus = 0;
  if (colon == std::string_view::npos || !parse_hex(folder.substr(0, colon), 0xffffffff, domain) ||
      !parse_hex(folder.substr(colon + 1), 0xff, bus)) {
    return std::nullopt;
  }
  return address{domain, static_cast<std::uint8_t>(bus), 0, 0};
}

/// The folder above a device's is the bridge's, or the root bus's.
[[nodiscard]] inline attachment_point parse_place(const std::filesystem::path& device, const address& where) {
  if (device.filename() != to_string(where)) {
    return {};
  }
  const std::string above = device.parent_path().filename().string();
  if (const auto bridge = address::parse(above)) {
    return {attachment_point::kind::below, *bridge};
  }
  if (const auto bus = parse_root_bus(above)) {
    return {attachment_point::kind::root_bus, *bus};
  }
  return {};
}

/// Kernel: iommu_group_show_type() (drivers/iommu/iommu.c).
[[nodiscard]] inline iommu_domain parse_domain(std::string_view type) noexcept {
  if (type == "DMA" || type == "DMA-FQ") {
    return iommu_domain::translated;
  }
  if (type == "identity") {
    return iommu_domain::passthrough;
  }
  if (type == "unmanaged") {
    return iommu_domain::unmanaged;
  }
  return type == "blocked" ? iommu_domain::blocked : iommu_domain::unknown;
}

/// The first six lines of `resource` are the BARs: "start end flags". Kernel: resource_show()
/// (drivers/pci/pci-sysfs.c).
[[nodiscard]] inline std::array<bar_range, 6> parse_bars(std::string_view text) noexcept {
  constexpr std::uint64_t io_ports = 0x100;
  constexpr std::uint64_t memory = 0x200;
  constexpr std::uint64_t prefetch = 0x2000;
  std::array<bar_range, 6> bars{};
  for (bar_range& bar : bars) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    std::array<std::uint64_t, 3> numbers{};
    for (std::uint64_t& number : numbers) {
      const std::size_t space = line.find(' ');
      number = parse_number<std::uint64_t>(line.substr(0, space)).value_or(0);
      line.remove_prefix(space == std::string_view::npos ? line.size() : space + 1);
    }
    const auto [first, last, flags] = numbers;
    if ((flags & (io_ports | memory)) != 0 && last > first) {
      bar = {first, last - first + 1, (flags & memory) != 0, (flags & prefetch) != 0};
    }
    if (end == std::string_view::npos) {
      break;
    }
    text.remove_prefix(end + 1);
  }
  return bars;
}

}  // namespace detail

/// Adds what sysfs says to a function that was read from config space. `root` is "/" or a captured tree.
/// Kernel: Documentation/ABI/testing/sysfs-bus-pci, sysfs-kernel-iommu_groups.
inline void add_sysfs_facts(function& to, const std::filesystem::path& root) {
  namespace fs = std::filesystem;
  const fs::path device = root / "sys/bus/pci/devices" / to_string(to.where);
  to.attached = detail::parse_place(detail::link_target(device), to.where);
  if (to.vendor == 0xffff && to.responds) {
    // A virtual function's own config space does not say; sysfs has what the physical one says of it.
    to.vendor = detail::read_number<std::uint16_t>(device / "vendor").value_or(0xffff);
    to.device = detail::read_number<std::uint16_t>(device / "device").value_or(0xffff);
  }
  const std::string group = detail::link_name(device / "iommu_group");
  to.iommu_group = detail::parse_number<std::uint32_t>(group);
  if (to.iommu_group) {
    const fs::path type = root / "sys/kernel/iommu_groups" / group / "type";
    to.domain = detail::parse_domain(detail::read_attribute(type).value_or(""));
  }
  to.numa_node = detail::read_number<int>(device / "numa_node").value_or(-1);
  to.driver = detail::link_name(device / "driver");
  to.bars = detail::parse_bars(detail::read_attribute(device / "resource").value_or(""));
  if (const auto size = detail::read_number<std::uint64_t>(device / "p2pmem/size")) {
    to.p2pmem = p2pmem_info{*size, detail::read_number<std::uint64_t>(device / "p2pmem/available").value_or(0),
                            detail::read_number<int>(device / "p2pmem/published").value_or(0) != 0};
  }
}

/// The kind of CPU, from `root`/proc/cpuinfo. A file without x86's lines is another architecture's.
/// Kernel: cpu_supports_p2pdma() (drivers/pci/p2pdma.c).
[[nodiscard]] inline cpu_rule read_cpu_rule(const std::filesystem::path& root) {
  constexpr int zen = 0x17;
  const auto text = detail::read_attribute(root / "proc/cpuinfo");
  if (!text || text->empty()) {
    return cpu_rule::unknown;
  }
  const auto value_of = [&](std::string_view key) -> std::string_view {
    const std::size_t at = text->find(key);
    if (at == std::string::npos) {
      return {};
    }
    const std::string_view line = std::string_view(*text).substr(at, text->find('\n', at) - at);
    const std::size_t colon = line.find(": ");
    return colon == std::string_view::npos ? std::string_view() : line.substr(colon + 2);
  };
  const bool amd = value_of("vendor_id") == "AuthenticAMD";
  return amd && detail::parse_number<int>(value_of("cpu family")).value_or(0) >= zen ? cpu_rule::amd_zen
                                                                                     : cpu_rule::none;
}

/// What sysfs tells of the machine.
[[nodiscard]] inline machine_facts read_machine_facts(const std::filesystem::path& root) {
  std::error_code ignored;
  return {read_cpu_rule(root), std::filesystem::is_directory(root / "sys/kernel/iommu_groups", ignored)};
}

}  // namespace PADDOCK_NAMESPACE::pci
