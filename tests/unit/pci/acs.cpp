// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/acs.hpp>

#include "catch.hpp"
#include "machines.hpp"

using namespace paddock;
using pci::capability;
namespace bits = pci::acs_bits;

TEST_CASE("ACS redirects by any of three bits, and by no other") {
  for (const std::uint16_t redirecting : {bits::request_redirect, bits::completion_redirect, bits::egress_control}) {
    CHECK(read_acs(test::endpoint().acs(redirecting).view()).redirects());
  }
  const auto others = static_cast<std::uint16_t>(~unsigned{bits::redirect});
  CHECK_FALSE(read_acs(test::endpoint().acs(others).view()).redirects());
}

TEST_CASE("what ACS could do is not what it does") {
  const pci::acs_state acs = read_acs(test::endpoint().acs(0, 0x5f).view());
  CHECK(acs == pci::acs_state{capability::state::present, 0x5f, 0});
  CHECK_FALSE(acs.redirects());
}

TEST_CASE("ACS is absent, present or unreadable") {
  CHECK(read_acs(test::endpoint().view()).found == capability::state::absent);
  CHECK(read_acs(test::config().view()).found == capability::state::absent);
  CHECK(read_acs(test::endpoint().acs(0).first(256).view()).found == capability::state::unreadable);
  CHECK(read_acs(test::all_ones().view()).found == capability::state::unreadable);
  CHECK_FALSE(read_acs(test::all_ones().view()).is_known());
}

TEST_CASE("an ACS capability whose registers were not read is unreadable") {
  CHECK_FALSE(read_acs(test::endpoint().acs(bits::redirect).first(0x104).view()).is_known());
  CHECK_FALSE(read_acs(test::endpoint().acs(bits::redirect).first(0x107).view()).is_known());
  CHECK(read_acs(test::endpoint().acs(bits::redirect).first(0x108).view()).redirects());
}

TEST_CASE("ACS bits are spelled as lspci spells them") {
  CHECK(pci::acs_names(0).empty());
  CHECK(pci::acs_names(bits::request_redirect) == "ReqRedir");
  CHECK(pci::acs_names(0x7f) == "SrcValid TransBlk ReqRedir CmpltRedir UpstreamFwd EgressCtrl DirectTrans");
}
