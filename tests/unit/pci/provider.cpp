// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/provider.hpp>

#include <array>
#include <vector>

#include "catch.hpp"

namespace paddock::pci {
namespace {

constexpr std::uint64_t enough = 1U << 20;

function port(std::uint8_t bus, std::uint8_t device, port_type type, std::uint8_t secondary, std::uint8_t last) {
  function made;
  made.where = {0, bus, device, 0};
  made.vendor = 0x1000;
  made.class_code = 0x060400;
  made.responds = true;
  made.bridge = true;
  made.secondary = secondary;
  made.subordinate = last;
  made.port = type;
  made.acs.found = capability::state::absent;
  return made;
}

function endpoint(std::uint8_t bus) {
  function made;
  made.where = {0, bus, 0, 0};
  made.vendor = 0x144d;
  made.class_code = 0x010802;
  made.responds = true;
  made.port = port_type::endpoint;
  made.acs.found = capability::state::absent;
  return made;
}

/// 00:00.0 is the host bridge. Below root port 00:01.0 a switch with endpoints 03, 04 and 05; 08 is below root port
/// 00:02.0 alone.
topology machine(cpu_rule cpu = cpu_rule::none, std::uint64_t kernel_memory_on_4 = 0) {
  function host = port(0, 0, port_type::conventional, 0, 0);
  host.bridge = false;
  host.class_code = 0x060000;
  std::vector<function> all{host,
                            port(0, 1, port_type::root_port, 1, 6),
                            port(0, 2, port_type::root_port, 8, 8),
                            port(1, 0, port_type::upstream, 2, 6),
                            port(2, 0, port_type::downstream, 3, 3),
                            port(2, 1, port_type::downstream, 4, 4),
                            port(2, 2, port_type::downstream, 5, 5),
                            endpoint(3),
                            endpoint(4),
                            endpoint(5),
                            endpoint(8)};
  if (kernel_memory_on_4 != 0) {
    all[8].p2pmem = p2pmem_info{kernel_memory_on_4, kernel_memory_on_4, true};
  }
  return *topology::build(std::move(all), {cpu, false});
}

node on_bus(const topology& in, std::uint8_t bus) { return *in.find({0, bus, 0, 0}); }

struct memory_of {
  std::uint8_t bus{0};
  std::uint64_t free{enough};
  bool published{true};
  [[nodiscard]] address provider() const { return {0, bus, 0, 0}; }
  [[nodiscard]] std::uint64_t available() const { return free; }
  [[nodiscard]] bool is_published() const { return published; }
};

}  // namespace

TEST_CASE("the provider with the least sum of distances is found") {
  const topology in = machine();
  const std::array clients{on_bus(in, 3), on_bus(in, 4)};
  const std::array providers{memory_of{5}, memory_of{4}, memory_of{3}};
  const auto found = find_provider(clients, enough, providers);
  REQUIRE(found);
  // 3 and 4 are 4 hops away from each other and 0 from themselves; 5 is 4 from both. 3 has the lower address.
  CHECK(found->where->where.bus == 3);
  CHECK(found->index == 2);
  CHECK(found->distance == 4);
}

TEST_CASE("ties are broken by the lowest address, in whatever order the providers come, or by the caller") {
  const topology in = machine();
  const std::array clients{on_bus(in, 3)};
  for (const auto& providers : {std::array{memory_of{4}, memory_of{5}}, std::array{memory_of{5}, memory_of{4}}}) {
    CHECK(find_provider(clients, enough, providers)->where->where.bus == 4);
    const auto highest = [](const candidate& a, const candidate& b) { return b.where->where < a.where->where; };
    CHECK(find_provider(clients, enough, providers, {}, highest)->where->where.bus == 5);
  }
  const std::array two_of_one{memory_of{4, enough}, memory_of{4, 2 * enough}};
  CHECK(find_provider(clients, enough, two_of_one)->index == 0);
  const auto most = [](const candidate& a, const candidate& b) { return a.available > b.available; };
  CHECK(find_provider(clients, enough, two_of_one, {}, most)->index == 1);
}

TEST_CASE("a nearer provider that is full, not published or not here is passed over") {
  const topology in = machine();
  const std::array clients{on_bus(in, 3)};
  CHECK(find_provider(clients, enough, std::array{memory_of{3, 10}, memory_of{4}})->where->where.bus == 4);
  CHECK(find_provider(clients, enough, std::array{memory_of{3, enough, false}, memory_of{4}})->where->where.bus == 4);
  CHECK(find_provider(clients, enough, std::array{memory_of{77}, memory_of{4}})->where->where.bus == 4);
}

TEST_CASE("a provider that one client does not reach for certain is none") {
  const std::array providers{memory_of{5}};
  {
    const topology in = machine(cpu_rule::none);
    CHECK(find_provider(std::array{on_bus(in, 3), on_bus(in, 8)}, enough, providers).error() == errc::unreachable);
  }
  {
    const topology in = machine(cpu_rule::unknown);
    CHECK(find_provider(std::array{on_bus(in, 3), on_bus(in, 8)}, enough, providers).error() == errc::unreachable);
  }
  const topology in = machine(cpu_rule::amd_zen);
  const auto found = find_provider(std::array{on_bus(in, 3), on_bus(in, 8)}, enough, providers);
  REQUIRE(found);
  CHECK(found->distance == 4 + 6);
}

TEST_CASE("why no provider is found is told") {
  const topology in = machine();
  const topology other = machine();
  const std::array clients{on_bus(in, 3)};
  const std::array<memory_of, 0> none{};
  CHECK(find_provider(clients, enough, none).error() == errc::not_found);
  CHECK(find_provider(clients, enough, std::array{memory_of{4, enough, false}}).error() == errc::not_found);
  CHECK(find_provider(clients, enough, std::array{memory_of{8}}).error() == errc::unreachable);
  CHECK(find_provider(clients, enough, std::array{memory_of{4, 10}}).error() == errc::limit_reached);
  CHECK(find_provider(clients, enough, std::array{memory_of{8}, memory_of{4, 10}}).error() == errc::limit_reached);
  CHECK(find_provider(clients, 0, std::array{memory_of{4}}).error() == errc::invalid_argument);
  CHECK(find_provider({}, enough, std::array{memory_of{4}}).error() == errc::invalid_argument);
  CHECK(find_provider({}, enough).error() == errc::invalid_argument);
  CHECK(find_provider(std::array{on_bus(in, 3), on_bus(other, 4)}, enough, std::array{memory_of{4}}).error() ==
        errc::invalid_argument);
}

TEST_CASE("a provider is judged by what the clients will do") {
  const topology in = machine();
  const std::array clients{on_bus(in, 3)};
  constexpr std::array no_reads{
      quirk{quirk::role::provider, 0x144d, quirk::any, transactions::reads, quirk::effect::fails, "for this test"}};
  const std::array providers{memory_of{4}};
  CHECK(find_provider(clients, enough, providers, {.quirks = no_reads}).error() == errc::unreachable);
  CHECK(find_provider(clients, enough, providers, {.what = transactions::reads, .quirks = no_reads}).error() ==
        errc::unreachable);
  const auto found = find_provider(clients, enough, providers, {.what = transactions::writes, .quirks = no_reads});
  REQUIRE(found);
  CHECK(found->distance == 4);
}

TEST_CASE("what the kernel publishes is a provider") {
  const topology in = machine(cpu_rule::none, enough);
  CHECK(kernel_providers(in).size() == 1);
  const auto found = find_provider(std::array{on_bus(in, 3)}, enough);
  REQUIRE(found);
  CHECK(found->where->where.bus == 4);
  CHECK(find_provider(std::array{on_bus(in, 3)}, 2 * enough).error() == errc::limit_reached);
  const topology without = machine();
  CHECK(find_provider(std::array{on_bus(without, 3)}, enough).error() == errc::not_found);
}

}  // namespace paddock::pci
