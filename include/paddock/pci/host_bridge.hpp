// SPDX-License-Identifier: BSL-1.0
/// \file
/// Host bridges, and which of them the kernel trusts to forward from one of their ports to another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <paddock/pci/address.hpp>
#include <paddock/pci/function.hpp>

namespace PADDOCK_NAMESPACE::pci {

/// A root complex that is known to forward between its ports.
struct host_bridge_entry {
  static constexpr std::uint16_t any_device = 0xffff;

  std::uint16_t vendor;
  std::uint16_t device;   ///< Or any_device.
  bool same_host_bridge;  ///< Only between ports of one and the same host bridge.
  const char* name;
};

/// The list of Linux 7.2. Kernel: pci_p2pdma_whitelist (drivers/pci/p2pdma.c).
inline constexpr auto host_bridge_list = std::to_array<host_bridge_entry>({
    {0x8086, 0x3c00, true, "Intel Sandy Bridge-E"},
    {0x8086, 0x3c01, true, "Intel Sandy Bridge-E"},
    {0x8086, 0x2f00, true, "Intel Haswell-E"},
    {0x8086, 0x2f01, true, "Intel Haswell-E"},
    {0x8086, 0x2030, false, "Intel Skylake-E"},
    {0x8086, 0x2031, false, "Intel Skylake-E"},
    {0x8086, 0x2032, false, "Intel Skylake-E"},
    {0x8086, 0x2033, false, "Intel Skylake-E"},
    {0x8086, 0x2020, false, "Intel Skylake-E"},
    {0x8086, 0x09a2, false, "Intel Ice Lake and Sapphire Rapids"},
    {0x8086, 0x0b25, false, "Intel DSA, Sapphire Rapids"},
    {0x8086, 0x0cfe, false, "Intel IAX, Sapphire Rapids"},
    {0x8086, 0x11fb, false, "Intel DSA, Granite Rapids-D"},
    {0x8086, 0x1212, false, "Intel DSA, Diamond Rapids"},
    {0x8086, 0x1216, false, "Intel IAA, Diamond Rapids"},
    {0x8086, 0x4940, false, "Intel QAT 4xxx"},
    {0x8086, 0x4942, false, "Intel QAT 401xx"},
    {0x8086, 0x4944, false, "Intel QAT 402xx"},
    {0x8086, 0x4946, false, "Intel QAT 420xx"},
    {0x8086, 0x4948, false, "Intel QAT 6xxx"},
    {0x1ae0, host_bridge_entry::any_device, false, "Google"},
});

/// Whether the kernel trusts any host bridge of this machine, whatever its list says, because of the CPU.
/// Kernel: cpu_supports_p2pdma() (drivers/pci/p2pdma.c): AMD, family 17h or later.
enum class cpu_rule : std::uint8_t {
  unknown,  ///< A dump does not tell.
  none,
  amd_zen,
};

[[nodiscard]] constexpr const char* name(cpu_rule rule) noexcept {
  switch (rule) {
    case cpu_rule::unknown: return "unknown";
    case cpu_rule::none: return "none";
    case cpu_rule::amd_zen: return "amd_zen";
  }
  return "unknown";
}

/// A root bus, and the entry of the list that its first function matches.
struct host_bridge {
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  std::uint32_t domain{0};
  std::uint8_t bus{0};
  std::size_t first{none};                  ///< Index of the lowest function on the bus, by which the bridge is known.
  bool known{false};                        ///< False: the first function could not be read, so the list cannot tell.
  const host_bridge_entry* entry{nullptr};  ///< Null: not on the list.
};

/// The entry for this first function of a root bus; it stands for the bridge only as function 00.0 or as a root port.
/// Kernel: pci_host_bridge_dev() and __host_bridge_whitelist() (drivers/pci/p2pdma.c).
[[nodiscard]] constexpr const host_bridge_entry* find_entry(const function& first) noexcept {
  const bool stands_for_bridge =
      (first.where.device == 0 && first.where.function == 0) || first.port == port_type::root_port;
  if (!stands_for_bridge) {
    return nullptr;
  }
  for (const host_bridge_entry& entry : host_bridge_list) {
    if (entry.vendor == first.vendor &&
        (entry.device == host_bridge_entry::any_device || entry.device == first.device)) {
      return &entry;
    }
  }
  return nullptr;
}

}  // namespace PADDOCK_NAMESPACE::pci
