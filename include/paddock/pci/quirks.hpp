// SPDX-License-Identifier: BSL-1.0
/// \file
/// What is known of single devices, bridges and platforms beyond the specifications: that reads get through and writes
/// do not, or the other way round, or that a root complex forwards though the kernel has no list entry for it.
/// Data, not code. Tables of your own are arrays like builtin_quirks: at compile time where a static_assert can look at
/// them, or filled at run time.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include <paddock/base/ids.hpp>
#include <paddock/pci/function.hpp>

namespace PADDOCK_NAMESPACE::pci {

/// Reads, writes or both, as the client issues them.
enum class transactions : std::uint8_t { reads = 1, writes = 2, both = 3 };

[[nodiscard]] constexpr bool includes(transactions set, transaction one) noexcept {
  return (static_cast<unsigned>(set) & (one == transaction::read ? 1U : 2U)) != 0;
}

/// One fact about a kind of function.
struct quirk {
  static constexpr std::uint16_t any = 0xffff;

  /// Which function of a route has to match.
  enum class role : std::uint8_t {
    client,
    provider,
    bridge,  ///< Any bridge between them, the common one included.
    /// The first function of a root bus, on routes through the root complex: of either side for `fails`, of both for
    /// `works`.
    host_bridge,
  };
  enum class effect : std::uint8_t {
    fails,  ///< Such transactions do not arrive, or arrive wrong.
    works,  ///< Host bridges forward them for a process, although no list says so. A `fails` that matches wins.
  };

  role who{role::provider};
  std::uint16_t vendor{any};
  std::uint16_t device{any};  ///< `any`: all of the vendor.
  transactions which{transactions::both};
  effect does{effect::fails};
  const char* why{""};  ///< A sentence for people, with where it is known from.

  [[nodiscard]] constexpr bool matches(const function& one) const noexcept {
    return (vendor == any || vendor == one.vendor) && (device == any || device == one.device);
  }
};

/// What has been reported in public with enough detail to name the part.
inline constexpr auto builtin_quirks = std::to_array<quirk>({
    {quirk::role::host_bridge, 0x8086, 0x4c43, transactions::both, quirk::effect::fails,
     "Rocket Lake-S corrupts what its root complex forwards, without an error (intel/compute-runtime issue 935)"},
});

}  // namespace PADDOCK_NAMESPACE::pci
