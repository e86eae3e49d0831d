// SPDX-License-Identifier: BSL-1.0
// Two threads with one event: callbacks that come and go, references, and the way from a signal to who spins for it.
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <memory>

#include "../peers/context_peers.hpp"
#include "../peers/eventfd.hpp"
#include "../peers/futex.hpp"
#include "../peers/kernel_steps.hpp"
#include "../peers/kernel_style.hpp"
#include "../peers/mutex_condvar.hpp"
#include "../peers/paddock_fence.hpp"
#include "../peers/standard.hpp"
#include "../support/batch.hpp"
#include "../support/duo.hpp"

namespace paddock::bench {
namespace {

template <class Event>
void add_and_remove(benchmark::State& state) {
  constexpr int pairs = 200;
  on_own_line<Event> event;
  const auto work = [&] {
    typename Event::node node;
    for (int i = 0; i < pairs; ++i) {
      event.it.add(node);
      event.it.remove(node);
    }
  };
  measure_duo(
      state, [] {}, [&](duo& both) { return both.run(work, work) / pairs; });
}

template <class Pointer>
void get_and_put(benchmark::State& state, Pointer made) {
  constexpr int pairs = 400;
  const on_own_line<Pointer> held{std::move(made)};
  const auto work = [&] {
    for (int i = 0; i < pairs; ++i) {
      const Pointer copy(held.it);
      keep(copy.get());
    }
  };
  measure_duo(
      state, [] {}, [&](duo& both) { return both.run(work, work) / pairs; });
}

void two_xadds(benchmark::State& state) {
  constexpr int pairs = 400;
  on_own_line<std::atomic<std::uint32_t>> count{1};
  const auto work = [&] {
    for (int i = 0; i < pairs; ++i) {
      count.it.fetch_add(1, std::memory_order_relaxed);
      keep(count.it.fetch_sub(1, std::memory_order_acq_rel));
    }
  };
  measure_duo(
      state, [] {}, [&](duo& both) { return both.run(work, work) / pairs; });
}

struct counted : boost::intrusive_ref_counter<counted> {};

/// Spins until the event says so; an event that cannot be asked cheaply has no row for it.
template <class Event>
struct spinning : Event {
  void wait() const noexcept {
    while (!this->is_signaled()) {
      detail::spin_pause();
    }
  }
};

/// The floor: a line that is written once, and read until it was.
struct bare_line {
  std::atomic<std::uint32_t> word{0};
  void signal() noexcept { word.store(1, std::memory_order_release); }
  void wait() const noexcept {
    while (word.load(std::memory_order_acquire) == 0) {
      detail::spin_pause();
    }
  }
};

/// From a signal to the other thread's next step, there and back over fresh events.
template <class Event>
void signal_to_wake(benchmark::State& state) {
  constexpr std::size_t exchanges = 16;
  pen<on_own_line<Event>, 2 * exchanges> events;
  measure_duo(
      state, [&] { events.fill(2 * exchanges); },
      [&](duo& both) {
        double here = 0;
        both.run(
            [&] {
              here = time([&] {
                for (std::size_t i = 0; i < exchanges; ++i) {
                  events[2 * i].it.signal();
                  events[2 * i + 1].it.wait();
                }
              });
            },
            [&] {
              for (std::size_t i = 0; i < exchanges; ++i) {
                events[2 * i].it.wait();
                events[2 * i + 1].it.signal();
              }
            });
        return here / (2 * exchanges);
      });
}

const bool registered = [] {
  const std::string crossing = "add and remove, 2 threads";
  add_row(crossing, "paddock", add_and_remove<paddock_fence<>>);
  add_row(crossing, "kernel steps", add_and_remove<kernel_steps<false>>);
  add_row(crossing, "spinlock and list", add_and_remove<kernel_style>);
  add_row(crossing, "std::stop_source", add_and_remove<std_stop_source>);
  add_row(crossing, "mutex and condvar", add_and_remove<mutex_condvar>);

  const std::string references = "get and put, 2 threads";
  add_row(references, "paddock", [](benchmark::State& state) { get_and_put(state, *context().create()); });
  add_row(references, "floor: two xadds", two_xadds);
  add_row(references, "boost::intrusive_ptr",
          [](benchmark::State& state) { get_and_put(state, boost::intrusive_ptr<counted>(new counted)); });
  add_row(references, "std::shared_ptr", [](benchmark::State& state) { get_and_put(state, std::make_shared<int>(1)); });

  const std::string spin = "signal to wake, spinning";
  add_row(spin, "paddock", signal_to_wake<paddock_fence<no_timestamp, spin_wait>>);
  add_row(spin, "floor: one line", signal_to_wake<bare_line>);
  add_row(spin, "std::latch", signal_to_wake<spinning<std_latch>>);
  add_row(spin, "std::atomic", signal_to_wake<spinning<std_atomic>>);
  add_row(spin, "raw futex", signal_to_wake<spinning<raw_futex>>);
  add_row(spin, "kernel steps", signal_to_wake<spinning<kernel_steps<false>>>);

  const std::string hybrid = "signal to wake, wait()";
  add_row(hybrid, "paddock", signal_to_wake<paddock_fence<>>);
  add_row(hybrid, "floor: one line", signal_to_wake<bare_line>);
  add_row(hybrid, "std::atomic", signal_to_wake<std_atomic>);
  add_row(hybrid, "std::latch", signal_to_wake<std_latch>);
  add_row(hybrid, "raw futex", signal_to_wake<raw_futex>);
  add_row(hybrid, "kernel steps", signal_to_wake<kernel_steps<false>>);
  add_row(hybrid, "std::promise", signal_to_wake<std_promise>);
  add_row(hybrid, "mutex and condvar", signal_to_wake<mutex_condvar>);
  add_row(hybrid, "eventfd", signal_to_wake<event_fd>);
  add_context_rows(hybrid, []<class Event>(benchmark::State& state) { signal_to_wake<Event>(state); });
  return true;
}();

}  // namespace
}  // namespace paddock::bench
