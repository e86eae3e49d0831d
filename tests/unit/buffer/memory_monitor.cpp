// SPDX-License-Identifier: BSL-1.0
// memory_monitor over a source of events that the test drives, for orders and faults that no kernel gives on demand.
// What a kernel does is in ../kernel/userfault.cpp.
#include <paddock/buffer/memory_monitor.hpp>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <deque>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <thread>

#include "memory_watches.hpp"

namespace paddock {

static_assert(!std::is_copy_constructible_v<memory_watch> && std::is_nothrow_move_constructible_v<memory_watch>);

namespace {

using namespace std::chrono_literals;
using namespace test;

/// The one range of a fake, seen from the test.
struct fake_range {
  std::span<std::byte> range;
  unique_fd event{unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))};
  std::mutex mutex;
  std::deque<memory_event> events;
  bool registered{true};

  /// Something happens; who did it is held until held() is false.
  void post(memory_change what) {
    const std::lock_guard guard(mutex);
    events.push_back({what, range, nullptr});
    const std::uint64_t one = 1;
    REQUIRE(::write(event.get(), &one, sizeof one) == sizeof one);
  }
  [[nodiscard]] bool held() {
    const std::lock_guard guard(mutex);
    return registered && !events.empty();
  }
  [[nodiscard]] bool is_registered() {
    const std::lock_guard guard(mutex);
    return registered;
  }
};

class fake_registration {
 public:
  fake_registration(std::shared_ptr<fake_range> state, std::optional<error> read_fails)
      : state_(std::move(state)), read_fails_(read_fails) {}
  fake_registration(fake_registration&&) noexcept = default;
  fake_registration& operator=(fake_registration&&) = delete;
  ~fake_registration() {
    if (state_) {
      const std::lock_guard guard(state_->mutex);
      state_->registered = false;
    }
  }
  [[nodiscard]] borrowed_fd fd() const noexcept { return state_->event; }
  [[nodiscard]] result<std::size_t> read(std::span<memory_event> into) noexcept {
    if (read_fails_) {
      return fail(*read_fails_);
    }
    const std::lock_guard guard(state_->mutex);
    std::size_t count = 0;
    while (count < into.size() && !state_->events.empty()) {
      into[count++] = state_->events.front();
      state_->events.pop_front();
    }
    return count;
  }

 private:
  std::shared_ptr<fake_range> state_;
  std::optional<error> read_fails_;
};

/// All ranges, in the order in which they were watched.
struct fake_kernel {
  std::deque<std::shared_ptr<fake_range>> ranges;
  std::optional<error> watch_fails;
  std::optional<error> read_fails;
  static inline std::mutex mutex;
  static inline std::vector<std::span<std::byte>> given_back;
  static inline std::optional<error> giving_fails;

  fake_kernel() noexcept {
    given_back.clear();
    giving_fails.reset();
  }
};

class fake_events {
 public:
  using registration = fake_registration;
  explicit fake_events(fake_kernel& kernel) noexcept : kernel_(&kernel) {}

  [[nodiscard]] result<registration> watch(std::span<std::byte> range) noexcept {
    if (kernel_->watch_fails) {
      return fail(*kernel_->watch_fails);
    }
    auto state = std::make_shared<fake_range>();
    state->range = range;
    kernel_->ranges.push_back(state);
    return registration(std::move(state), kernel_->read_fails);
  }
  [[nodiscard]] static result<void> give_back(std::span<std::byte> range) noexcept {
    const std::lock_guard guard(fake_kernel::mutex);
    if (fake_kernel::giving_fails) {
      return fail(*fake_kernel::giving_fails);
    }
    fake_kernel::given_back.push_back(range);
    return {};
  }

 private:
  fake_kernel* kernel_;
};
static_assert(memory_events<fake_events>);

using monitor = memory_monitor<fake_events>;

struct fixture {
  explicit fixture(bool own_thread = false, std::chrono::nanoseconds patience = 60s)
      : monitor_(std::move(*monitor::create(fake_events(kernel), {patience, own_thread}))) {}

