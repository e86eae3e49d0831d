// SPDX-License-Identifier: BSL-1.0
#include <paddock/buffer/route_choice.hpp>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "catch.hpp"

namespace paddock {
namespace {

using pci::route;
using pci::route_between;

/// Two functions on a root bus: what lies between them is the host bridge alone.
pci::topology machine(pci::cpu_rule cpu) {
  pci::function host;
  host.vendor = 0x8086;
  host.device = 0x29c0;
  host.class_code = 0x060000;
  host.responds = true;
  host.port = pci::port_type::conventional;
  host.acs.found = pci::capability::state::absent;
  pci::function first = host;
  first.where.device = 1;
  pci::function second = host;
  second.where.device = 2;
  return *pci::topology::build({host, first, second}, {cpu, false});
}

struct routes {
  explicit routes(pci::cpu_rule cpu, std::span<const pci::quirk> quirks = {}) : in(machine(cpu)) {
    const auto from = *in.find({0, 0, 1, 0});
    const auto to = *in.find({0, 0, 2, 0});
    for (const transaction what : {transaction::read, transaction::write}) {
      needed.push_back(*route_between(from, to, what, pci::dma_owner::kernel_dma, quirks));
    }
  }
  pci::topology in;
  std::vector<route> needed;
};

constexpr std::array no_writes{pci::quirk{pci::quirk::role::client, 0x8086, 0x29c0, pci::transactions::writes,
                                          pci::quirk::effect::fails, "for this test"}};

struct ours {
  using axis = route_axis;
  static constexpr bool tries_p2p = true;
  static constexpr bool falls_back = false;
};
struct neither {
  using axis = route_axis;
  static constexpr bool tries_p2p = false;
  static constexpr bool falls_back = false;
};
struct foreign {
  [[maybe_unused]] static constexpr bool tries_p2p = true;
  [[maybe_unused]] static constexpr bool falls_back = true;
};

}  // namespace

TEST_CASE("where all routes are certain, devices talk directly unless the policy forbids it") {
  const routes good(pci::cpu_rule::amd_zen);
  fallback_counts counts;
  CHECK(choose_route(good.needed, prefer_p2p{}, counts)->direct);
  CHECK(choose_route(good.needed, p2p_only{}, counts)->direct);
  CHECK(counts.of(fallback::none) == 2);
  CHECK(counts.fallbacks() == 0);
  const auto system = choose_route(good.needed, system_only{}, counts);
  CHECK_FALSE(system->direct);
  CHECK(system->why == fallback::asked_for);
  CHECK(counts.of(fallback::asked_for) == 1);
}

TEST_CASE("each fallback is counted and says its reason") {
  fallback_counts counts;
  const auto expect = [&](const routes& given, fallback why, const route* decided_by) {
    const std::uint64_t before = counts.of(why);
    const auto choice = choose_route(given.needed, prefer_p2p{}, counts);
    REQUIRE(choice);
    CHECK_FALSE(choice->direct);
    CHECK(choice->why == why);
    CHECK(choice->decided_by == decided_by);
    CHECK(choose_route(given.needed, p2p_only{}, counts).error() == errc::unreachable);
    CHECK(counts.of(why) == before + 2);
  };
  const routes refused(pci::cpu_rule::none);
  expect(refused, fallback::not_supported, refused.needed.data());
  const routes unclear(pci::cpu_rule::unknown);
  expect(unclear, fallback::unknown, unclear.needed.data());
  const routes faulty(pci::cpu_rule::amd_zen, no_writes);
  expect(faulty, fallback::known_fault, &faulty.needed[1]);
  CHECK(counts.fallbacks() == 6);
  CHECK(counts.of(fallback::none) == 0);
}

TEST_CASE("without a route there is only system memory") {
  fallback_counts counts;
  CHECK(choose_route({}, prefer_p2p{}, counts)->why == fallback::no_route);
  CHECK(choose_route({}, p2p_only{}, counts).error() == errc::unreachable);
}

TEST_CASE("a route policy of one's own says what it tries") {
  STATIC_REQUIRE(route_policy<ours>);
  STATIC_REQUIRE_FALSE(route_policy<neither>);
  STATIC_REQUIRE_FALSE(route_policy<foreign>);
  fallback_counts counts;
  CHECK(choose_route(routes(pci::cpu_rule::none).needed, ours{}, counts).error() == errc::unreachable);
}

TEST_CASE("every reason has a name of its own") {
  std::vector<std::string_view> names;
  for (std::uint8_t why = 0; why <= static_cast<std::uint8_t>(fallback::no_route); ++why) {
    names.emplace_back(name(static_cast<fallback>(why)));
  }
  std::sort(names.begin(), names.end());
  CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
}

}  // namespace paddock
