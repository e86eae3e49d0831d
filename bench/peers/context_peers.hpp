// SPDX-License-Identifier: BSL-1.0
/// \file
/// Peers that are shown where their package is installed, and decide nothing.
#pragma once

#include <benchmark/benchmark.h>

#include <string>

#include "../support/batch.hpp"

#if PADDOCK_BENCH_ABSL
#include "absl_notification.hpp"
#endif
#if PADDOCK_BENCH_NSYNC
#include "nsync.hpp"
#endif

namespace paddock::bench {

/// `function` is a template over the event: []<class Event>(benchmark::State&) {…}.
template <class Function>
void add_context_rows([[maybe_unused]] const std::string& row, [[maybe_unused]] Function function) {
#if PADDOCK_BENCH_ABSL
  add_row(row, "absl::Notification",
          [=](benchmark::State& state) { function.template operator()<absl_notification>(state); });
#endif
#if PADDOCK_BENCH_NSYNC
  add_row(row, "nsync_note", [=](benchmark::State& state) { function.template operator()<nsync_event>(state); });
#endif
}

}  // namespace paddock::bench
