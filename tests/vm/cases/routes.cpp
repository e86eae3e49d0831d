// SPDX-License-Identifier: BSL-1.0
// The kernel is the judge of routes: for every ordered pair of NVMe drives, one drive's own transfer to and from the
// other one's memory, done by the kernel's driver, against what route_between() says of the live system.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <paddock/kernel/p2pmem.hpp>
#include <paddock/pci/capture.hpp>
#include <paddock/pci/describe.hpp>
#include <paddock/pci/read_libpci.hpp>

#include "drives.hpp"
#include "guest.hpp"
#include "kernel_judge.hpp"

namespace paddock {

namespace {

using test::drive;
using test::kernel_judge;
using test::unwrap;

constexpr std::size_t bytes = 16384;

struct player {
  std::string role;
  pci::node where;
  drive disk;
};

/// All devices of the topology that have a role, which are drives here.
std::vector<player> players(const pci::topology& system) {
  std::vector<player> found;
  const std::string prefix = "PADDOCK_DEV_";
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string variable = *each;
    const auto equals = variable.find('=');
    if (variable.rfind(prefix, 0) == 0) {
      const pci::node where = unwrap(system.find(*pci::address::parse(variable.substr(equals + 1))));
      found.push_back({variable.substr(prefix.size(), equals - prefix.size()), where, drive(where->where)});
    }
  }
  std::sort(found.begin(), found.end(), [](const player& a, const player& b) { return a.role < b.role; });
  return found;
}

struct transfer {
  int sys_errno;
  bool intact;  ///< What arrived is what was sent; when nothing may arrive, what was there still is.
};

/// The client's drive writes what its namespace holds into the provider's memory.
transfer write_to_peer(const drive& client, const kernel::p2pmem& memory, std::uint64_t seed) {
  client.put(seed, bytes);
  test::fill(memory.mmio(), seed + 1);
  const int sys_errno = client.read(memory.address(), bytes);
  return {sys_errno, test::holds(memory.mmio(), sys_errno == 0 ? seed : seed + 1)};
}

/// The client's drive reads the provider's memory into its namespace.
transfer read_from_peer(const drive& client, const kernel::p2pmem& memory, std::uint64_t seed) {
  client.put(seed, bytes);
  test::fill(memory.mmio(), seed + 1);
  const int sys_errno = client.write(memory.address(), bytes);
  return {sys_errno, client.has(sys_errno == 0 ? seed + 1 : seed, bytes)};
}

/// QEMU does not do what the kernel says behind an IOMMU: a bus address is translated as if it were an IOVA.
bool bytes_arrive(const pci::route& way) {
  return way.type() != pci::route_type::bus_addr || way.client()->domain != pci::iommu_domain::translated;
}

bool says(const std::vector<std::string>& log, const std::string& part) {
  return std::any_of(log.begin(), log.end(), [&](const std::string& line) { return line.find(part) != line.npos; });
}

/// The kernel logs why, once a pair: what it would take to open the way, and that it refuses.
void compare_log(const pci::route& way, const std::vector<std::string>& log) {
  const std::string provider = to_string(way.provider()->where);
  CHECK(says(log, fmt::format("ACS redirect is set between the client and provider ({})", provider)) ==
        way.is_redirected());
  CHECK(says(log, fmt::format("cannot be used for peer-to-peer DMA as the client and provider ({})", provider)) ==
        !way.is_supported());
  const std::string advice = "add the kernel parameter: ";
  std::string parameter;
  for (const std::string& line : log) {
    if (const auto at = line.find(advice); at != std::string::npos) {
      parameter = line.substr(at + advice.size());
    }
  }
  CHECK(way.boot_parameter() == parameter);
  std::string redirecting;
  way.for_each_redirect([&](const pci::node& port) {
    redirecting += (redirecting.empty() ? "pci=disable_acs_redir=" : ";") + to_string(port->where);
  });
  CHECK(redirecting == parameter);
}

std::string words(const transfer& done) { return done.sys_errno == 0 ? "works" : ::strerrorname_np(done.sys_errno); }

}  // namespace

TEST_CASE("routes: the kernel says what route_between() says, for every pair of drives") {
  const char* const topology = std::getenv("PADDOCK_VM_TOPOLOGY");
  const char* const expected = std::getenv("PADDOCK_ROUTES");
  if (topology == nullptr || expected == nullptr) {
    test::skip("not in a machine of tests/vm/topologies");
  }
  const pci::topology system = unwrap(pci::read_system());
  // What is captured answers as the machine did, without the machine.
  const auto folder = std::filesystem::path(std::getenv("PADDOCK_VM_RESULTS")) / "machine";
  unwrap(pci::capture(folder));
  const pci::topology captured = unwrap(pci::read_system(folder));
  const auto drives = players(system);
  REQUIRE(drives.size() > 1);
  const kernel_judge judge;
  std::set<std::string> seen;
  std::uint64_t seed = 1;

  fmt::print("{}: {} functions, CPU rule {}\n", topology, system.size(), name(system.facts().cpu));
  for (const player& provider : drives) {
    for (const player& client : drives) {
      const auto written = unwrap(pci::route_between(client.where, provider.where, transaction::write));
      const auto read = unwrap(pci::route_between(client.where, provider.where, transaction::read));
      const auto again = unwrap(pci::route_between(unwrap(captured.find(client.where->where)),
                                                   unwrap(captured.find(provider.where->where)), transaction::write));
      INFO(describe(written));
      CHECK(describe(again) == describe(written));
      const kernel::p2pmem memory = unwrap(kernel::p2pmem::allocate(provider.where->where, bytes));
      judge.begin();
      const transfer to = write_to_peer(client.disk, memory, seed += 2);
      const transfer from = read_from_peer(client.disk, memory, seed += 2);
      const auto answers = judge.answers();
      const auto log = judge.log(client.where->where);
      REQUIRE(answers.size() == 1);
      const test::kernel_answer kernel = answers.front();

      fmt::print("  {} -> {}: {}, {} hops; kernel: {}, {} hops; writes: {}{}, reads: {}{}{}\n", client.role,
                 provider.role, name(written.type()), written.distance().value_or(0), name(kernel.type),
                 kernel.distance, words(to), to.intact ? "" : " (bytes lost)", words(from),
                 from.intact ? "" : " (bytes lost)",
                 written.boot_parameter().empty() ? "" : "; " + written.boot_parameter());
      INFO("the kernel's log: " << fmt::format("{}", fmt::join(log, "\n")));
      for (const auto& [way, done] : {std::pair(written, to), std::pair(read, from)}) {
        CHECK(way.type() != pci::route_type::unknown);
        CHECK(way.type() == kernel.type);
        CHECK(way.distance() == kernel.distance);
        CHECK(way.is_supported() == (done.sys_errno == 0));
        CHECK((done.sys_errno == 0 || done.sys_errno == EINVAL));
        if (bytes_arrive(way)) {
          CHECK(done.intact);
        }
        compare_log(way, log);
        seen.insert(name(way.type()));
      }
    }
  }
  // The topology says which verdicts it is there for.
  CHECK(fmt::format("{}", fmt::join(seen, " ")) == expected);
}

}  // namespace paddock
