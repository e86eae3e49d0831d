// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a route policy makes of the routes that a transfer needs: directly, or through system memory, and why.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include <paddock/base/result.hpp>
#include <paddock/pci/route.hpp>
#include <paddock/policy/route.hpp>

namespace PADDOCK_NAMESPACE {

/// Why a transfer goes through system memory.
enum class fallback : std::uint8_t {
  none,           ///< It does not.
  asked_for,      ///< The policy is system_only.
  not_supported,  ///< No transaction of one of the routes gets through.
  unknown,        ///< What would decide about one of the routes could not be read.
  known_fault,    ///< A quirk says that one of the routes loses or damages data.
  no_route,       ///< There are no routes to go by: one of the ends is no PCI function.
};

[[nodiscard]] constexpr const char* name(fallback why) noexcept {
  switch (why) {
    case fallback::none: return "none";
    case fallback::asked_for: return "asked_for";
    case fallback::not_supported: return "not_supported";
    case fallback::unknown: return "unknown";
    case fallback::known_fault: return "known_fault";
    case fallback::no_route: return "no_route";
  }
  return "none";
}

/// Counts choices by their reason. Thread-safety: any thread; the counts are a snapshot each.
class fallback_counts {
 public:
  void count(fallback why) noexcept {
    // order: relaxed: a number, which publishes nothing.
    counts_[static_cast<std::size_t>(why)].fetch_add(1, std::memory_order_relaxed);
  }
  /// How often; of(fallback::none) counts the transfers that went directly.
  [[nodiscard]] std::uint64_t of(fallback why) const noexcept {
    // order: relaxed, as above.
    return counts_[static_cast<std::size_t>(why)].load(std::memory_order_relaxed);
  }
  /// How many did not go directly, for whatever reason: through system memory, or, with p2p_only, not at all.
  [[nodiscard]] std::uint64_t fallbacks() const noexcept {
    std::uint64_t sum = 0;
    for (std::size_t why = 1; why < counts_.size(); ++why) {
      sum += of(static_cast<fallback>(why));
    }
    return sum;
  }

 private:
  std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(fallback::no_route) + 1> counts_{};
};

/// What was chosen.
struct route_choice {
  bool direct{false};
  fallback why{fallback::none};
  const pci::route* decided_by{nullptr};  ///< The route that stood in the way, for pci::describe(); null for none.
};

namespace detail {

[[nodiscard]] inline route_choice judge_routes(std::span<const pci::route> needed) noexcept {
  if (needed.empty()) {
    return {false, fallback::no_route, nullptr};
  }
  for (const pci::route& each : needed) {
    if (!each.is_supported()) {
      const fallback why = each.decided_by() != nullptr              ? fallback::known_fault
                           : each.type() == pci::route_type::unknown ? fallback::unknown
                                                                     : fallback::not_supported;
      return {false, why, &each};
    }
  }
  return {true, fallback::none, nullptr};
}

}  // namespace detail

/// Chooses for a transfer that needs all of `needed`: each client's reads or writes of the provider's memory. Only
/// routes that are certain are taken: an unknown one may lose bytes without a word.
/// Errors: unreachable, for a policy that does not fall back; it is counted too, with its reason.
/// Thread-safety: any. The choice refers to `needed`.
template <route_policy Policy>
[[nodiscard]] result<route_choice> choose_route(std::span<const pci::route> needed, Policy,
                                                fallback_counts& counts) noexcept {
  route_choice choice{false, fallback::asked_for, nullptr};
  if constexpr (Policy::tries_p2p) {
    choice = detail::judge_routes(needed);
  }
  counts.count(choice.why);
  if (!choice.direct && !Policy::falls_back) {
    return fail(errc::unreachable, "choose_route");
  }
  return choice;
}

}  // namespace PADDOCK_NAMESPACE