  [[nodiscard]] memory_watch watch(std::span<std::byte> range, const reservation& of) {
    auto made = monitor_->watch(range, of, log.unmap(), log.tell());
    REQUIRE(made);
    return std::move(*made);
  }
  [[nodiscard]] memory_watch watch() { return watch(memory, fences); }
  [[nodiscard]] bool is_readable() const {
    pollfd entry{monitor_->fd().get(), POLLIN, 0};
    return ::poll(&entry, 1, 0) == 1;
  }

  fake_kernel kernel;
  std::optional<monitor> monitor_;
  reservation fences;
  watch_log log;
  std::array<std::byte, 4096> bytes{};
  std::span<std::byte> memory{bytes};
};

std::ptrdiff_t threads() {
  namespace fs = std::filesystem;
  return std::distance(fs::directory_iterator("/proc/self/task"), fs::directory_iterator());
}

}  // namespace

TEST_CASE("a release waits for the jobs, unmaps, gives back, and lets no job start any more") {
  fixture f;
  memory_watch watch = f.watch();
  const fence_ptr job = make_fence();
  REQUIRE(start_job(watch, f.fences, job));
  CHECK(watch.status() == memory_status::live);

  std::atomic<bool> done{false};
  std::thread releasing([&] { done = watch.release(long_enough()).has_value(); });
  CHECK(eventually([&] { return fails_with(watch.use([]() noexcept {}), errc::busy); }));
  CHECK_FALSE(done);
  CHECK(f.log.unmapped == 0);
  CHECK(f.kernel.given_back.empty());
  job->signal();
  releasing.join();

  CHECK(done);
  CHECK(watch.status() == memory_status::released);
  CHECK(f.log.unmapped == 1);
  REQUIRE(f.kernel.given_back.size() == 1);
  CHECK(f.kernel.given_back[0].data() == f.memory.data());
  CHECK(f.kernel.given_back[0].size() == f.memory.size());
  CHECK_FALSE(f.kernel.ranges[0]->is_registered());
  CHECK(fails_with(watch.use([]() noexcept {}), errc::revoked));
  CHECK(f.log.told().empty());

  CHECK(watch.release(deadline::now()));  // Nothing is left to do.
  CHECK(f.log.unmapped == 1);
  CHECK(f.kernel.given_back.size() == 1);
}

TEST_CASE("a release whose time is over leaves everything as it was") {
  fixture f;
  memory_watch watch = f.watch();
  const fence_ptr job = make_fence();
  REQUIRE(start_job(watch, f.fences, job));
  CHECK(fails_with(watch.release(deadline::now()), errc::timed_out));
  CHECK(fails_with(watch.release(shortly()), errc::timed_out));
  CHECK(watch.status() == memory_status::live);
  CHECK(f.log.unmapped == 0);
  CHECK(f.kernel.given_back.empty());
  const fence_ptr next = make_fence();
  CHECK(start_job(watch, f.fences, next));
  job->signal();
  next->signal();
  CHECK(watch.release(deadline::now(), released_memory::kept));
  CHECK(f.log.unmapped == 1);
  CHECK(f.kernel.given_back.empty());
}

TEST_CASE("a release that cannot give the pages back has done all the rest") {
  fixture f;
  memory_watch watch = f.watch();
  fake_kernel::giving_fails = error{errc::invalid_argument, EINVAL, "give_back"};
  CHECK(fails_with(watch.release(long_enough()), errc::invalid_argument));
  CHECK(watch.status() == memory_status::released);
  CHECK(f.log.unmapped == 1);
}

