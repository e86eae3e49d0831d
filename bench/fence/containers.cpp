// SPDX-License-Identifier: BSL-1.0
// Several fences at once: all of them, any of them, an array of them.
#include <poll.h>

#include <latch>
#include <memory>
#include <paddock/fence/array.hpp>
#include <vector>

#include "../peers/eventfd.hpp"
#include "../peers/futex.hpp"
#include "../peers/kernel_steps.hpp"
#include "../peers/paddock_fence.hpp"
#include "../peers/standard.hpp"
#include "../support/batch.hpp"

namespace paddock::bench {
namespace {

constexpr std::size_t members = 64;
constexpr std::size_t rounds = 16;

[[nodiscard]] std::vector<fence_ptr> pending_fences(std::size_t count) {
  std::vector<fence_ptr> made;
  for (std::size_t i = 0; i < count; ++i) {
    made.push_back(*context().create());
  }
  return made;
}

void wait_all_done(benchmark::State& state) {
  const auto fences = pending_fences(members);
  for (const auto& each : fences) {
    each->signal();
  }
  measure(
      state, rounds, [] {},
      [&] {
        for (std::size_t i = 0; i < rounds; ++i) {
          keep(wait_all(fences, deadline::never()).has_value());
        }
      });
}

/// Each event on a line of its own, reached through a pointer like a fence.
template <class Event>
class heap_events {
 public:
  heap_events() {
    for (std::size_t i = 0; i < members; ++i) {
      events_.push_back(std::make_unique<lonely>());
    }
  }
  struct alignas(64) lonely {
    Event event;
  };
  [[nodiscard]] const std::unique_ptr<lonely>* begin() const noexcept { return events_.data(); }

 private:
  std::vector<std::unique_ptr<lonely>> events_;
};

/// The floor: a load of each, and nothing done with it.
void load_64(benchmark::State& state) {
  const heap_events<std::atomic<std::uint64_t>> words;
  const auto* const first = words.begin();
  measure(
      state, rounds, [] {},
      [&] {
        for (std::size_t i = 0; i < rounds; ++i) {
          for (std::size_t m = 0; m < members; ++m) {
            keep(first[m]->event.load(std::memory_order_acquire));
          }
        }
      });
}

template <class Event>
void wait_one_by_one(benchmark::State& state) {
  const heap_events<Event> events;
  const auto* const first = events.begin();  // In a register, not looked up again after each load.
  for (std::size_t i = 0; i < members; ++i) {
    first[i]->event.signal();
  }
  measure(
      state, rounds, [] {},
      [&] {
        for (std::size_t i = 0; i < rounds; ++i) {
          for (std::size_t m = 0; m < members; ++m) {
            first[m]->event.wait();
          }
        }
      });
}

void wait_any_last(benchmark::State& state) {
  const auto fences = pending_fences(members);
  fences.back()->signal();
  measure(
      state, rounds, [] {},
      [&] {
        for (std::size_t i = 0; i < rounds; ++i) {
          const auto found = wait_any(fences, deadline::never());
          keep(found->index);
        }
      });
}

template <class Event>
void look_one_by_one(benchmark::State& state) {
  const heap_events<Event> events;
  const auto* const first = events.begin();
  first[members - 1]->event.signal();
  measure(
      state, rounds, [] {},
      [&] {
        for (std::size_t i = 0; i < rounds; ++i) {
          std::size_t found = 0;
          while (!first[found]->event.is_signaled()) {
            ++found;
          }
          keep(found);
        }
      });
}

void poll_eventfds(benchmark::State& state) {
  std::vector<pollfd> entries;
  for (std::size_t i = 0; i < members; ++i) {
    entries.push_back({::eventfd(i + 1 == members ? 1 : 0, EFD_CLOEXEC), POLLIN, 0});
  }
  measure(
      state, rounds, [] {},
      [&] {
        for (std::size_t i = 0; i < rounds; ++i) {
          keep(::poll(entries.data(), entries.size(), -1));
        }
      });
  for (const pollfd& entry : entries) {
    ::close(entry.fd);
  }
}

/// Each member's share of an array over it: made of references that are given to it, waited for by a callback,
/// completed by its members, and dropped.
void array_of_64(benchmark::State& state) {
  struct in_place final : fence {
    explicit in_place(const fence_context& made_by) noexcept : fence(made_by, fence_seqno(1)) {}
  };
  pen<in_place, members> fences;
  std::vector<fence_ptr> given(members);
  const std::uint64_t before = callbacks_run;
  std::uint64_t meant = 0;
  measure(
      state, members,
      [&] {
        fences.fill(members, context());
        for (std::size_t i = 0; i < members; ++i) {
          given[i] = fence_ptr::adopt(&fences[i]);
        }
      },
      [&] {
        const fence_ptr array = *fence_array::create_from(given);
        paddock_fence<>::node node;
        array->add_callback(node);
        for (std::size_t i = 0; i < members; ++i) {
          fences[i].signal(no_timestamp{});
        }
        ++meant;
      });
  if (callbacks_run - before != meant) {
    state.SkipWithError("the array did not complete");
  }
}

/// The same by hand: a counter beside the events, and callbacks that count it down.
template <class Event>
void counter_over_64(benchmark::State& state) {
  struct counting : Event::node {
    std::atomic<std::size_t>* left{nullptr};
  };
  pen<Event, members> events;
  pen<counting, members> nodes;
  measure(
      state, members,
      [&] {
        nodes.fill(members);
        events.fill(members);
      },
      [&] {
        std::atomic<std::size_t> left{members};
        for (std::size_t i = 0; i < members; ++i) {
          nodes[i].left = &left;
          nodes[i].run = [](typename Event::node& node) noexcept {
            if (static_cast<counting&>(node).left->fetch_sub(1, std::memory_order_acq_rel) == 1) {
              count_call{}();
            }
          };
          events[i].add(nodes[i]);
        }
        for (std::size_t i = 0; i < members; ++i) {
          events[i].signal();
        }
      });
  nodes.clear();
}

const bool registered = [] {
  const std::string all = "wait for all of 64, done";
  add_row(all, "paddock", wait_all_done);
  add_row(all, "floor: 64 loads", load_64);
  add_row(all, "raw futex", wait_one_by_one<raw_futex>);
  add_row(all, "std::latch", wait_one_by_one<std_latch>);
  add_row(all, "std::atomic", wait_one_by_one<std_atomic>);
  add_row(all, "std::promise", wait_one_by_one<std_promise>);
  add_row(all, "eventfd", wait_one_by_one<event_fd>);

  const std::string any = "wait for any of 64, last ready";
  add_row(any, "paddock", wait_any_last);
  add_row(any, "floor: 64 loads", load_64);
  add_row(any, "std::promise", look_one_by_one<std_promise>);
  add_row(any, "eventfd", poll_eventfds);

  const std::string array = "array of 64, each member";
  add_row(array, "paddock", array_of_64);
  add_row(array, "kernel steps", counter_over_64<kernel_steps<false>>);
  return true;
}();

}  // namespace
}  // namespace paddock::bench
