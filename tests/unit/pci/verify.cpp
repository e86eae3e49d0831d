// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/verify.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "catch.hpp"

namespace paddock::pci {
namespace {

/// A client in memory, with the faults that real routes have.
struct engine {
  enum class fault { none, lose, fail, shift, truncate };

  [[nodiscard]] static address where() { return {0, 0, 1, 0}; }
  std::span<std::byte> memory() { return ram; }
  result<void> write_provider() { return copy(ram, device, on_write); }
  result<void> read_provider() { return copy(device, ram, on_read); }
  [[nodiscard]] mmio_span provider() { return {device.data(), device.size()}; }

  static result<void> copy(std::span<const std::byte> from, std::span<std::byte> to, fault what) {
    switch (what) {
      case fault::none: std::copy(from.begin(), from.end(), to.begin()); break;
      case fault::lose: break;
      case fault::fail: return paddock::fail(errc::io, "engine");
      case fault::shift: std::copy(from.begin(), from.end() - 4, to.begin() + 4); break;
      case fault::truncate: std::copy(from.begin(), from.end() - 8, to.begin()); break;
    }
    return {};
  }

  alignas(8) std::array<std::byte, 256> ram{};
  alignas(8) std::array<std::byte, 256> device{};
  fault on_read{fault::none};
  fault on_write{fault::none};
};

using state = arrival::state;

/// A client and a provider on one root bus, below a host bridge that is on no list.
struct machine {
  machine() {
    function host;
    host.vendor = 0x8086;
    host.device = 0x29c0;
    host.class_code = 0x060000;
    host.responds = true;
    host.port = port_type::conventional;
    host.acs.found = capability::state::absent;
    function client = host;
    client.where.device = 1;
    function provider = host;
    provider.where.device = 2;
    in.emplace(*topology::build({host, client, provider}, {cpu_rule::none, false}));
  }
  [[nodiscard]] route way(transaction what, dma_owner owner = dma_owner::vfio,
                          std::span<const quirk> known = {}) const {
    return *route_between(*in->find({0, 0, 1, 0}), *in->find({0, 0, 2, 0}), what, owner, known);
  }
  std::optional<topology> in;
};

result<verification> verify(engine& client) {
  return verify(machine().way(transaction::read), client, client.provider());
}

}  // namespace

TEST_CASE("a route on which every byte arrives is verified in both directions") {
  engine client;
  const auto seen = verify(client);
  REQUIRE(seen);
  CHECK(seen->reads.what == state::arrived);
  CHECK(seen->writes.what == state::arrived);
  CHECK(seen->of(transaction::read).is_good());
}

TEST_CASE("reads and writes are told apart") {
  engine client;
  client.on_read = engine::fault::lose;
  auto seen = *verify(client);
  CHECK(seen.reads.what == state::lost);
  CHECK(seen.writes.what == state::arrived);

  client.on_read = engine::fault::none;
  client.on_write = engine::fault::lose;
  seen = *verify(client);
  CHECK(seen.reads.what == state::arrived);
  CHECK(seen.writes.what == state::lost);
  CHECK_FALSE(seen.of(transaction::write).is_good());
}

TEST_CASE("damage is found where it begins") {
  engine client;
  client.on_read = engine::fault::truncate;
  client.on_write = engine::fault::shift;
  const auto seen = *verify(client);
  CHECK(seen.reads.what == state::damaged);
  CHECK(seen.reads.first_wrong == 248);
  CHECK(seen.writes.what == state::damaged);
  CHECK(seen.writes.first_wrong == 0);
}

TEST_CASE("an engine that fails is part of the answer, and the other direction is tried") {
  engine client;
  client.on_write = engine::fault::fail;
  const auto seen = *verify(client);
  CHECK(seen.writes.what == state::failed);
  CHECK(seen.writes.why == errc::io);
  CHECK(seen.reads.what == state::arrived);
}

TEST_CASE("a verification needs memory on both sides, and the engine of the route's client") {
  const machine m;
  const route way = m.way(transaction::read);
  engine client;
  CHECK(verify(way, client, mmio_span(client.device.data(), 128)).error() == errc::out_of_range);
  CHECK(verify(way, client, mmio_span()).error() == errc::out_of_range);
  struct no_memory : engine {
    static std::span<std::byte> memory() { return {}; }
  } empty;
  CHECK(verify(way, empty, empty.provider()).error() == errc::invalid_argument);
  struct odd : engine {
    std::span<std::byte> memory() { return std::span(ram).first(6); }
  } six;
  CHECK(verify(way, six, six.provider()).error() == errc::invalid_argument);
  struct other : engine {
    [[nodiscard]] static address where() { return {0, 0, 2, 0}; }
  } stranger;
  CHECK(verify(way, stranger, stranger.provider()).error() == errc::invalid_argument);
}

TEST_CASE("what was verified makes a route of a process certain") {
  const machine m;
  engine works;
  works.on_read = engine::fault::lose;
  const auto seen = *verify(works);
  std::vector<quirk> known;
  for (const transaction what : {transaction::read, transaction::write}) {
    const route before = m.way(what);
    CHECK(before.type() == route_type::unknown);
    CHECK(before.what_is_missing() == missing::forwarding);
    CHECK_FALSE(seen.contradicts(before));
    known.push_back(*learned(before, seen, "seen in this test"));
  }
  const route writes = m.way(transaction::write, dma_owner::vfio, known);
  const route reads = m.way(transaction::read, dma_owner::vfio, known);
  CHECK(writes.type() == route_type::thru_host_bridge);
  CHECK(reads.type() == route_type::not_supported);
  CHECK_FALSE(seen.contradicts(writes));
  CHECK_FALSE(seen.contradicts(reads));
  // The kernel goes by its own list, which this machine would not have needed.
  const route kernel = m.way(transaction::write, dma_owner::kernel_dma, known);
  CHECK(kernel.type() == route_type::not_supported);
  CHECK(seen.contradicts(kernel));
}

TEST_CASE("nothing is learned of a part that cannot be told from others") {
  machine m;
  engine works;
  const auto seen = *verify(works);
  REQUIRE(learned(m.way(transaction::read), seen, "w"));
  std::vector<function> functions(m.in->functions().begin(), m.in->functions().end());
  functions[0].vendor = 0xffff;
  m.in.emplace(*topology::build(functions, m.in->facts()));
  CHECK(learned(m.way(transaction::read), seen, "w").error() == errc::not_found);
  for (function& each : functions) {
    each.class_code = 0;  // No root bus any more.
  }
  m.in.emplace(*topology::build(functions, m.in->facts()));
  CHECK(learned(m.way(transaction::read), seen, "w").error() == errc::not_found);
}

}  // namespace paddock::pci