TEST_CASE("who is about to start a job is waited for, by a release and by an event") {
  fixture f;
  memory_watch watch = f.watch();
  const bool is_event = GENERATE(false, true);
  const fence_ptr job = make_fence();
  std::atomic<bool> released{false};
  std::thread other;
  CHECK(watch.use([&]() noexcept {
    if (is_event) {
      f.kernel.ranges[0]->post(memory_change::removed);
      static_cast<void>(f.monitor_->dispatch());
    } else {
      CHECK(fails_with(watch.release(shortly()), errc::timed_out));
      other = std::thread([&] { released = watch.release(long_enough()).has_value(); });
      CHECK(eventually([&] { return fails_with(watch.use([]() noexcept {}), errc::busy); }));
    }
    CHECK(f.log.unmapped == 0);
    add(f.fences, job, usage::read);
  }));
  if (is_event) {
    CHECK(f.is_readable());  // By the last one who left.
    CHECK(f.monitor_->dispatch());
    CHECK(f.kernel.ranges[0]->held());
  }
  CHECK(f.log.unmapped == 0);
  job->signal();
  if (is_event) {
    CHECK(f.monitor_->dispatch());
    CHECK_FALSE(f.kernel.ranges[0]->held());
  } else {
    other.join();
    CHECK(released);
  }
  CHECK(f.log.unmapped == 1);
}

TEST_CASE("use gives what its function gives, or says why it was not called") {
  fixture f;
  memory_watch watch = f.watch();
  CHECK(*watch.use([]() noexcept -> result<int> { return 7; }) == 7);
  CHECK(fails_with(watch.use([]() noexcept -> result<int> { return fail(errc::io, "job"); }), errc::io));
  REQUIRE(watch.release(deadline::now()));
  bool called = false;
  CHECK(fails_with(watch.use([&]() noexcept -> result<int> {
    called = true;
    return 7;
  }),
                   errc::revoked));
  CHECK_FALSE(called);
}

TEST_CASE("an event makes the watch stale at once, and holds whoever caused it until the jobs are done") {
  fixture f;
  memory_watch watch = f.watch();
  const std::array jobs{make_fence(), make_fence(), make_fence()};
  for (const fence_ptr& each : jobs) {
    REQUIRE(start_job(watch, f.fences, each));
  }
  fake_range& kernel = *f.kernel.ranges[0];
  CHECK_FALSE(f.is_readable());
  kernel.post(memory_change::removed);
  CHECK(f.is_readable());
  REQUIRE(f.monitor_->dispatch());
  CHECK_FALSE(f.is_readable());  // An event loop has nothing to do, and does not spin.
  CHECK(watch.status() == memory_status::stale);
  CHECK(fails_with(watch.use([]() noexcept {}), errc::revoked));
  for (const std::size_t i : {1U, 0U, 2U}) {
    CHECK(kernel.held());
    CHECK(f.log.unmapped == 0);
    jobs[i]->signal();
    REQUIRE(f.monitor_->dispatch());
  }
  CHECK_FALSE(kernel.held());
  CHECK_FALSE(kernel.is_registered());
  CHECK(f.log.unmapped == 1);
  const auto told = f.log.told();
  REQUIRE(told.size() == 1);
  CHECK(told[0].event.what == memory_change::removed);
  CHECK(told[0].event.range.data() == f.memory.data());
  CHECK_FALSE(told[0].forced);
  CHECK_FALSE(f.is_readable());
  CHECK(fails_with(watch.release(long_enough()), errc::revoked));
  CHECK(f.log.unmapped == 1);
  CHECK(f.kernel.given_back.empty());
}

TEST_CASE("addresses go before the event is read, and the user is told after it") {
  fixture f;
  fake_range* kernel = nullptr;
  int step = 0;
  const auto watch = f.monitor_->watch(
      f.memory, f.fences,
      [&]() noexcept {
        CHECK(kernel->held());
        CHECK(++step == 1);
      },
      [&](const memory_report&) noexcept {
        CHECK_FALSE(kernel->held());
        CHECK_FALSE(kernel->is_registered());
        CHECK(++step == 2);
      });
  REQUIRE(watch);
  kernel = f.kernel.ranges[0].get();
  kernel->post(memory_change::unmapped);
  REQUIRE(f.monitor_->dispatch());
  CHECK(step == 2);
}

