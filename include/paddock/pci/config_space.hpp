// SPDX-License-Identifier: BSL-1.0
/// \file
/// A copy of a function's config space, as much of it as could be read, and the walks along its capabilities.
/// What lies beyond the copy is "unreadable", never "absent": 64 bytes is all that a process without privilege gets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE::pci {

/// Standard offsets, bits and ids, as the PCI specifications name them. Kernel: include/uapi/linux/pci_regs.h.
namespace regs {
inline constexpr std::size_t header_bytes = 64;
inline constexpr std::size_t conventional_bytes = 256;
inline constexpr std::size_t extended_bytes = 4096;

inline constexpr std::uint16_t vendor_id = 0x00;
inline constexpr std::uint16_t device_id = 0x02;
inline constexpr std::uint16_t status = 0x06;
inline constexpr std::uint16_t status_capabilities = 0x10;
inline constexpr std::uint16_t programming_interface = 0x09;
inline constexpr std::uint16_t class_device = 0x0a;
inline constexpr std::uint16_t header_type = 0x0e;
inline constexpr std::uint8_t header_type_mask = 0x7f;
inline constexpr std::uint8_t header_bridge = 1;
inline constexpr std::uint8_t header_cardbus = 2;
inline constexpr std::uint16_t capabilities = 0x34;
inline constexpr std::uint16_t cardbus_capabilities = 0x14;
inline constexpr std::uint16_t secondary_bus = 0x19;
inline constexpr std::uint16_t subordinate_bus = 0x1a;

inline constexpr std::uint8_t capability_vpd = 0x03;
inline constexpr std::uint16_t vpd_address = 2;  ///< From the capability's start, as the rest below.
inline constexpr std::uint16_t vpd_end = 8;

inline constexpr std::uint8_t capability_express = 0x10;
inline constexpr std::uint16_t express_flags = 2;
inline constexpr std::uint16_t express_flags_type = 0x00f0;

inline constexpr std::uint16_t extended_serial_number = 0x0003;
inline constexpr std::uint16_t serial_number = 4;
inline constexpr std::uint16_t serial_number_end = 12;
inline constexpr std::uint16_t extended_acs = 0x000d;
inline constexpr std::uint16_t acs_capability = 4;
inline constexpr std::uint16_t acs_control = 6;
inline constexpr std::uint16_t extended_sriov = 0x0010;
inline constexpr std::uint16_t sriov_control = 0x08;
inline constexpr std::uint16_t sriov_control_enable = 0x1;
inline constexpr std::uint16_t sriov_enabled_count = 0x10;
inline constexpr std::uint16_t sriov_first_offset = 0x14;
inline constexpr std::uint16_t sriov_stride = 0x16;
}  // namespace regs

/// Where a capability is.
struct capability {
  enum class state : std::uint8_t {
    absent,      ///< The chain ended without it.
    present,     ///< At `offset`.
    unreadable,  ///< The chain leaves what could be read, or the function does not answer.
  };
  state found{state::absent};
  std::uint16_t offset{0};

  friend constexpr bool operator==(const capability&, const capability&) noexcept = default;
};

/// A view of the first bytes of a function's config space. Borrows them.
/// Thread-safety: as a span of const bytes.
class config_space {
 public:
  constexpr explicit config_space(std::span<const std::byte> bytes) noexcept
      : bytes_(bytes.first(bytes.size() < regs::extended_bytes ? bytes.size() : regs::extended_bytes)) {}

  [[nodiscard]] constexpr std::size_t size() const noexcept { return bytes_.size(); }

  /// A little-endian value; nullopt beyond what could be read.
  [[nodiscard]] constexpr std::optional<std::uint8_t> read8(std::size_t offset) const noexcept {
    return read<std::uint8_t>(offset);
  }
  [[nodiscard]] constexpr std::optional<std::uint16_t> read16(std::size_t offset) const noexcept {
    return read<std::uint16_t>(offset);
  }
  [[nodiscard]] constexpr std::optional<std::uint32_t> read32(std::size_t offset) const noexcept {
    return read<std::uint32_t>(offset);
  }

  /// False when nothing was read, or nothing but ones: the function is off, or gone. A virtual function answers, though
  /// its vendor and device read as ones.
  [[nodiscard]] constexpr bool responds() const noexcept {
    const std::size_t header = bytes_.size() < regs::header_bytes ? bytes_.size() : regs::header_bytes;
    for (std::size_t i = 0; i < header; ++i) {
      if (bytes_[i] != std::byte{0xff}) {
        return true;
      }
    }
    return false;
  }

  /// Finds a capability of the first 256 bytes.
  /// A chain that bites its tail ends where the kernel's walk ends: after 48 links.
  /// Kernel: pci_find_capability() (drivers/pci/pci.c).
  [[nodiscard]] constexpr capability find(std::uint8_t id) const noexcept {
    constexpr int longest_chain = 48;
    const auto status = read16(regs::status);
    const auto header = read8(regs::header_type);
    if (!status || !header || !responds()) {
      return {capability::state::unreadable, 0};
    }
    if ((*status & regs::status_capabilities) == 0) {
      return {};
    }
    const bool cardbus = (*header & regs::header_type_mask) == regs::header_cardbus;
    auto next = read8(cardbus ? regs::cardbus_capabilities : regs::capabilities);
    for (int link = 0; link < longest_chain; ++link) {
      if (!next) {
        return {capability::state::unreadable, 0};
      }
      const auto at = static_cast<std::uint16_t>(*next & ~3U);
      if (at < regs::header_bytes) {
        return {};
      }
      const auto found = read8(at);
      if (!found) {
        return {capability::state::unreadable, 0};
      }
      if (*found == id) {
        return {capability::state::present, at};
      }
      if (*found == 0xff) {
        return {};
      }
      next = read8(at + 1U);
    }
    return {};
  }

  /// Finds a capability beyond the first 256 bytes. Only a PCI Express function has such, so none is absent elsewhere.
  /// Kernel: pci_find_ext_capability() (drivers/pci/pci.c).
  [[nodiscard]] constexpr capability find_extended(std::uint16_t id) const noexcept {
    constexpr std::size_t longest_chain = (regs::extended_bytes - regs::conventional_bytes) / 8;
    const capability express = find(regs::capability_express);
    if (express.found != capability::state::present) {
      return {express.found, 0};
    }
    std::size_t at = regs::conventional_bytes;
    for (std::size_t link = 0; link < longest_chain; ++link) {
      const auto header = read32(at);
      if (!header) {
        return {capability::state::unreadable, 0};
      }
      if (*header == 0 || *header == 0xffffffff) {
        return {};
      }
      if ((*header & 0xffff) == id) {
        return {capability::state::present, static_cast<std::uint16_t>(at)};
      }
      at = (*header >> 20) & 0xffc;
      if (at < regs::conventional_bytes) {
        return {};
      }
    }
    return {};
  }

 private:
  template <class Integer>
  [[nodiscard]] constexpr std::optional<Integer> read(std::size_t offset) const noexcept {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(Integer)) {
      return std::nullopt;
    }
    Integer value = 0;
    for (std::size_t i = 0; i < sizeof(Integer); ++i) {
      value = static_cast<Integer>(value | (std::to_integer<std::uint64_t>(bytes_[offset + i]) << (8 * i)));
    }
    return value;
  }

  std::span<const std::byte> bytes_;
};

}  // namespace PADDOCK_NAMESPACE::pci
