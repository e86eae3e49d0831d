// SPDX-License-Identifier: BSL-1.0
/// \file
/// One PCI function: what its config space says, and what only the running system knows of it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include <paddock/pci/acs.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/pci/config_space.hpp>

namespace PADDOCK_NAMESPACE::pci {

/// The place of a function in a PCI Express tree, from its PCI Express capability.
enum class port_type : std::uint8_t {
  unknown,       ///< Could not be read.
  conventional,  ///< No PCI Express capability.
  endpoint,
  legacy_endpoint,
  root_port,
  upstream,    ///< Of a switch, towards the root.
  downstream,  ///< Of a switch, towards a device.
  pcie_to_pci_bridge,
  pci_to_pcie_bridge,
  rc_endpoint,  ///< Integrated into the root complex.
  rc_event_collector,
};

[[nodiscard]] constexpr const char* name(port_type port) noexcept {
  switch (port) {
    case port_type::unknown: return "unknown";
    case port_type::conventional: return "conventional";
    case port_type::endpoint: return "endpoint";
    case port_type::legacy_endpoint: return "legacy-endpoint";
    case port_type::root_port: return "root-port";
    case port_type::upstream: return "upstream";
    case port_type::downstream: return "downstream";
    case port_type::pcie_to_pci_bridge: return "pcie-to-pci-bridge";
    case port_type::pci_to_pcie_bridge: return "pci-to-pcie-bridge";
    case port_type::rc_endpoint: return "rc-integrated-endpoint";
    case port_type::rc_event_collector: return "rc-event-collector";
  }
  return "unknown";
}

/// What translates the DMA of an IOMMU group. Kernel: /sys/kernel/iommu_groups/N/type (drivers/iommu/iommu.c).
enum class iommu_domain : std::uint8_t {
  unknown,      ///< Not told: no IOMMU, or no live system.
  translated,   ///< "DMA", "DMA-FQ": the kernel's DMA API maps every buffer.
  passthrough,  ///< "identity": bus addresses are physical ones.
  unmanaged,    ///< Somebody else, such as VFIO, has the address space.
  blocked,      ///< No DMA gets through.
};

[[nodiscard]] constexpr const char* name(iommu_domain domain) noexcept {
  switch (domain) {
    case iommu_domain::unknown: return "unknown";
    case iommu_domain::translated: return "translated";
    case iommu_domain::passthrough: return "identity";
    case iommu_domain::unmanaged: return "unmanaged";
    case iommu_domain::blocked: return "blocked";
  }
  return "unknown";
}

/// Where a function hangs, as far as it is known before the tree is built.
struct attachment_point {
  enum class kind : std::uint8_t {
    from_bus_numbers,  ///< A dump does not say; the bridges' bus numbers do.
    root_bus,          ///< On the bus of a host bridge.
    below,             ///< Below the bridge `parent`.
  };
  kind how{kind::from_bus_numbers};
  address parent;
};

/// Memory of a function that the kernel publishes for peers. Kernel: /sys/bus/pci/devices/BDF/p2pmem/
/// (drivers/pci/p2pdma.c).
struct p2pmem_info {
  std::uint64_t size{0};       ///< Bytes.
  std::uint64_t available{0};  ///< Bytes not handed out.
  bool published{false};
};

/// The bytes that one BAR decodes, as CPU addresses.
struct bar_range {
  std::uint64_t first{0};
  std::uint64_t size{0};  ///< 0: not implemented, or not known.
  bool memory{false};     ///< Not I/O ports.
  bool prefetchable{false};
};

/// A plain value; nothing in it refers to other functions but their addresses.
struct function {
  address where;
  std::uint16_t vendor{0xffff};
  std::uint16_t device{0xffff};
  std::uint32_t class_code{0};  ///< Class, subclass, programming interface: 0x010802 is NVMe.
  bool responds{false};         ///< False: config space reads all ones; it is off, or gone.
  bool bridge{false};           ///< Leads to the buses below.
  std::uint8_t secondary{0};    ///< The bus right behind a bridge; 0: none was assigned.
  std::uint8_t subordinate{0};  ///< The highest bus behind a bridge.
  std::uint16_t config_bytes{0};
  port_type port{port_type::unknown};
  acs_state acs;