TEST_CASE("a fence that does not come holds nobody for longer than the monitor's patience") {
  fixture f(GENERATE(false, true), 30ms);
  memory_watch watch = f.watch();
  const fence_ptr job = make_fence();
  REQUIRE(start_job(watch, f.fences, job));
  const auto begun = monotonic_clock::now();
  f.kernel.ranges[0]->post(memory_change::removed);
  CHECK(eventually([&] {
    pollfd entry{f.monitor_->fd().get(), POLLIN, 0};
    ::poll(&entry, 1, 1000);
    return f.monitor_->dispatch() && f.log.told().size() == 1;
  }));
  CHECK(monotonic_clock::now() - begun >= 30ms);
  CHECK(f.log.unmapped == 1);
  CHECK(f.log.told()[0].forced);
  CHECK_FALSE(f.kernel.ranges[0]->held());
  CHECK_FALSE(job->is_signaled());
  job->signal();
}

TEST_CASE("an event of one watch does not wait for another one's jobs") {
  fixture f(true);
  reservation others;
  watch_log other_log;
  std::array<std::byte, 64> other_bytes{};
  memory_watch first = f.watch();
  const auto second = f.monitor_->watch(other_bytes, others, other_log.unmap(), other_log.tell());
  const fence_ptr job = make_fence();
  REQUIRE(start_job(first, f.fences, job));
  f.kernel.ranges[0]->post(memory_change::removed);
  CHECK(eventually([&] { return first.status() == memory_status::stale; }));
  f.kernel.ranges[1]->post(memory_change::removed);
  CHECK(eventually([&] { return other_log.told().size() == 1; }));
  CHECK(f.log.unmapped == 0);
  job->signal();
  CHECK(eventually([&] { return f.log.told().size() == 1; }));
}

TEST_CASE("all events that were there are told, up to eight; one that is read late holds nobody") {
  fixture f;
  memory_watch watch = f.watch();
  for (int i = 0; i < 9; ++i) {
    f.kernel.ranges[0]->post(i == 0 ? memory_change::remapped : memory_change::unmapped);
  }
  REQUIRE(f.monitor_->dispatch());
  const auto told = f.log.told();
  REQUIRE(told.size() == 8);
  CHECK(told[0].event.what == memory_change::remapped);
  CHECK(told[1].event.what == memory_change::unmapped);
  CHECK_FALSE(f.kernel.ranges[0]->held());
}

TEST_CASE("a watch whose events cannot be read loses its addresses, and the error is reported") {
  static std::atomic<int> lost{0};
  lost = 0;
  fixture f;
  f.kernel.read_fails = error{errc::io, EIO, "read"};
  memory_watch watch = f.watch();
  set_lost_error_handler([](const error& e) noexcept { lost += e == errc::io ? 1 : 0; });
  f.kernel.ranges[0]->post(memory_change::removed);
  REQUIRE(f.monitor_->dispatch());
  set_lost_error_handler(nullptr);
  CHECK(lost == 1);
  CHECK(f.log.unmapped == 1);
  CHECK(f.log.told().empty());
  CHECK_FALSE(f.kernel.ranges[0]->held());
}

TEST_CASE("a watch may be dropped by its own functions, and is told no more") {
  fixture f;
  const bool in_unmap = GENERATE(false, true);
  std::optional<memory_watch> watch;
  const auto token = std::make_shared<int>(0);
  int told = 0;
  {
    auto made = f.monitor_->watch(
        f.memory, f.fences,
        [&, token]() noexcept {
          if (in_unmap) {
            watch.reset();
          }
          CHECK(token.use_count() == 3);  // Its own state is still there.
        },
        [&, token](const memory_report&) noexcept {
          ++told;
          watch.reset();
          CHECK(token.use_count() == 3);
        });
    REQUIRE(made);
    watch = std::move(*made);
  }
  f.kernel.ranges[0]->post(memory_change::remapped);
  f.kernel.ranges[0]->post(memory_change::unmapped);
  REQUIRE(f.monitor_->dispatch());
  CHECK_FALSE(watch.has_value());
  CHECK(told == (in_unmap ? 0 : 1));
  CHECK(token.use_count() == 1);
  CHECK_FALSE(f.kernel.ranges[0]->held());
}

