// SPDX-License-Identifier: BSL-1.0
/// \file
/// The address of a PCI function: domain, bus, device, function. Domains are 32 bits wide (VMD and Hyper-V use that).
#pragma once

#include <charconv>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include <paddock/base/result.hpp>

namespace PADDOCK_NAMESPACE::pci {

/// A function's address, as sysfs spells it: "0000:03:00.0".
struct address {
  std::uint32_t domain{0};
  std::uint8_t bus{0};
  std::uint8_t device{0};    ///< 0 to 31.
  std::uint8_t function{0};  ///< 0 to 7.

  friend constexpr auto operator<=>(const address&, const address&) noexcept = default;

  /// Reads "0000:03:00.0", or "03:00.0" for domain 0. Errors: invalid_argument.
  [[nodiscard]] static result<address> parse(std::string_view text) noexcept;
};

namespace detail {

/// Reads exactly all of `text` as a hexadecimal number of at most `limit`.
inline bool parse_hex(std::string_view text, std::uint32_t limit, std::uint32_t& value) noexcept {
  if (text.empty() || text.size() > 8) {
    return false;
  }
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return error == std::errc{} && end == text.data() + text.size() && value <= limit;
}

}  // namespace detail

inline result<address> address::parse(std::string_view text) noexcept {
  const auto failure = fail(errc::invalid_argument, "PCI address (expected domain:bus:device.function)");
  std::uint32_t domain = 0;
  std::uint32_t bus = 0;
  std::uint32_t device = 0;
  std::uint32_t function = 0;

  const std::size_t dot = text.rfind('.');
  if (dot == std::string_view::npos || !detail::parse_hex(text.substr(dot + 1), 7, function)) {
    return failure;
  }
  const std::size_t device_colon = text.rfind(':', dot);
  if (device_colon == std::string_view::npos ||
      !detail::parse_hex(text.substr(device_colon + 1, dot - device_colon - 1), 31, device)) {
    return failure;
  }
  std::string_view bus_text = text.substr(0, device_colon);
  if (const std::size_t bus_colon = bus_text.find(':'); bus_colon != std::string_view::npos) {
    if (!detail::parse_hex(bus_text.substr(0, bus_colon), 0xffffffffU, domain)) {
      return failure;
    }
    bus_text = bus_text.substr(bus_colon + 1);
  }
  if (!detail::parse_hex(bus_text, 255, bus)) {
    return failure;
  }
  return address{domain, static_cast<std::uint8_t>(bus), static_cast<std::uint8_t>(device),
                 static_cast<std::uint8_t>(function)};
}

/// "0000:03:00.0".
[[nodiscard]] inline std::string to_string(const address& a) {
  return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", a.domain, a.bus, a.device, a.function);
}

}  // namespace PADDOCK_NAMESPACE::pci

template <>
struct fmt::formatter<paddock::pci::address> {
  constexpr auto parse(format_parse_context& context) { return context.begin(); }
  template <class Context>
  auto format(const paddock::pci::address& a, Context& context) const {
    return fmt::format_to(context.out(), "{:04x}:{:02x}:{:02x}.{:x}", a.domain, a.bus, a.device, a.function);
  }
};
