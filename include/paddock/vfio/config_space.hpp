// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a write to config space does to a device's storage, decided before it is made.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/vfio/region.hpp>
#include <paddock/vfio/revocation.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// Standard offsets and bits, as PCI names them. Kernel: include/uapi/linux/pci_regs.h.
namespace pci_regs {
inline constexpr std::uint16_t vendor_id = 0x00;
inline constexpr std::uint16_t device_id = 0x02;
inline constexpr std::uint16_t command = 0x04;
inline constexpr std::uint16_t command_memory = 0x2;
inline constexpr std::uint16_t command_bus_master = 0x4;
inline constexpr std::uint16_t status = 0x06;
inline constexpr std::uint16_t status_capabilities = 0x10;
inline constexpr std::uint16_t capabilities = 0x34;
inline constexpr std::uint8_t capability_power = 0x01;
inline constexpr std::uint8_t capability_express = 0x10;
inline constexpr std::uint8_t capability_msix = 0x11;
inline constexpr std::uint8_t capability_advanced_features = 0x13;
inline constexpr std::uint16_t power_control = 4;  ///< From the capability's start, as the rest below.
inline constexpr std::uint16_t power_state_mask = 0x3;
inline constexpr std::uint16_t express_device_control = 8;
inline constexpr std::uint16_t express_function_level_reset = 0x8000;
inline constexpr std::uint16_t advanced_features_control = 4;
inline constexpr std::uint8_t advanced_features_reset = 0x1;
inline constexpr std::uint16_t msix_control = 2;
inline constexpr std::uint16_t msix_table = 4;
}  // namespace pci_regs

namespace detail {

/// What one access to config space carries.
template <class Integer>
concept config_value =
    std::same_as<Integer, std::uint8_t> || std::same_as<Integer, std::uint16_t> || std::same_as<Integer, std::uint32_t>;

/// Config space through the device FD. Reads and writes little-endian values of 1, 2 or 4 bytes.
/// Thread-safety: single accesses only; the device serialises read-modify-write.
class config_space {
 public:
  config_space(borrowed_fd device, const region& info) noexcept
      : fd_(device), file_offset_(info.file_offset), size_(info.size) {}

  template <class Integer>
  [[nodiscard]] result<Integer> read(std::uint16_t offset) const noexcept {
    if (!range_fits(offset, sizeof(Integer), size_)) {
      return fail(errc::out_of_range, "config space");
    }
    std::uint8_t bytes[sizeof(Integer)]{};
    PADDOCK_TRY_VOID(
        paddock::detail::pread_exactly(fd_, bytes, sizeof bytes, file_offset_ + offset, "pread(config space)"));
    Integer value = 0;
    for (std::size_t i = sizeof bytes; i-- > 0;) {
      value = static_cast<Integer>((value << (sizeof(Integer) > 1 ? 8U : 0U)) | bytes[i]);
    }
    return value;
  }

  template <class Integer>
  [[nodiscard]] result<void> write(std::uint16_t offset, Integer value) const noexcept {
    if (!range_fits(offset, sizeof(Integer), size_)) {
      return fail(errc::out_of_range, "config space");
    }
    std::uint8_t bytes[sizeof(Integer)]{};
    for (std::size_t i = 0; i < sizeof bytes; ++i) {
      bytes[i] = static_cast<std::uint8_t>(value >> (8U * i));
    }
    return paddock::detail::pwrite_exactly(fd_, bytes, sizeof bytes, file_offset_ + offset, "pwrite(config space)");
  }

  /// Where a capability of the standard list begins. A damaged list ends the search.
  [[nodiscard]] result<std::optional<std::uint16_t>> find_capability(std::uint8_t id) const noexcept {
    PADDOCK_TRY(const auto status, read<std::uint16_t>(pci_regs::status));
    if ((status & pci_regs::status_capabilities) == 0) {
      return std::nullopt;
    }
    PADDOCK_TRY(auto position, read<std::uint8_t>(pci_regs::capabilities));
    // A list in 256 bytes has at most 48 entries of 4 bytes behind the header.
    for (int budget = 48; budget > 0 && position >= 0x40; --budget) {
      position = static_cast<std::uint8_t>(position & 0xfcU);
      PADDOCK_TRY(const auto found, read<std::uint8_t>(position));
      if (found == id) {
        return std::optional<std::uint16_t>(position);
      }
      PADDOCK_TRY(position, read<std::uint8_t>(static_cast<std::uint16_t>(position + 1)));
    }
    return std::nullopt;
  }

 private:
  borrowed_fd fd_;
  std::uint64_t file_offset_;
  std::uint64_t size_;
};

/// Where the registers are that can take a device's storage away.
struct config_layout {
  std::optional<std::uint16_t> power;
  std::optional<std::uint16_t> express;
  std::optional<std::uint16_t> advanced_features;
};

/// The value that a register of `Integer` at `reg` has after `bytes` are written at `offset` over `old_value`; nothing
/// when the write does not touch it.
template <class Integer>
[[nodiscard]] std::optional<Integer> after_write(std::uint16_t reg, Integer old_value, std::uint16_t offset,
                                                 const std::uint8_t* bytes, std::size_t size) noexcept {
  bool touched = false;
  Integer value = old_value;
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t position = offset + i;
    if (position < reg || position >= reg + sizeof(Integer)) {
      continue;
    }
    touched = true;
    const unsigned shift = static_cast<unsigned>(8U * (position - reg));
    value = static_cast<Integer>((value & ~(Integer{0xff} << shift)) | (static_cast<Integer>(bytes[i]) << shift));
  }
  return touched ? std::optional<Integer>(value) : std::nullopt;
}

/// What a write of these bytes would do to the storage. `old_command` and `old_power` are the registers' values now.
/// Kernel: the triggers of vfio_pci_dma_buf_move (drivers/vfio/pci/vfio_pci_config.c).
[[nodiscard]] inline std::optional<revoke_reason> effect_of_write(const config_layout& layout,
                                                                  std::uint16_t old_command, std::uint16_t old_power,
                                                                  std::uint16_t offset, const std::uint8_t* bytes,
                                                                  std::size_t size) noexcept {
  using namespace pci_regs;
  const auto command_after = after_write<std::uint16_t>(command, old_command, offset, bytes, size);
  if (command_after && (old_command & command_memory) != 0 && (*command_after & command_memory) == 0) {
    return revoke_reason::memory_disabled;
  }
  if (layout.power) {
    const auto reg = static_cast<std::uint16_t>(*layout.power + power_control);
    const auto power_after = after_write<std::uint16_t>(reg, old_power, offset, bytes, size);
    if (power_after && (old_power & power_state_mask) == 0 && (*power_after & power_state_mask) != 0) {
      return revoke_reason::powered_down;
    }
  }
  if (layout.express) {
    const auto reg = static_cast<std::uint16_t>(*layout.express + express_device_control);
    const auto control = after_write<std::uint16_t>(reg, 0, offset, bytes, size);
    if (control && (*control & express_function_level_reset) != 0) {
      return revoke_reason::reset;
    }
  }
  if (layout.advanced_features) {
    const auto reg = static_cast<std::uint16_t>(*layout.advanced_features + advanced_features_control);
    const auto control = after_write<std::uint8_t>(reg, 0, offset, bytes, size);
    if (control && (*control & advanced_features_reset) != 0) {
      return revoke_reason::reset;
    }
  }
  return std::nullopt;
}

}  // namespace detail

}  // namespace PADDOCK_NAMESPACE::vfio