  /// Addresses of its enabled virtual functions: the first one's distance in requester ids, the next ones', how many.
  std::uint16_t vf_offset{0};
  std::uint16_t vf_stride{0};
  std::uint16_t vf_count{0};

  attachment_point attached;
  std::optional<std::uint32_t> iommu_group;
  iommu_domain domain{iommu_domain::unknown};
  int numa_node{-1};   ///< -1: not told.
  std::string driver;  ///< Empty: none, or not told.
  std::optional<p2pmem_info> p2pmem;
  std::array<bar_range, 6> bars{};  ///< Sizes come from a system; a dump cannot tell them.

  /// Not a bridge, and it answers: something that issues or receives DMA.
  [[nodiscard]] bool is_endpoint() const noexcept {
    constexpr std::uint32_t class_bridge = 0x06;
    return responds && !bridge && class_code >> 16 != class_bridge;
  }
};

namespace detail {

/// The type of port in the flags of a PCI Express capability. Kernel: PCI_EXP_FLAGS_TYPE.
[[nodiscard]] constexpr port_type port_from_flags(std::uint16_t flags) noexcept {
  switch ((flags & regs::express_flags_type) >> 4) {
    case 0: return port_type::endpoint;
    case 1: return port_type::legacy_endpoint;
    case 4: return port_type::root_port;
    case 5: return port_type::upstream;
    case 6: return port_type::downstream;
    case 7: return port_type::pcie_to_pci_bridge;
    case 8: return port_type::pci_to_pcie_bridge;
    case 9: return port_type::rc_endpoint;
    case 10: return port_type::rc_event_collector;
    default: return port_type::unknown;
  }
}

[[nodiscard]] constexpr port_type read_port(const config_space& config) noexcept {
  const capability express = config.find(regs::capability_express);
  if (express.found == capability::state::absent) {
    return port_type::conventional;
  }
  if (express.found == capability::state::present) {
    if (const auto flags = config.read16(std::size_t{express.offset} + regs::express_flags)) {
      return port_from_flags(*flags);
    }
  }
  return port_type::unknown;
}

}  // namespace detail

/// What config space alone tells of a function. Any bytes will do: what is missing or all ones is unknown.
[[nodiscard]] inline function read_function(const address& where, const config_space& config) {
  function read;
  read.where = where;
  read.config_bytes = static_cast<std::uint16_t>(config.size());
  read.responds = config.responds();
  if (!read.responds) {
    return read;
  }
  read.vendor = config.read16(regs::vendor_id).value_or(0xffff);
  read.device = config.read16(regs::device_id).value_or(0xffff);
  read.class_code = static_cast<std::uint32_t>(config.read16(regs::class_device).value_or(0) << 8 |
                                               config.read8(regs::programming_interface).value_or(0));
  const std::uint8_t header = config.read8(regs::header_type).value_or(0) & regs::header_type_mask;
  read.bridge = header == regs::header_bridge || header == regs::header_cardbus;
  if (read.bridge) {
    read.secondary = config.read8(regs::secondary_bus).value_or(0);
    read.subordinate = config.read8(regs::subordinate_bus).value_or(0);
  }
  read.port = detail::read_port(config);
  read.acs = read_acs(config);
  const capability sriov = config.find_extended(regs::extended_sriov);
  const auto control = config.read16(std::size_t{sriov.offset} + regs::sriov_control);
  if (sriov.found == capability::state::present && control && (*control & regs::sriov_control_enable) != 0) {
    read.vf_count = config.read16(std::size_t{sriov.offset} + regs::sriov_enabled_count).value_or(0);
    read.vf_offset = config.read16(std::size_t{sriov.offset} + regs::sriov_first_offset).value_or(0);
    read.vf_stride = config.read16(std::size_t{sriov.offset} + regs::sriov_stride).value_or(0);
  }
  return read;
}

}  // namespace PADDOCK_NAMESPACE::pci
