// SPDX-License-Identifier: BSL-1.0
// Asking, waiting for what is over already, and signaling what nobody waits for.
#include "../peers/context_peers.hpp"
#include "../peers/eventfd.hpp"
#include "../peers/futex.hpp"
#include "../peers/kernel_steps.hpp"
#include "../peers/kernel_style.hpp"
#include "../peers/mutex_condvar.hpp"
#include "../peers/paddock_fence.hpp"
#include "../peers/standard.hpp"
#include "../support/batch.hpp"

namespace paddock::bench {
namespace {

template <class Event>
void is_signaled(benchmark::State& state) {
  Event event;
  measure(
      state, batch_size, [&] { clobber(&event); },
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          keep(event.is_signaled());
        }
      });
}

template <class Event>
void wait_on_signaled(benchmark::State& state) {
  Event event;
  event.signal();
  measure(
      state, batch_size, [&] { clobber(&event); },
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          event.wait();
        }
      });
}

template <class Event>
void signal_alone(benchmark::State& state) {
  pen<Event> events;
  measure(
      state, batch_size, [&] { events.fill(batch_size); },
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          events[i].signal();
        }
      });
}

/// A load of a hot line, and what a caller does with the answer.
struct bare_load {
  std::atomic<std::uint64_t> word{0};
  [[nodiscard]] bool is_signaled() const noexcept { return (word.load(std::memory_order_acquire) & 1U) != 0; }
  void signal() noexcept { word.store(1, std::memory_order_release); }
  void wait() const noexcept {
    while (!is_signaled()) {
    }
  }
};

struct bare_exchange {
  alignas(64) std::atomic<std::uint64_t> word{0};
  void signal() noexcept {
    std::uint64_t expected = 0;
    word.compare_exchange_strong(expected, 1);
  }
};
struct bare_exchange_and_ticks : bare_exchange {
  void signal() noexcept {
    std::uint64_t expected = 0;
    word.compare_exchange_strong(expected, detail::read_ticks());
  }
};
struct bare_exchange_and_clock : bare_exchange {
  void signal() noexcept {
    std::uint64_t expected = 0;
    word.compare_exchange_strong(expected,
                                 static_cast<std::uint64_t>(monotonic_clock::now().time_since_epoch().count()));
  }
};

const bool registered = [] {
  add_row("is_signaled", "paddock", is_signaled<paddock_fence<>>);
  add_row("is_signaled", "floor: load", is_signaled<bare_load>);
  add_row("is_signaled", "kernel steps", is_signaled<kernel_steps<false>>);
  add_row("is_signaled", "std::latch", is_signaled<std_latch>);
  add_row("is_signaled", "std::atomic", is_signaled<std_atomic>);
  add_row("is_signaled", "raw futex", is_signaled<raw_futex>);
  add_row("is_signaled", "std::stop_source", is_signaled<std_stop_source>);
  add_row("is_signaled", "std::promise", is_signaled<std_promise>);
  add_row("is_signaled", "eventfd", is_signaled<event_fd>);
  add_context_rows("is_signaled", []<class Event>(benchmark::State& state) { is_signaled<Event>(state); });

  add_row("wait on signaled", "paddock", wait_on_signaled<paddock_fence<>>);
  add_row("wait on signaled", "floor: load", wait_on_signaled<bare_load>);
  add_row("wait on signaled", "kernel steps", wait_on_signaled<kernel_steps<false>>);
  add_row("wait on signaled", "std::latch", wait_on_signaled<std_latch>);
  add_row("wait on signaled", "std::atomic", wait_on_signaled<std_atomic>);
  add_row("wait on signaled", "raw futex", wait_on_signaled<raw_futex>);
  add_row("wait on signaled", "std::promise", wait_on_signaled<std_promise>);
  add_row("wait on signaled", "eventfd", wait_on_signaled<event_fd>);
  add_context_rows("wait on signaled", []<class Event>(benchmark::State& state) { wait_on_signaled<Event>(state); });

  add_row("signal", "paddock, no time", signal_alone<paddock_fence<no_timestamp>>);
  add_row("signal", "paddock, given time", signal_alone<paddock_fence<given_timestamp>>);
  add_row("signal", "paddock, TSC", signal_alone<paddock_fence<tsc_timestamp>>);
  add_row("signal", "paddock, clock", signal_alone<paddock_fence<clock_timestamp>>);
  add_row("signal", "floor: exchange", signal_alone<bare_exchange>);
  add_row("signal", "floor: exchange and TSC", signal_alone<bare_exchange_and_ticks>);
  add_row("signal", "floor: exchange and clock", signal_alone<bare_exchange_and_clock>);
  add_row("signal", "kernel steps", signal_alone<kernel_steps<false>>);
  add_row("signal", "kernel steps, clock", signal_alone<kernel_steps<true>>);
  add_row("signal", "spinlock and list", signal_alone<kernel_style>);
  add_row("signal", "std::latch", signal_alone<std_latch>);
  add_row("signal", "std::atomic", signal_alone<std_atomic>);
  add_row("signal", "raw futex", signal_alone<raw_futex>);
  add_row("signal", "std::stop_source", signal_alone<std_stop_source>);
  add_row("signal", "std::promise", signal_alone<std_promise>);
  add_row("signal", "mutex and condvar", signal_alone<mutex_condvar>);
  add_row("signal", "eventfd", signal_alone<event_fd>);
  add_context_rows("signal", []<class Event>(benchmark::State& state) { signal_alone<Event>(state); });
  return true;
}();

}  // namespace
}  // namespace paddock::bench
