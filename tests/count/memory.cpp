// SPDX-License-Identifier: BSL-1.0
// What watched memory promises of its costs: jobs pay little, and whoever is held may have the locks of malloc.
#include <paddock/buffer/memory_monitor.hpp>

#include <sys/eventfd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "catch.hpp"
#include "fences.hpp"
#include "stepper.hpp"

using namespace paddock;
using paddock::test::cost;
using paddock::test::cost_of;
using paddock::test::counted;
using paddock::test::must;

namespace {

/// One event, which is there when the test says so.
class one_event {
 public:
  explicit one_event(int event) noexcept : event_(event) {}
  [[nodiscard]] borrowed_fd fd() const noexcept { return borrowed_fd(event_); }
  [[nodiscard]] result<std::size_t> read(std::span<memory_event> into) noexcept {
    into[0] = {};
    return 1;
  }

 private:
  int event_;
};

struct one_event_source {
  using registration = one_event;
  [[nodiscard]] result<registration> watch(std::span<std::byte>) const noexcept { return registration(event); }
  [[nodiscard]] static result<void> give_back(std::span<std::byte>) noexcept { return {}; }
  int event;
};

struct watching {
  explicit watching(bool own_thread = false) {
    memory_monitor_options options;
    options.own_thread = own_thread;
    monitor.emplace(std::move(*memory_monitor<one_event_source>::create({event.get()}, options)));
    must(monitor->dispatch().has_value());
    watch = std::move(*monitor->watch(
        {}, fences, []() noexcept {}, [](const memory_report&) noexcept {}));
    const auto lock = fences.lock();
    must(fences.reserve(*lock, 1).has_value());
    must(fences.add(*lock, job, usage::read).has_value());
  }
  void post() const { must(::eventfd_write(event.get(), 1) == 0); }

  unique_fd event{unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))};
  reservation fences;
  fence_ptr job{test::make_fence()};
  std::optional<memory_monitor<one_event_source>> monitor;
  memory_watch watch;
};

bool dispatch(watching& w) { return w.monitor->dispatch().has_value(); }

}  // namespace

TEST_CASE("a job that uses watched memory starts with two locked instructions") {
  const cost c = cost_of("use", [] {
    watching w;
    must(counted([](watching& each) { return each.watch.use([]() noexcept {}).has_value(); }, w));
    w.job->signal();
  });
  CHECK(c.events == paddock::test::events{.locked = 2});
}

TEST_CASE("an event is handled without an allocation, while jobs run and at their end") {
  const cost begun = cost_of("event, a job runs", [] {
    watching w;
    w.post();
    must(counted(dispatch, w));
    w.job->signal();
  });
  CHECK(begun.events.allocations == 0);
  CHECK(begun.events.frees == 0);
  const cost ended = cost_of("event, the job is done", [] {
    watching w;
    w.post();
    must(dispatch(w));
    w.job->signal();
    must(counted(dispatch, w));
    must(w.watch.status() == memory_status::stale);
  });
  CHECK(ended.events.allocations == 0);
  CHECK(ended.events.frees == 0);
}
