// SPDX-License-Identifier: BSL-1.0
// What a device is taken to reach, by what the program said of the machine's routes.
#include <paddock/vfio/reach.hpp>

#include <array>

#include "catch.hpp"
#include "machines.hpp"

using namespace paddock;
using namespace paddock::test;

namespace {

using knowledge = vfio::detail::route_knowledge;

constexpr auto both = direction::bidirectional;

segment behind(std::string_view provider, storage_kind kind = storage_kind::device_memory) {
  return {.kind = kind, .length = 4096, .provider = test::at(provider)};
}
fallback why(const knowledge& known, const segment& where, direction dir = both) {
  const route_choice way = known.reach(where, dir);
  CHECK(way.direct == (way.why == fallback::none));
  return way.why;
}

}  // namespace

TEST_CASE("without routes nothing is known of BARs, and system memory is reached") {
  const knowledge known;
  CHECK(why(known, segment{.length = 4096}) == fallback::none);
  CHECK(why(known, behind("07:00.0")) == fallback::unknown);
  CHECK(why(known, behind("07:00.0", storage_kind::registers)) == fallback::unknown);
}

TEST_CASE("routes decide by what they say of a process's DMA") {
  const machine m = two_switches();
  // Trusted by its CPU; unknown; and one function reaches itself.
  const pci::topology trusted = *m.build(pci::cpu_rule::amd_zen);
  const pci::topology untold = *m.build(pci::cpu_rule::none);
  knowledge known;
  REQUIRE(known.use(trusted, test::at("03:00.0"), {}));
  CHECK(why(known, behind("07:00.0")) == fallback::none);
  CHECK(why(known, behind("09:00.0")) == fallback::none);
  REQUIRE(known.use(untold, test::at("03:00.0"), {}));
  CHECK(why(known, behind("07:00.0")) == fallback::unknown);
  CHECK(why(known, behind("03:00.0")) == fallback::none);
  CHECK(why(known, behind("0b:00.0")) == fallback::no_route);
  CHECK(known.use(untold, test::at("0b:00.0"), {}).error() == errc::not_found);
}

TEST_CASE("only the transactions that the direction needs are asked for") {
  const pci::topology tree = *two_switches().build(pci::cpu_rule::amd_zen);
  const std::array reads_fail{pci::quirk{pci::quirk::role::provider, 0x1234, 0x5678, pci::transactions::reads}};
  knowledge known;
  REQUIRE(known.use(tree, test::at("03:00.0"), reads_fail));
  CHECK(why(known, behind("07:00.0"), direction::from_device) == fallback::none);
  CHECK(why(known, behind("07:00.0"), direction::to_device) == fallback::known_fault);
  CHECK(why(known, behind("07:00.0"), both) == fallback::known_fault);
  const std::array writes_fail{pci::quirk{pci::quirk::role::provider, 0x1234, 0x5678, pci::transactions::writes}};
  REQUIRE(known.use(tree, test::at("03:00.0"), writes_fail));
  CHECK(why(known, behind("07:00.0"), direction::from_device) == fallback::known_fault);
  CHECK(why(known, behind("07:00.0"), direction::to_device) == fallback::none);
  CHECK(why(known, behind("07:00.0"), both) == fallback::known_fault);
}

TEST_CASE("trust makes up for what is not known, and for nothing else") {
  const machine m = two_switches();
  const pci::topology untold = *m.build(pci::cpu_rule::none);
  knowledge known;
  known.trust(true);
  CHECK(why(known, behind("07:00.0")) == fallback::none);
  const std::array fails{pci::quirk{}};
  REQUIRE(known.use(untold, test::at("03:00.0"), {}));
  CHECK(why(known, behind("07:00.0")) == fallback::none);
  CHECK(why(known, behind("0b:00.0")) == fallback::none);
  REQUIRE(known.use(untold, test::at("03:00.0"), fails));
  CHECK(why(known, behind("07:00.0")) == fallback::known_fault);
  known.trust(false);
  REQUIRE(known.use(untold, test::at("03:00.0"), {}));
  CHECK(why(known, behind("07:00.0")) == fallback::unknown);
}