TEST_CASE("a watch that its own function drops while another thread releases it goes once") {
  fixture f;
  std::optional<memory_watch> watch;
  std::atomic<bool> in_tell{false};
  std::atomic<bool> go_on{false};
  const auto token = std::make_shared<int>(0);
  const fence_ptr job = make_fence();
  watch.emplace(std::move(*f.monitor_->watch(
      f.memory, f.fences, [token]() noexcept {},
      [&, token](const memory_report&) noexcept {
        in_tell = true;
        static_cast<void>(eventually([&] { return go_on.load(); }));
        watch.reset();
      })));
  REQUIRE(start_job(*watch, f.fences, job));
  f.kernel.ranges[0]->post(memory_change::removed);
  REQUIRE(f.monitor_->dispatch());
  std::atomic<bool> revoked{false};
  std::thread releasing([&] { revoked = fails_with(f.monitor_->release(f.memory, long_enough()), errc::revoked); });
  std::this_thread::sleep_for(10ms);  // Waits for the fence, as a rule.
  std::thread dispatching([&] {
    job->signal();
    static_cast<void>(f.monitor_->dispatch());
  });
  // Whichever of the two finishes the event calls the function.
  CHECK(eventually([&] { return in_tell.load(); }));
  go_on = true;
  releasing.join();
  dispatching.join();
  CHECK(revoked);
  CHECK_FALSE(watch.has_value());
  CHECK(token.use_count() == 1);
}

TEST_CASE("dropping a watch ends it without a word; the addresses are the caller's") {
  fixture f;
  memory_watch watch = f.watch();
  CHECK(watch.valid());
  watch.reset();
  CHECK_FALSE(watch.valid());
  watch.reset();
  CHECK_FALSE(f.kernel.ranges[0]->is_registered());
  CHECK(f.log.unmapped == 0);
  CHECK(f.log.told().empty());
  f.kernel.ranges[0]->post(memory_change::removed);
  CHECK(f.monitor_->dispatch());
  CHECK(f.log.told().empty());

  memory_watch first = f.watch();
  memory_watch second = f.watch();
  first = std::move(second);
  CHECK_FALSE(f.kernel.ranges[1]->is_registered());
  CHECK(f.kernel.ranges[2]->is_registered());
  CHECK(first.status() == memory_status::live);
}

TEST_CASE("dropping a watch in the middle of an event waits for the jobs, or for the end of the patience") {
  const bool signaled = GENERATE(false, true);
  fixture f(false, signaled ? 60s : 30ms);
  std::optional<memory_watch> watch = f.watch();
  const fence_ptr job = make_fence();
  REQUIRE(start_job(*watch, f.fences, job));
  f.kernel.ranges[0]->post(memory_change::removed);
  REQUIRE(f.monitor_->dispatch());
  std::atomic<bool> dropped{false};
  std::thread dropping([&] {
    watch.reset();
    dropped = true;
  });
  if (signaled) {
    std::this_thread::sleep_for(20ms);
    CHECK_FALSE(dropped);
    CHECK(f.kernel.ranges[0]->held());
    job->signal();
  }
  dropping.join();
  CHECK(f.log.unmapped == 1);
  REQUIRE(f.log.told().size() == 1);
  CHECK(f.log.told()[0].forced == !signaled);
  CHECK_FALSE(f.kernel.ranges[0]->held());
  job->signal();
}

TEST_CASE("dropping a watch waits for its function in another thread") {
  fixture f(true);
  std::atomic<bool> inside{false};
  std::atomic<bool> finished{false};
  auto watch = f.monitor_->watch(
      f.memory, f.fences, []() noexcept {},
      [&](const memory_report&) noexcept {
        inside = true;
        std::this_thread::sleep_for(20ms);
        finished = true;
      });
  REQUIRE(watch);
  f.kernel.ranges[0]->post(memory_change::removed);
  REQUIRE(eventually([&] { return inside.load(); }));
  watch->reset();
  CHECK(finished);
}

