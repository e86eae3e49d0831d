// SPDX-License-Identifier: BSL-1.0
// Watched memory among devices: who waits for jobs before pages go must not be needed by what signals those jobs.
#include <paddock/buffer/memory_monitor.hpp>

#include <thread>
#include <utility>

#include <paddock/kernel/userfault.hpp>

#include "memory_watches.hpp"
#include "violations.hpp"

using namespace paddock;
using namespace paddock::test;

namespace {

/// A page of a device's, watched for real.
template <class Unmap>
struct watched_page {
  explicit watched_page(Unmap unmap) : watch(begin(std::move(unmap))) {}

  memory_watch begin(Unmap unmap) {
    auto opened = kernel::userfault::open();
    if (!opened) {
      skip("userfaultfd cannot be used here");
    }
    auto made = memory_monitor<kernel::userfault>::create(*opened);
    REQUIRE(made);
    monitor.emplace(std::move(*made));
    auto watching = monitor->watch(memory.all(), fences, std::move(unmap), [](const memory_report&) noexcept {});
    REQUIRE(watching);
    return std::move(*watching);
  }

  const pages memory{1};
  reservation fences;
  std::optional<memory_monitor<kernel::userfault>> monitor;
  memory_watch watch;
};

constexpr auto nothing = []() noexcept {};

/// At least one, and all of that rule.
void check_only(rule broken) {
  const auto found = violations::take();
  CHECK_FALSE(found.empty());
  for (const found_violation& each : found) {
    INFO(each.text);
    CHECK(each.broken == broken);
  }
}

}  // namespace

TEST_CASE("jobs, madvise and a release of watched memory break no rule") {
  const violations found;
  watched_page page(nothing);
  watched_page other(nothing);
  const fence_ptr job = make_fence();
  REQUIRE(start_job(page.watch, page.fences, job));
  std::thread device([&] {
    const signaling_section on_the_way;
    CHECK(other.watch.use(nothing));  // The next job: this waits for nobody.
    job->signal();
  });
  REQUIRE(::madvise(page.memory.all().data(), page.memory.all().size(), MADV_DONTNEED) == 0);
  CHECK(job->is_signaled());
  device.join();
  CHECK(other.watch.release(long_enough()));
  page.watch.reset();
  CHECK(violations::take().empty());
}

TEST_CASE("a release on the way to signal is found, though it does not hang") {
  const violations found;
  watched_page page(nothing);
  {
    const signaling_section on_the_way;
    CHECK(page.watch.release(deadline::now()));
  }
  check_only(rule::monitor_while_signaling);
}

TEST_CASE("dropping a watch on the way to signal is found") {
  const violations found;
  watched_page page(nothing);
  {
    const signaling_section on_the_way;
    page.watch.reset();
  }
  check_only(rule::monitor_while_signaling);
}

TEST_CASE("an allocation or a reservation's lock while a job is started is found") {
  const violations found;
  watched_page page(nothing);
  CHECK(page.watch.use([]() noexcept { might_alloc(); }));
  check_only(rule::inside_monitor);
  CHECK(page.watch.use([&]() noexcept { return page.fences.lock(); }));
  check_only(rule::inside_monitor);
}

TEST_CASE("an allocation while addresses are taken away is found, by a release and by an event") {
  const violations found;
  const auto allocates = []() noexcept { might_alloc(); };
  watched_page released(allocates);
  CHECK(released.watch.release(long_enough()));
  check_only(rule::inside_monitor);
  watched_page taken(allocates);
  REQUIRE(::madvise(taken.memory.all().data(), taken.memory.all().size(), MADV_DONTNEED) == 0);
  check_only(rule::inside_monitor);
}
