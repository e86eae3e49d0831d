// SPDX-License-Identifier: BSL-1.0
// Two devices and a user-memory buffer: device A fills a shared buffer (fence A); device B reads it and user memory
// (fence B, which waits for A); the memory monitor waits for B before it gives pages back. Nothing of it can wait for
// itself as long as no path to a signal needs the monitor, memory, or a lock under which somebody waits.
#include <thread>

#include <paddock/fence/context.hpp>
#include <paddock/fence/wait.hpp>
#include <paddock/resv/reservation.hpp>

#include "fences.hpp"
#include "violations.hpp"

using namespace paddock;
using namespace paddock::test;

namespace {

/// Completes B's job when A's is done.
struct completes_b : fence_callback {
  explicit completes_b(fence_ptr job) : fence_callback(&run), b(std::move(job)) {}
  completes_b(const completes_b&) = delete;
  completes_b& operator=(const completes_b&) = delete;
  ~completes_b() { retire(); }
  static void run(fence_callback& node, const fence_outcome&) noexcept { static_cast<completes_b&>(node).b->signal(); }
  fence_ptr b;
};

/// The whole of it; `on_the_way` is what A's interrupt thread does before it signals.
template <class OnTheWay>
void run_devices(OnTheWay on_the_way) {
  fence_context queue_a("A", std::chrono::seconds(1));
  fence_context queue_b("B", std::chrono::seconds(1));
  reservation shared;

  const fence_ptr a = *queue_a.create();
  {
    const auto lock = shared.lock();
    REQUIRE(shared.reserve(*lock, 1));
    REQUIRE(shared.commit(*lock, a, access::write));
  }
  const fence_ptr b = *queue_b.create();
  completes_b next(b);
  {
    const auto lock = shared.lock();
    const auto filled = shared.dependencies(access::read);
    REQUIRE(filled);
    REQUIRE(shared.reserve(*lock, 1));
    REQUIRE(shared.commit(*lock, b, access::read));
    REQUIRE((*filled)->add_callback(next) == add_outcome::added);
  }

  std::thread monitor([&] {
    const monitor_section pages_go;
    CHECK(wait(*b, long_enough()) == wait_status::signaled);
  });
  std::thread interrupt_of_a([&] {
    const signaling_section signaling;
    on_the_way(queue_a, shared);
    a->signal();
  });
  interrupt_of_a.join();
  monitor.join();
  CHECK(shared.wait(usage::bookkeep, long_enough()) == wait_status::signaled);
}

rule only_rule() {
  const auto all = violations::take();
  REQUIRE(all.size() == 1);
  CHECK(std::string(all[0].first.file).find("scenario.cpp") != std::string::npos);
  CHECK(std::string(all[0].second.file).find("scenario.cpp") != std::string::npos);
  return all[0].broken;
}

}  // namespace

TEST_CASE("two devices and a user-memory buffer break no rule") {
  const violations found;
  run_devices([](fence_context&, reservation&) {});
  CHECK(found.take().empty());
}

TEST_CASE("a monitor that the signaling device borrows is found") {
  const violations found;
  run_devices([](fence_context&, reservation&) { const monitor_section borrowed; });
  CHECK(only_rule() == rule::monitor_while_signaling);
}

TEST_CASE("an allocation before the signal is found") {
  const violations found;
  run_devices([](fence_context& queue, reservation&) { CHECK(queue.create()); });
  CHECK(only_rule() == rule::allocate_while_signaling);
}

TEST_CASE("a lock in the signaling path is found") {
  const violations found;
  run_devices([](fence_context&, reservation& shared) { CHECK(shared.lock()); });
  CHECK(only_rule() == rule::lock_while_signaling);
}
