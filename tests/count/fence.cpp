// SPDX-License-Identifier: BSL-1.0
// What the fence room promises of its costs. One locked read-modify-write is the unit: it costs more than all else that
// an uncontended operation does, and all kinds of them cost the same.
#include <paddock/fence/fence.hpp>

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <deque>
#include <new>
#include <string>
#include <thread>

#include <paddock/fence/context.hpp>
#include <paddock/fence/wait.hpp>

#include "catch.hpp"
#include "stepper.hpp"

using namespace paddock;
using namespace std::chrono_literals;
using paddock::test::cost;
using paddock::test::cost_of;
using paddock::test::counted;
using paddock::test::events;
using paddock::test::must;

static_assert(sizeof(fence) <= 64);
static_assert(sizeof(fence_callback) <= 32);

namespace {

const fence_context queue("count", 1s);

struct job : fence {
  job() noexcept : fence(queue, fence_seqno(1)) {}
};

struct silent_callback : fence_callback {
  silent_callback() noexcept : fence_callback([](fence_callback&, const fence_outcome&) noexcept {}) {}
};

/// A pending fence with callbacks, oldest first, and one that is not queued.
struct crowd {
  explicit crowd(std::size_t size) : others(size) {
    for (silent_callback& each : others) {
      must(f.add_callback(each) == add_outcome::added);
    }
  }
  job f;
  std::deque<silent_callback> others;
  silent_callback one;
};

/// The syscalls of CLOCK_MONOTONIC here: none, where the vDSO can read the clock.
cost clock_cost() {
  return cost_of("the clock alone", [] {
    monotonic_clock::time_point now;
    counted([](monotonic_clock::time_point& t) { t = monotonic_clock::now(); }, now);
  });
}

/// `operation` signals a fence that nobody waits for.
cost signal_cost(const char* name, bool (*operation)(job&)) {
  return cost_of(name, [operation] {
    job f;
    must(counted(operation, f));
  });
}

/// A signal of a fence with so many callbacks.
cost signal_crowd_cost(std::size_t size) {
  return cost_of(("signal, callbacks: " + std::to_string(size)).c_str(), [size] {
    crowd c(size);
    must(counted([](job& j) { return j.signal(no_timestamp{}); }, c.f));
  });
}

}  // namespace

// --- create, look, wait
// -----------------------------------------------------------------------------------------------

TEST_CASE("a fence is created in place without a locked instruction") {
  alignas(job) static std::byte room[sizeof(job)];
  const cost create = cost_of("create in place", [] { counted([](std::byte& at) { new (&at) job; }, room[0]); });
  CHECK(create.events == events{});
}

TEST_CASE("a fence on the heap costs one allocation and no locked instruction") {
  const cost both = cost_of("create on the heap and put", [] {
    char unused = 0;
    must(counted([](char&) { return queue.create(fence_seqno(1)).has_value(); }, unused));
  });
  CHECK(both.events == events{.allocations = 1, .frees = 1});
}

TEST_CASE("is_signaled is a load") {
  const cost load = cost_of("a load and a test", [] {
    std::atomic<std::uint64_t> word{0};
    must(!counted([](std::atomic<std::uint64_t>& w) { return (w.load(std::memory_order_acquire) & 1U) != 0; }, word));
  });
  const auto look = [](job& f) { return f.is_signaled(); };
  const cost pending = cost_of("is_signaled, pending", [look] {
    job f;
    must(!counted(look, f));
  });
  const cost complete = cost_of("is_signaled, complete", [look] {
    job f;
    f.signal();
    must(counted(look, f));
  });
  CHECK(pending.events == events{});
  CHECK(complete.events == events{});
  CHECK(pending.instructions <= load.instructions);
  CHECK(pending.instructions <= 3);
  CHECK(complete.instructions == pending.instructions);
}

namespace {

template <class Policy>
void check_wait_for_complete_fence(const char* name) {
  // Counted is all from the call of wait() to knowing how the fence ended.
  const cost c = cost_of(name, [] {
    job f;
    f.signal();
    must(counted([](job& j) { return wait(j, deadline::never(), Policy{}) == wait_status::signaled; }, f));
  });
  CHECK(c.events == events{});
  CHECK(c.instructions <= 12);
}

}  // namespace

