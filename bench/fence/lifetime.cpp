// SPDX-License-Identifier: BSL-1.0
// Making events in place and on the heap, and counting references.
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <cstdlib>
#include <memory>

#include "../peers/context_peers.hpp"
#include "../peers/futex.hpp"
#include "../peers/kernel_steps.hpp"
#include "../peers/kernel_style.hpp"
#include "../peers/mutex_condvar.hpp"
#include "../peers/paddock_fence.hpp"
#include "../peers/standard.hpp"
#include "../support/batch.hpp"

namespace paddock::bench {
namespace {

template <class Event, class... Arguments>
void create_in_place(benchmark::State& state, const Arguments&... arguments) {
  pen<Event> pen;
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          auto* made = new (pen.at(i)) Event(arguments...);
          clobber(made);
          made->~Event();
        }
      });
}

/// `make` gives an owner, which is dropped at once.
template <class Make>
void create_on_heap(benchmark::State& state, Make make) {
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          auto made = make(i);
          clobber(&made);
        }
      });
}

struct bare_64_bytes {
  explicit bare_64_bytes(void* made) noexcept : made_(made) {}
  bare_64_bytes(const bare_64_bytes&) = delete;
  bare_64_bytes& operator=(const bare_64_bytes&) = delete;
  ~bare_64_bytes() { std::free(made_); }

 private:
  void* made_;
};

/// `copy` takes one more reference from `held`; its end gives it back.
template <class Pointer>
void get_and_put(benchmark::State& state, const Pointer& held) {
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          const Pointer copy(held);
          keep(copy.get());
        }
      });
}

void pair_of_xadds(benchmark::State& state) {
  std::atomic<std::uint32_t> count{1};
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          count.fetch_add(1, std::memory_order_relaxed);
          keep(count.fetch_sub(1, std::memory_order_acq_rel));
        }
      });
}

struct counted : boost::intrusive_ref_counter<counted> {};

const bool registered = [] {
  const std::uint64_t number = 1;
  add_row("create in place", "paddock",
          [](benchmark::State& state) { create_in_place<paddock_fence<>>(state, context()); });
  add_row("create in place", "kernel steps",
          [=](benchmark::State& state) { create_in_place<kernel_steps<false>>(state, number, number); });
  add_row("create in place", "spinlock and list",
          [=](benchmark::State& state) { create_in_place<kernel_style>(state, number, number); });
  add_row("create in place", "std::latch", create_in_place<std_latch>);
  add_row("create in place", "raw futex", create_in_place<raw_futex>);
  add_row("create in place", "std::stop_source", create_in_place<std_stop_source>);
  add_row("create in place", "std::promise", create_in_place<std_promise>);
  add_row("create in place", "mutex and condvar", create_in_place<mutex_condvar>);
  add_context_rows("create in place", []<class Event>(benchmark::State& state) { create_in_place<Event>(state); });

  add_row("create on the heap", "paddock", [](benchmark::State& state) {
    create_on_heap(state, [&](std::size_t i) { return context().create(fence_seqno(i)); });
  });
  add_row("create on the heap", "floor: malloc and free of 64 bytes", [](benchmark::State& state) {
    create_on_heap(state, [](std::size_t) { return bare_64_bytes(std::malloc(64)); });
  });
  add_row("create on the heap", "make_shared<std::latch>", [](benchmark::State& state) {
    create_on_heap(state, [](std::size_t) { return std::make_shared<std::latch>(1); });
  });
  add_row("create on the heap", "std::stop_source",
          [](benchmark::State& state) { create_on_heap(state, [](std::size_t) { return std::stop_source(); }); });
  add_row("create on the heap", "std::promise",
          [](benchmark::State& state) { create_on_heap(state, [](std::size_t) { return std::promise<void>(); }); });

  add_row("get and put", "paddock", [](benchmark::State& state) { get_and_put(state, *context().create()); });
  add_row("get and put", "floor: two xadds", pair_of_xadds);
  add_row("get and put", "boost::intrusive_ptr",
          [](benchmark::State& state) { get_and_put(state, boost::intrusive_ptr<counted>(new counted)); });
  add_row("get and put", "std::shared_ptr",
          [](benchmark::State& state) { get_and_put(state, std::make_shared<int>(1)); });
  return true;
}();

}  // namespace
}  // namespace paddock::bench