TEST_CASE("dropping a watch waits for a release of its range in another thread") {
  fixture f;
  std::atomic<bool> inside{false};
  std::atomic<bool> finished{false};
  auto watch = f.monitor_->watch(
      f.memory, f.fences,
      [&]() noexcept {
        inside = true;
        std::this_thread::sleep_for(20ms);
        finished = true;
      },
      [](const memory_report&) noexcept {});
  REQUIRE(watch);
  const fence_ptr job = make_fence();
  REQUIRE(start_job(*watch, f.fences, job));
  std::atomic<bool> released{false};
  std::thread releasing([&] { released = f.monitor_->release(f.memory, long_enough()).has_value(); });
  REQUIRE(eventually([&] { return fails_with(watch->use([]() noexcept {}), errc::busy); }));
  const bool while_it_waits = GENERATE(false, true);
  std::thread device([&] {
    if (while_it_waits) {
      std::this_thread::sleep_for(20ms);
    }
    job->signal();
  });
  if (!while_it_waits) {
    CHECK(eventually([&] { return inside.load(); }));
  }
  watch->reset();
  CHECK(finished);
  device.join();
  releasing.join();
  CHECK(released);
}

TEST_CASE("two threads that release one watch do it once") {
  fixture f;
  memory_watch watch = f.watch();
  const fence_ptr job = make_fence();
  REQUIRE(start_job(watch, f.fences, job));
  std::atomic<int> released{0};
  std::vector<std::thread> releasing;
  releasing.reserve(3);
  for (int i = 0; i < 3; ++i) {
    releasing.emplace_back([&] { released += watch.release(long_enough()) ? 1 : 0; });
  }
  CHECK(fails_with(watch.release(shortly()), errc::timed_out));
  CHECK(f.log.unmapped == 0);
  job->signal();
  for (std::thread& each : releasing) {
    each.join();
  }
  CHECK(released == 3);
  CHECK(f.log.unmapped == 1);
  CHECK(f.kernel.given_back.size() == 1);
}

TEST_CASE("a release that meets an event finishes it, and gives nothing back") {
  fixture f;
  memory_watch watch = f.watch();
  const fence_ptr job = make_fence();
  REQUIRE(start_job(watch, f.fences, job));
  f.kernel.ranges[0]->post(memory_change::unmapped);
  REQUIRE(f.monitor_->dispatch());
  CHECK(fails_with(watch.release(shortly()), errc::timed_out));
  CHECK(watch.status() == memory_status::stale);
  CHECK(fails_with(watch.use([]() noexcept {}), errc::revoked));
  CHECK(f.kernel.ranges[0]->held());
  job->signal();
  CHECK(fails_with(watch.release(long_enough()), errc::revoked));
  CHECK_FALSE(f.kernel.ranges[0]->held());
  CHECK(f.log.unmapped == 1);
  CHECK(f.log.told().size() == 1);
  CHECK(f.kernel.given_back.empty());
  CHECK(f.monitor_->dispatch());
  CHECK(f.log.unmapped == 1);
}

TEST_CASE("a release inside a watch's own function is refused; of another watch it works") {
  fixture f;
  reservation others;
  watch_log other_log;
  std::array<std::byte, 64> other_bytes{};
  auto other = f.monitor_->watch(other_bytes, others, other_log.unmap(), other_log.tell());
  REQUIRE(other);
  std::optional<memory_watch> watch;
  result<void> own;
  result<void> of_other = fail(errc::io, "not called");
  watch.emplace(std::move(*f.monitor_->watch(
      f.memory, f.fences, []() noexcept {},
      [&](const memory_report&) noexcept {
        own = watch->release(long_enough());
        of_other = other->release(long_enough());
        CHECK(f.monitor_->dispatch());
      })));
  f.kernel.ranges[1]->post(memory_change::removed);
  REQUIRE(f.monitor_->dispatch());
  CHECK(fails_with(own, errc::reentrant));
  CHECK(of_other);
  CHECK(other_log.unmapped == 1);
}

TEST_CASE("a range is released with all its watches, or with none of them") {
  fixture f;
  const pages memory(4);
  reservation first_fences;
  reservation second_fences;
  memory_watch first = f.watch(memory.part(0, 2), first_fences);
  memory_watch second = f.watch(memory.part(2, 1), second_fences);
  memory_watch outside = f.watch(memory.part(3, 1), f.fences);
  const fence_ptr job = make_fence();
  REQUIRE(start_job(second, second_fences, job));
  const auto range = memory.part(1, 2);
  CHECK(fails_with(f.monitor_->release(range, shortly()), errc::timed_out));
  CHECK(f.log.unmapped == 0);
  CHECK(first.use([]() noexcept {}));
  job->signal();
  CHECK(f.monitor_->release(range, deadline::now()));
  CHECK(f.log.unmapped == 2);
  CHECK(first.status() == memory_status::released);
  CHECK(second.status() == memory_status::released);
  CHECK(outside.status() == memory_status::live);
  REQUIRE(f.kernel.given_back.size() == 1);
  CHECK(f.kernel.given_back[0].data() == range.data());
  CHECK(f.kernel.given_back[0].size() == range.size());
}

