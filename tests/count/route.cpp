// SPDX-License-Identifier: BSL-1.0
// What a verdict about a route promises of its cost.
#include <paddock/pci/route.hpp>

#include "catch.hpp"
#include "machines.hpp"
#include "stepper.hpp"

using namespace paddock;
using paddock::test::cost;
using paddock::test::cost_of;
using paddock::test::counted;
using paddock::test::events;
using paddock::test::must;

namespace {

struct asked {
  asked(const char* from, const char* to, pci::dma_owner by) : owner(by) {
    test::machine m = test::two_switches();
    m["02:00.0"].acs(pci::acs_bits::redirect);
    tree.emplace(std::move(*m.build()));
    client = tree->find(test::at(from))->index();
    provider = tree->find(test::at(to))->index();
  }
  std::optional<pci::topology> tree;
  std::size_t client;
  std::size_t provider;
  pci::dma_owner owner;
};

pci::route_type judge(asked& of) {
  const auto found = pci::route_between(of.tree->at(of.client), of.tree->at(of.provider), transaction::read, of.owner);
  return found ? found->type() : pci::route_type::unknown;
}

}  // namespace

TEST_CASE("a verdict about a route is loads and compares, with no allocation, lock or system call") {
  for (const pci::dma_owner owner : {pci::dma_owner::kernel_dma, pci::dma_owner::vfio, pci::dma_owner::vfio_identity}) {
    for (const char* provider : {"03:00.0", "04:00.0", "07:00.0", "09:00.0"}) {
      const cost c = cost_of(provider, [&] {
        asked of("03:00.0", provider, owner);
        static_cast<void>(counted(judge, of));
      });
      CHECK(c.events == events{});
    }
  }
}
