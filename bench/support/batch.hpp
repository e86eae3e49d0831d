// SPDX-License-Identifier: BSL-1.0
/// \file
/// Measurements on one thread. Operations of a few nanoseconds are timed in batches of some hundred; each batch follows
/// a batch of the unit, one uncontended locked read-modify-write, so that a change of the processor's speed changes
/// both. Google Benchmark repeats the measurements, shuffles the repetitions and writes them down; its own loop is not
/// used, because it neither times the unit beside the operation nor leaves the preparation of one-shot objects out.
#pragma once

#include <benchmark/benchmark.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "clock.hpp"
#include "scale.hpp"

namespace paddock::bench {

/// Objects in a batch: those of 64 bytes fit together into the first cache.
inline constexpr std::size_t batch_size = 256;

/// Nanoseconds of one uncontended locked read-modify-write, now.
[[nodiscard]] inline double time_unit() {
  alignas(64) static std::atomic<std::uint64_t> word{0};
  return time([] {
           for (std::size_t i = 0; i < batch_size; ++i) {
             std::uint64_t expected = i & 1U;
             word.compare_exchange_strong(expected, 1 - expected);
           }
         }) /
         static_cast<double>(batch_size);
}

/// The medians of a repetition, as what the report reads.
class series {
 public:
  void add(double ns, double unit_ns) {
    ns_.push_back(ns);
    units_.push_back(ns / unit_ns);
    unit_ns_.push_back(unit_ns);
  }
  void report(benchmark::State& state) const {
    state.SetIterationTime(median(ns_) * 1e-9);
    state.counters["ns"] = median(ns_);
    state.counters["rmw"] = median(units_);
    state.counters["rmw_ns"] = median(unit_ns_);
  }

 private:
  std::vector<double> ns_;
  std::vector<double> units_;
  std::vector<double> unit_ns_;
};

/// Room for one-shot objects, which are made and unmade outside of what is timed.
template <class T, std::size_t Count = batch_size>
class pen {
 public:
  pen() = default;
  pen(const pen&) = delete;
  pen& operator=(const pen&) = delete;
  ~pen() { clear(); }

  template <class... Arguments>
  void fill(std::size_t count, Arguments&... arguments) {
    clear();
    for (; count_ < count; ++count_) {
      new (at(count_)) T(arguments...);
    }
  }
  void clear() noexcept {
    while (count_ > 0) {
      (*this)[--count_].~T();
    }
  }
  [[nodiscard]] T& operator[](std::size_t index) noexcept { return *std::launder(reinterpret_cast<T*>(at(index))); }
  [[nodiscard]] void* at(std::size_t index) noexcept { return &bytes_[index * sizeof(T)]; }

 private:
  alignas(64) std::byte bytes_[Count * sizeof(T)];
  std::size_t count_{0};
};

/// One repetition: `prepare`, not timed, then `run`, which does `operations` of them, again and again.
template <class Prepare, class Run>
void measure(benchmark::State& state, std::size_t operations, Prepare&& prepare, Run&& run) {
  for ([[maybe_unused]] auto repetition : state) {
    series seen;
    prepare();
    run();  // Caches, branch predictors, lazy binding.
    for (int batch = 0; batch < chosen.batches; ++batch) {
      const double unit = time_unit();
      prepare();
      seen.add(time(run) / static_cast<double>(operations), unit);
    }
    seen.report(state);
  }
}

/// Puts a measurement on the list: a row of the report, and whose turn it is in that row.
template <class Function>
void add_row(const std::string& row, const std::string& subject, Function function) {
  benchmark::RegisterBenchmark((row + "/" + subject).c_str(), function)->Iterations(1)->UseManualTime();
}

}  // namespace paddock::bench