TEST_CASE("a wait for a complete fence is a few loads, whatever the policy") {
  check_wait_for_complete_fence<hybrid_wait>("wait, complete, hybrid");
  check_wait_for_complete_fence<spin_wait>("wait, complete, spin");
  check_wait_for_complete_fence<futex_wait>("wait, complete, futex");
  check_wait_for_complete_fence<eventfd_wait>("wait, complete, eventfd");
  check_wait_for_complete_fence<polling_wait>("wait, complete, polling");
}

// --- signal
// -----------------------------------------------------------------------------------------------------------

TEST_CASE("a signal is one locked instruction and no syscall, whatever the timestamp") {
  CHECK(signal_cost("signal, no time", [](job& f) { return f.signal(no_timestamp{}); }).events == events{.locked = 1});
  CHECK(signal_cost("signal, given time", [](job& f) {
          return f.signal(given_timestamp(monotonic_clock::time_point(5s)));
        }).events == events{.locked = 1});
  CHECK(signal_cost("signal, TSC", [](job& f) { return f.signal(tsc_timestamp{}); }).events == events{.locked = 1});
  CHECK(signal_cost("fail, no time", [](job& f) { return f.fail(EIO, no_timestamp{}); }).events == events{.locked = 1});

  // The clock's own instructions, and its syscall where the vDSO cannot read it, are not ours.
  events clock = clock_cost().events;
  clock.locked += 1;
  CHECK(signal_cost("signal, clock", [](job& f) { return f.signal(); }).events == clock);
}

TEST_CASE("a signal that comes too late is no locked instruction") {
  const cost late = cost_of("signal, too late", [] {
    job f;
    f.signal();
    must(!counted([](job& j) { return j.signal(no_timestamp{}); }, f));
  });
  CHECK(late.events == events{});
}

TEST_CASE("a signal is one locked instruction, however many callbacks it runs") {
  const cost one = signal_crowd_cost(1);
  const cost some = signal_crowd_cost(8);
  const cost many = signal_crowd_cost(64);
  CHECK(one.events == events{.locked = 1});
  CHECK(some.events == events{.locked = 1});
  CHECK(many.events == events{.locked = 1});
  CHECK((many.instructions - some.instructions) / 56 <= 40);
}

// --- callbacks
// --------------------------------------------------------------------------------------------------------

TEST_CASE("adding a callback is one locked instruction, however many there are") {
  const auto add_cost = [](std::size_t others) {
    return cost_of(("add, others: " + std::to_string(others)).c_str(), [others] {
      crowd c(others);
      must(counted([](crowd& to) { return to.f.add_callback(to.one); }, c) == add_outcome::added);
    });
  };
  const cost first = add_cost(0);
  const cost later = add_cost(64);
  CHECK(first.events == events{.locked = 1});
  CHECK(later.events == events{.locked = 1});
  CHECK(later.instructions == first.instructions);
}

TEST_CASE("adding and removing a callback is two locked instructions alone, three among others") {
  const auto removed_is = [](const char* name, std::size_t others, remove_outcome (*operation)(crowd&)) {
    return cost_of(name, [others, operation] {
      crowd c(others);
      must(counted(operation, c) == remove_outcome::removed);
    });
  };
  const auto add_and_remove_it = [](crowd& c) {
    c.f.add_callback(c.one);
    return c.f.remove_callback(c.one);
  };
  CHECK(removed_is("add, remove, alone", 0, add_and_remove_it).events == events{.locked = 2});
  CHECK(removed_is("add, remove, newest of 9", 8, add_and_remove_it).events == events{.locked = 3});
  CHECK(removed_is("add, remove the oldest of 9", 8, [](crowd& c) {
          c.f.add_callback(c.one);
          return c.f.remove_callback(c.others.front());
        }).events == events{.locked = 3});
  CHECK(removed_is("add, remove the middle of 9", 8, [](crowd& c) {
          c.f.add_callback(c.one);
          return c.f.remove_callback(c.others[4]);
        }).events == events{.locked = 3});
}

