// SPDX-License-Identifier: BSL-1.0
// A disk copied by examples/nvme_copy, peer to peer and through system memory. It needs the drives of the VM lane;
// elsewhere each row says that it is left out.
#include <cstdlib>
#include <optional>

#include "../support/batch.hpp"
#include "job.hpp"

namespace paddock::bench {
namespace {

constexpr std::uint64_t copied_bytes = std::uint64_t{8} << 20;

[[nodiscard]] std::optional<pci::address> drive(const char* variable) {
  const char* const text = std::getenv(variable);
  const result<pci::address> where =
      text != nullptr ? pci::address::parse(text) : result<pci::address>(fail(errc::not_found, variable));
  return where ? std::optional(*where) : std::nullopt;
}

void copy(benchmark::State& state, nvme_copy::through way) {
  const auto source = drive("PADDOCK_DEV_NVME_A");
  const auto target = drive("PADDOCK_DEV_NVME_B");
  if (!source || !target) {
    state.SkipWithError("left out: no two NVMe drives for VFIO here");
    return;
  }
  for ([[maybe_unused]] auto repetition : state) {
    series seen;
    for (int i = 0; i < std::max(1, chosen.batches / 100); ++i) {
      const double unit = time_unit();
      auto space = vfio::container::create();
      if (!space) {
        state.SkipWithError("left out: no VFIO here");
        return;
      }
      nvme_copy::request wanted;
      wanted.source = *source;
      wanted.target = *target;
      wanted.way = way;
      wanted.blocks = copied_bytes / 512;
      nvme_copy::job<nvme::by_interrupt> work(std::move(*space), wanted, {}, {});
      const auto done = work.run();
      if (!done || done->bytes != copied_bytes || done->peer_to_peer != (way == nvme_copy::through::p2p)) {
        state.SkipWithError("the copy should go that way");
        return;
      }
      seen.add(done->seconds * 1e9, unit);
    }
    seen.report(state);
  }
}

const bool registered = [] {
  const std::string row = "nvme_copy: 8 MiB";
  add_row(row, "paddock", [](benchmark::State& state) { copy(state, nvme_copy::through::p2p); });
  add_row(row, "paddock, system memory", [](benchmark::State& state) { copy(state, nvme_copy::through::system); });
  return true;
}();

}  // namespace
}  // namespace paddock::bench
