// SPDX-License-Identifier: BSL-1.0
// What the wrappers cost beside the ioctls that they wrap, in instructions. Of these a call spends some ten in the
// program and hundreds to thousands in the kernel, which is what a wrapper's share is measured by: so all of them are
// counted.
#include <string>
#include <type_traits>
#include <vector>

#include "../support/batch.hpp"
#include "../support/instructions.hpp"
#include "pairs_drm.hpp"
#include "pairs_kernel.hpp"
#include "pairs_vfio.hpp"

namespace paddock::bench {
namespace {

/// Medians: an interrupt comes into few of the calls, and the kernel's allocators take a long way now and then.
struct counts {
  double wrapped{0};
  double raw{0};
};

template <class Pair>
[[nodiscard]] counts count_pair() {
  using pairs::must_succeed;
  Pair both;
  std::vector<double> wrapped;
  std::vector<double> raw;
  const auto judge = [](const auto& outcome) { must_succeed(outcome); };
  const auto count_one = [&](bool is_wrapped) {
    both.prepare();
    if (is_wrapped) {
      wrapped.push_back(count_instructions([&] { return both.wrapped(); }, judge) - counter_overhead());
    } else {
      raw.push_back(count_instructions([&] { return both.raw(); }, judge) - counter_overhead());
    }
  };
  for (int turn = 0; turn < 2 * chosen.batches; ++turn) {
    count_one(turn % 2 == 0);
    count_one(turn % 2 != 0);
  }
  return {median(std::move(wrapped)), median(std::move(raw))};
}

/// Of one count that both subjects report: the pages that one run meets are not those of another.
template <class Pair>
void report_pair(benchmark::State& state, bool of_paddock) {
  if (!counts_instructions()) {
    state.SkipWithError("left out: this machine does not count instructions");
    return;
  }
  if (const char* const lacking = Pair::lacking(); lacking != nullptr) {
    state.SkipWithError((std::string("left out: ") + lacking).c_str());
    return;
  }
  static const counts found = count_pair<Pair>();
  for ([[maybe_unused]] auto repetition : state) {
    const double mine = of_paddock ? found.wrapped : found.raw;
    state.SetIterationTime(mine * 1e-9);
    state.counters["instructions"] = mine;
    state.counters["more"] = mine - found.raw;
  }
}

const bool registered = [] {
  const auto add = []<class Pair>(std::type_identity<Pair>, const std::string& name) {
    add_row("ioctl: " + name, "paddock", [](benchmark::State& state) { report_pair<Pair>(state, true); });
    add_row("ioctl: " + name, "raw ioctl", [](benchmark::State& state) { report_pair<Pair>(state, false); });
  };
  pairs::each_kernel_pair(add);
  pairs::each_drm_pair(add);
  pairs::each_vfio_pair(add);
  return true;
}();

}  // namespace
}  // namespace paddock::bench