TEST_CASE("removing a callback costs the same among 64 and among 512") {
  const auto check_flat = [](const char* name, void (*remove_all)(crowd&)) {
    const auto each = [&](std::size_t size) {
      const cost all = cost_of((name + std::to_string(size)).c_str(), [size, remove_all] {
        crowd c(size);
        counted(remove_all, c);
      });
      // Two each, but for the last one, which is alone.
      CHECK(all.events == events{.locked = 2 * size - 1});
      return static_cast<double>(all.instructions) / static_cast<double>(size);
    };
    const double few = each(64);
    const double many = each(512);
    CHECK(many <= 1.05 * few);
  };
  check_flat("remove, oldest first, all of ", [](crowd& c) {
    for (auto each = c.others.begin(); each != c.others.end(); ++each) {
      c.f.remove_callback(*each);
    }
  });
  check_flat("remove, newest first, all of ", [](crowd& c) {
    for (auto each = c.others.rbegin(); each != c.others.rend(); ++each) {
      c.f.remove_callback(*each);
    }
  });
}

// --- waiters
// ----------------------------------------------------------------------------------------------------------

namespace {

/// Whether a thread of this process is in futex(2) on an address inside the object.
template <class Object>
bool sleeps_on(pid_t thread, const Object& object) {
  std::FILE* file = std::fopen(("/proc/self/task/" + std::to_string(thread) + "/syscall").c_str(), "r");
  must(file != nullptr);
  long number = -1;
  unsigned long word = 0;
  const bool in_syscall = std::fscanf(file, "%ld %lx", &number, &word) == 2;  // Else it says "running".
  std::fclose(file);
  const auto begin = reinterpret_cast<std::uintptr_t>(&object);
  return in_syscall && number == SYS_futex && word >= begin && word < begin + sizeof object;
}

/// Signals with threads that sleep on the fence.
cost signal_sleepers_cost(const char* name, std::size_t sleepers) {
  return cost_of(name, [sleepers] {
    job f;
    std::deque<std::thread> threads;
    for (std::size_t i = 0; i < sleepers; ++i) {
      std::atomic<pid_t> id{0};
      threads.emplace_back([&f, &id] {
        id = ::gettid();
        must(wait(f, deadline::never(), futex_wait{}) == wait_status::signaled);
      });
      while (id == 0 || !sleeps_on(id, f)) {
        std::this_thread::sleep_for(1ms);
      }
    }
    must(counted([](job& j) { return j.signal(no_timestamp{}); }, f));
    for (std::thread& each : threads) {
      each.join();
    }
  });
}

}  // namespace

TEST_CASE("threads that sleep cost the signaler one syscall, however many") {
  CHECK(signal_sleepers_cost("signal, one sleeper", 1).events == events{.locked = 1, .syscalls = {SYS_futex}});
  CHECK(signal_sleepers_cost("signal, four sleepers", 4).events == events{.locked = 1, .syscalls = {SYS_futex}});
}

TEST_CASE("a thread that spins costs the signaler nothing") {
  const cost c = cost_of("signal, a spinner", [] {
    job f;
    std::atomic<bool> waits{false};
    std::thread spinner([&] {
      waits = true;
      must(wait(f, deadline::never(), spin_wait{}) == wait_status::signaled);
    });
    while (!waits) {
      std::this_thread::yield();
    }
    must(counted([](job& j) { return j.signal(no_timestamp{}); }, f));
    spinner.join();
  });
  CHECK(c.events == events{.locked = 1});
}

// --- references
// -------------------------------------------------------------------------------------------------------

TEST_CASE("a reference costs one locked instruction, the last one none to drop") {
  const cost get = cost_of("get", [] {
    job f;
    counted([](job& j) { j.get(); }, f);
  });
  CHECK(get.events == events{.locked = 1});
  const cost put = cost_of("put, not the last", [] {
    job f;
    f.get();
    counted([](job& j) { j.put(); }, f);
  });
  CHECK(put.events == events{.locked = 1});
  const cost last = cost_of("put, the last of a complete fence", [] {
    fence_ptr f = *queue.create(fence_seqno(1));
    f->signal();
    counted([](fence_ptr& p) { p.reset(); }, f);
  });
  CHECK(last.events == events{.frees = 1});
}
