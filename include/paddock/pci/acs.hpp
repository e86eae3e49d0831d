// SPDX-License-Identifier: BSL-1.0
/// \file
/// Access Control Services: whether a port sends what its neighbours say to each other up to the root complex.
#pragma once

#include <cstdint>
#include <string>

#include <paddock/pci/config_space.hpp>

namespace PADDOCK_NAMESPACE::pci {

/// Bits of the ACS capability and control registers. PCI Express Base Specification, "Access Control Services".
namespace acs_bits {
inline constexpr std::uint16_t source_validation = 0x01;
inline constexpr std::uint16_t translation_blocking = 0x02;
inline constexpr std::uint16_t request_redirect = 0x04;
inline constexpr std::uint16_t completion_redirect = 0x08;
inline constexpr std::uint16_t upstream_forwarding = 0x10;
inline constexpr std::uint16_t egress_control = 0x20;
inline constexpr std::uint16_t direct_translated = 0x40;
/// Any of these keeps peers from talking directly, as the kernel sees it. Kernel: pci_bridge_has_acs_redir()
/// (drivers/pci/p2pdma.c).
inline constexpr std::uint16_t redirect = request_redirect | completion_redirect | egress_control;
}  // namespace acs_bits

/// What a function says of ACS.
struct acs_state {
  capability::state found{capability::state::unreadable};
  std::uint16_t supported{0};  ///< The capability register; only when present.
  std::uint16_t enabled{0};    ///< The control register; only when present.

  /// Requests or completions of peers go up to the root complex.
  [[nodiscard]] constexpr bool redirects() const noexcept {
    return found == capability::state::present && (enabled & acs_bits::redirect) != 0;
  }
  [[nodiscard]] constexpr bool is_known() const noexcept { return found != capability::state::unreadable; }

  friend constexpr bool operator==(const acs_state&, const acs_state&) noexcept = default;
};

/// Reads it from config space. A capability whose registers were not read is unreadable.
[[nodiscard]] constexpr acs_state read_acs(const config_space& config) noexcept {
  const capability at = config.find_extended(regs::extended_acs);
  if (at.found != capability::state::present) {
    return {at.found, 0, 0};
  }
  const auto supported = config.read16(std::size_t{at.offset} + regs::acs_capability);
  const auto enabled = config.read16(std::size_t{at.offset} + regs::acs_control);
  if (!supported || !enabled) {
    return {};
  }
  return {capability::state::present, *supported, *enabled};
}

/// The bits that are set, as lspci spells them: "ReqRedir CmpltRedir".
[[nodiscard]] inline std::string acs_names(std::uint16_t bits) {
  struct named {
    std::uint16_t bit;
    const char* name;
  };
  constexpr named all[] = {
      {acs_bits::source_validation, "SrcValid"},      {acs_bits::translation_blocking, "TransBlk"},
      {acs_bits::request_redirect, "ReqRedir"},       {acs_bits::completion_redirect, "CmpltRedir"},
      {acs_bits::upstream_forwarding, "UpstreamFwd"}, {acs_bits::egress_control, "EgressCtrl"},
      {acs_bits::direct_translated, "DirectTrans"}};
  std::string text;
  for (const named& each : all) {
    if ((bits & each.bit) != 0) {
      text += text.empty() ? "" : " ";
      text += each.name;
    }
  }
  return text;
}

}  // namespace PADDOCK_NAMESPACE::pci