TEST_CASE("a monitor that goes makes its watches stale, without unmapping") {
  const bool own_thread = GENERATE(false, true);
  std::thread([] {}).join();  // ThreadSanitizer's own thread comes with the first one.
  const auto before = threads();
  fixture f(own_thread);
  CHECK(threads() == before + (own_thread ? 1 : 0));
  memory_watch watch = f.watch();
  f.monitor_.reset();
  CHECK(threads() == before);
  CHECK_FALSE(f.kernel.ranges[0]->is_registered());
  CHECK(watch.status() == memory_status::stale);
  CHECK(fails_with(watch.use([]() noexcept {}), errc::revoked));
  CHECK(fails_with(watch.release(long_enough()), errc::revoked));
  CHECK(f.log.unmapped == 0);
  CHECK(f.log.told().empty());
}

TEST_CASE("a monitor that goes lets an event come to its end") {
  const bool signaled = GENERATE(false, true);
  fixture f(GENERATE(false, true), signaled ? 60s : 30ms);
  memory_watch watch = f.watch();
  const fence_ptr job = make_fence();
  REQUIRE(start_job(watch, f.fences, job));
  f.kernel.ranges[0]->post(memory_change::removed);
  CHECK(eventually([&] { return f.monitor_->dispatch() && watch.status() == memory_status::stale; }));
  std::atomic<bool> was_held{false};
  std::thread device([&] {
    std::this_thread::sleep_for(20ms);
    if (signaled) {
      was_held = f.kernel.ranges[0]->held();
      job->signal();
    }
  });
  f.monitor_.reset();
  device.join();
  CHECK(was_held == signaled);
  CHECK(f.log.unmapped == 1);
  REQUIRE(f.log.told().size() == 1);
  CHECK(f.log.told()[0].forced == !signaled);
  job->signal();
}

TEST_CASE("what cannot be watched is an error of the source; a patience below zero is none at all") {
  fixture f;
  f.kernel.watch_fails = error{errc::busy, EBUSY, "watch"};
  CHECK(fails_with(f.monitor_->watch(f.memory, f.fences, f.log.unmap(), f.log.tell()), errc::busy));
  CHECK(fails_with(monitor::create(fake_events(f.kernel), {-1ns, false}), errc::invalid_argument));
}

TEST_CASE("jobs, events, releases and drops in many threads") {
  fixture f(true, 10s);
  for (int round = 0; round < 40; ++round) {
    reservation fences;
    watch_log log;
    std::optional<memory_watch> watch(std::move(*f.monitor_->watch(f.memory, fences, log.unmap(), log.tell())));
    fake_range& kernel = *f.kernel.ranges.back();
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    threads.reserve(2);
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        for (int job = 0; job < 20; ++job) {
          const fence_ptr done = make_fence();
          if (start_job(*watch, fences, done)) {
            wrong += log.unmapped;  // Not before this job's fence.
          }
          done->signal();
        }
      });
    }
    threads.emplace_back([&] {
      const auto ended = watch->release(deadline::in(round % 3 == 0 ? 0ms : 1000ms));
      wrong += ended || ended.error() == errc::revoked || ended.error() == errc::timed_out ? 0 : 1;
    });
    threads.emplace_back([&] {
      if (round % 2 == 0) {
        kernel.post(memory_change::removed);
      }
    });
    for (std::thread& each : threads) {
      each.join();
    }
    watch.reset();
    CHECK(wrong == 0);
    CHECK(log.unmapped <= 1);
    CHECK_FALSE(kernel.held());
  }
}

}  // namespace paddock
