// SPDX-License-Identifier: BSL-1.0
// Callbacks on one thread: added and run, added and taken back.
#include <algorithm>
#include <array>
#include <numeric>
#include <random>

#include "../peers/kernel_steps.hpp"
#include "../peers/kernel_style.hpp"
#include "../peers/mutex_condvar.hpp"
#include "../peers/paddock_fence.hpp"
#include "../peers/standard.hpp"
#include "../support/batch.hpp"

namespace paddock::bench {
namespace {

/// Each callback's share of adding `Callbacks` to an event, which is then signaled.
template <class Event, std::size_t Callbacks>
void add_and_signal(benchmark::State& state) {
  constexpr std::size_t events_in_batch = batch_size / Callbacks;
  pen<Event> events;
  pen<typename Event::node> nodes;
  std::uint64_t meant = 0;
  const std::uint64_t before = callbacks_run;
  measure(
      state, batch_size,
      [&] {
        nodes.fill(batch_size);
        events.fill(events_in_batch);
      },
      [&] {
        for (std::size_t e = 0; e < events_in_batch; ++e) {
          for (std::size_t n = 0; n < Callbacks; ++n) {
            events[e].add(nodes[e * Callbacks + n]);
          }
          events[e].signal();
        }
        meant += batch_size;
      });
  nodes.clear();
  if (callbacks_run - before != meant) {
    state.SkipWithError("callbacks were lost");
  }
}

/// One node, added and taken back, while so many others are queued before it.
template <class Event, std::size_t Others>
void add_and_remove(benchmark::State& state) {
  Event event;
  pen<typename Event::node, Others + 1> nodes;
  nodes.fill(Others + 1);
  for (std::size_t n = 0; n < Others; ++n) {
    event.add(nodes[n]);
  }
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          event.add(nodes[Others]);
          event.remove(nodes[Others]);
        }
      });
  nodes.clear();
}

enum class order { oldest_first, newest_first, random };

/// 64 nodes are added, and taken back in the given order.
template <class Event, order Order>
void add_64_and_remove(benchmark::State& state) {
  constexpr std::size_t count = 64;
  constexpr std::size_t rounds = batch_size / count;
  Event event;
  pen<typename Event::node, count> nodes;
  nodes.fill(count);
  std::array<std::size_t, count> removed{};
  std::iota(removed.begin(), removed.end(), 0U);
  if constexpr (Order == order::newest_first) {
    std::reverse(removed.begin(), removed.end());
  } else if constexpr (Order == order::random) {
    std::shuffle(removed.begin(), removed.end(), std::mt19937(1));  // NOLINT(cert-msc51-cpp): the same each time.
  }
  measure(
      state, rounds * count, [] {},
      [&] {
        for (std::size_t round = 0; round < rounds; ++round) {
          for (std::size_t n = 0; n < count; ++n) {
            event.add(nodes[n]);
          }
          for (const std::size_t n : removed) {
            event.remove(nodes[n]);
          }
        }
      });
  nodes.clear();
}

template <class Event>
void add_rows(const std::string& subject) {
  add_row("add 1 and signal", subject, add_and_signal<Event, 1>);
  add_row("add 8 and signal, each", subject, add_and_signal<Event, 8>);
  add_row("add 64 and signal, each", subject, add_and_signal<Event, 64>);
  add_row("add and remove, alone", subject, add_and_remove<Event, 0>);
  add_row("add and remove, 64 others", subject, add_and_remove<Event, 64>);
  add_row("add 64, remove oldest first", subject, add_64_and_remove<Event, order::oldest_first>);
  add_row("add 64, remove newest first", subject, add_64_and_remove<Event, order::newest_first>);
  add_row("add 64, remove at random", subject, add_64_and_remove<Event, order::random>);
}

const bool registered = [] {
  add_rows<paddock_fence<>>("paddock");
  add_rows<kernel_steps<false>>("kernel steps");
  add_rows<kernel_style>("spinlock and list");
  add_rows<std_stop_source>("std::stop_source");
  add_rows<mutex_condvar>("mutex and condvar");
  return true;
}();

}  // namespace
}  // namespace paddock::bench
