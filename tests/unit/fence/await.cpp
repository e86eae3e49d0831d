// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/await.hpp>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "catch.hpp"

using namespace paddock;
using namespace std::chrono_literals;

namespace {

fence_ptr make(const fence_ops* ops = nullptr, void* source = nullptr) {
  static fence_context context("test", 1s);
  return std::move(*context.create(ops, source));
}

std::atomic<int> living_frames{0};

/// A coroutine that starts at once, and frees its frame when it ends. Whoever keeps the handle may destroy it earlier.
struct task {
  struct promise_type {
    promise_type() noexcept { ++living_frames; }
    promise_type(const promise_type&) = delete;
    promise_type& operator=(const promise_type&) = delete;
    ~promise_type() { --living_frames; }
    task get_return_object() noexcept { return task(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::abort(); }
  };
  explicit task(std::coroutine_handle<> started) noexcept : handle(started) {}
  std::coroutine_handle<> handle;
};

/// A thread that resumes the coroutines that are posted to it.
class worker {
 public:
  worker() : thread_([this] { run(); }) {}
  ~worker() {
    post({});
    thread_.join();
  }
  [[nodiscard]] std::thread::id id() const { return thread_.get_id(); }
  void post(std::coroutine_handle<> waiting) {
    const std::lock_guard guard(mutex_);
    posted_.push_back(waiting);
    changed_.notify_one();
  }

 private:
  void run() {
    for (;;) {
      std::unique_lock guard(mutex_);
      changed_.wait(guard, [this] { return !posted_.empty(); });
      const std::coroutine_handle<> next = posted_.front();
      posted_.pop_front();
      guard.unlock();
      if (!next) {
        return;
      }
      next.resume();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::coroutine_handle<>> posted_;
  std::thread thread_;
};

class post_to {
 public:
  explicit post_to(worker& to) noexcept : to_(&to) {}
  void operator()(std::coroutine_handle<> waiting) const noexcept { to_->post(waiting); }

 private:
  worker* to_;
};

task note_outcome(fence& f, std::optional<fence_outcome>& noted) { noted = co_await f; }
task note_outcome(fence_ptr f, std::optional<fence_outcome>& noted) { noted = co_await std::move(f); }

task note_stoppable(fence_ptr f, std::stop_token stop, std::optional<result<fence_outcome>>& noted) {
  noted = co_await stoppable(std::move(f), std::move(stop));
}

task wait_for_ever(fence_ptr f) { static_cast<void>(co_await f); }

}  // namespace

TEST_CASE("a coroutine goes on with the outcome of its fence, in the signaling thread") {
  std::optional<fence_outcome> noted;
  const fence_ptr f = make();
  SECTION("awaited by reference") { note_outcome(*f, noted); }
  SECTION("awaited by pointer") { note_outcome(f, noted); }
  CHECK_FALSE(noted.has_value());
  f->fail(EIO);
  REQUIRE(noted.has_value());
  CHECK(noted->sys_errno == EIO);
  CHECK(noted->timestamp == f->timestamp());
  CHECK(living_frames == 0);
}

TEST_CASE("a coroutine does not suspend on a complete fence") {
  const fence_ptr f = make();
  f->fail(EIO);
  std::optional<fence_outcome> noted;
  SECTION("awaited by reference") { note_outcome(*f, noted); }
  SECTION("awaited by pointer") { note_outcome(f, noted); }
  SECTION("with a post function") {
    [](fence_ptr on, std::optional<fence_outcome>& to) -> task {
      to = co_await resume_on(on, [](std::coroutine_handle<>) noexcept { std::abort(); });
    }(f, noted);
  }
  SECTION("stoppable, and stopped") {
    std::stop_source stop;
    stop.request_stop();
    std::optional<result<fence_outcome>> ended;
    note_stoppable(f, stop.get_token(), ended);
    REQUIRE((ended.has_value() && ended->has_value()));
    noted = **ended;
  }
  REQUIRE(noted.has_value());
  CHECK(noted->sys_errno == EIO);
}

TEST_CASE("a fence that turns out to be complete while it is armed does not suspend") {
  static constexpr fence_ops done_already{.enable_signaling = [](fence&) noexcept { return false; }};
  const fence_ptr f = make(&done_already);
  std::optional<fence_outcome> noted;
  std::optional<result<fence_outcome>> ended;
  SECTION("awaited by reference") { note_outcome(*f, noted); }
  SECTION("stoppable") {
    note_stoppable(f, std::stop_source().get_token(), ended);
    REQUIRE((ended.has_value() && ended->has_value()));
    noted = **ended;
  }
  REQUIRE(noted.has_value());
  CHECK(noted->sys_errno == 0);
}

TEST_CASE("a coroutine that awaits by reference is told that the fence was dropped") {
  std::optional<fence_outcome> noted;
  fence_ptr f = make();
  note_outcome(*f, noted);
  SECTION("outside of callbacks") { f.reset(); }
  SECTION("inside a callback, after which the fence is gone before the coroutine goes on") {
    const fence_ptr first = make();
    [](fence_ptr on, fence_ptr& last, std::optional<fence_outcome>& seen) -> task {
      static_cast<void>(co_await on);
      last.reset();
      CHECK_FALSE(seen.has_value());
    }(first, f, noted);
    first->signal();
  }
  REQUIRE(noted.has_value());
  CHECK(noted->sys_errno == EDEADLK);
}

TEST_CASE("a coroutine that awaits by pointer keeps the fence") {
  std::optional<fence_outcome> noted;
  fence_ptr f = make();
  fence& kept = *f;
  note_outcome(std::move(f), noted);
  CHECK_FALSE(noted.has_value());
  kept.signal();
  REQUIRE(noted.has_value());
  CHECK(noted->sys_errno == 0);
}

TEST_CASE("resume_on goes on where the post function takes the coroutine", "[threads]") {
  for (int round = 0; round < 500; ++round) {
    const fence_ptr f = make();
    std::thread::id resumed_in;
    std::thread::id expected;
    {
      worker loop;
      expected = loop.id();
      [](fence_ptr on, worker& to, std::thread::id& in) -> task {
        static_cast<void>(co_await resume_on(std::move(on), post_to(to)));
        in = std::this_thread::get_id();
      }(f, loop, resumed_in);
      f->signal();
    }
    REQUIRE(resumed_in == expected);
    REQUIRE(living_frames == 0);
  }
}

TEST_CASE("the awaiter may be gone in another thread before the post function has returned", "[threads]") {
  struct slow_post {
    explicit slow_post(worker& to) noexcept : post(to) {}
    void operator()(std::coroutine_handle<> waiting) const noexcept {
      post(waiting);
      std::this_thread::sleep_for(5ms);  // The worker meets the node while it still counts as running.
    }
    post_to post;
  };
  const fence_ptr f = make();
  const fence_ptr next = make();
  std::atomic<bool> done{false};
  worker loop;
  [](fence_ptr first, fence_ptr second, worker& to, std::atomic<bool>& flag) -> task {
    static_cast<void>(co_await resume_on(std::move(first), slow_post(to)));
    // In the same frame, perhaps at the same address.
    static_cast<void>(co_await resume_on(std::move(second), slow_post(to)));
    flag = true;
  }(f, next, loop, done);
  f->signal();
  next->signal();
  while (!done) {
    std::this_thread::yield();
  }
}

TEST_CASE("a coroutine that is destroyed while it waits takes its callback back") {
  const fence_ptr f = make();
  std::stop_source stop;
  std::optional<result<fence_outcome>> ended;
  SECTION("before the fence is signaled") {
    wait_for_ever(f).handle.destroy();
    CHECK(f->signal());
  }
  SECTION("stoppable, before either") {
    note_stoppable(f, stop.get_token(), ended).handle.destroy();
    CHECK(stop.request_stop());
    CHECK(f->signal());
  }
  SECTION("between the signal and the turn of the callback") {
    const fence_ptr first = make();
    [](fence_ptr on, fence_ptr second, std::coroutine_handle<> waiting) -> task {
      static_cast<void>(co_await on);
      second->signal();  // Its callbacks run after this one.
      waiting.destroy();
    }(first, f, wait_for_ever(f).handle);
    first->signal();
  }
  CHECK_FALSE(ended.has_value());
  CHECK(living_frames == 0);
}

TEST_CASE("a stop request ends a wait, before it begins, while it lasts, or not at all once the fence is complete") {
  const fence_ptr f = make();
  std::stop_source stop;
  std::optional<result<fence_outcome>> ended;
  SECTION("before") {
    stop.request_stop();
    note_stoppable(f, stop.get_token(), ended);
    REQUIRE(ended.has_value());
    CHECK(ended->error() == errc::canceled);
    CHECK_FALSE(f->is_signaled());
  }
  SECTION("between the two, before the callback is queued") {
    static constexpr fence_ops stopping{.enable_signaling = [](fence& of) noexcept {
      return static_cast<std::stop_source*>(of.source())->request_stop();
    }};
    note_stoppable(make(&stopping, &stop), stop.get_token(), ended);
    REQUIRE(ended.has_value());
    CHECK(ended->error() == errc::canceled);
  }
  SECTION("while it lasts") {
    note_stoppable(f, stop.get_token(), ended);
    CHECK_FALSE(ended.has_value());
    stop.request_stop();
    REQUIRE(ended.has_value());
    CHECK(ended->error() == errc::canceled);
    ended.reset();
    f->signal();
    CHECK_FALSE(ended.has_value());
  }
  SECTION("after") {
    note_stoppable(f, stop.get_token(), ended);
    f->fail(EIO);
    REQUIRE((ended.has_value() && ended->has_value()));
    CHECK((*ended)->sys_errno == EIO);
    ended.reset();
    stop.request_stop();
    CHECK_FALSE(ended.has_value());
  }
  SECTION("with a token that nobody can stop") {
    note_stoppable(f, std::stop_token(), ended);
    f->signal();
    REQUIRE((ended.has_value() && ended->has_value()));
  }
  CHECK(living_frames == 0);
}

TEST_CASE("one stop request ends all waits that it is for, and each may wait anew inside") {
  std::stop_source stop;
  const fence_ptr f = make();
  constexpr int count = 100;
  int ended = 0;
  for (int i = 0; i < count; ++i) {
    [](fence_ptr on, std::stop_token token, int& canceled) -> task {
      // In the frame that the first wait leaves, inside the stop callback that is running, and canceled at once.
      for (int wait = 0; wait < 2; ++wait) {
        canceled += (co_await stoppable(on, token)).has_value() ? 0 : 1;
      }
    }(f, stop.get_token(), ended);
  }
  stop.request_stop();
  CHECK(ended == 2 * count);
  CHECK(living_frames == 0);
}

namespace {

/// Two threads that do something at the same time, again and again; now the one is a few steps late, now the other.
/// On a busy machine, where they seldom run at once, it ends by the clock.
template <class First, class Second>
void race(First first, Second second) {
  constexpr int most_rounds = 10'000;
  constexpr int most_late = 50;
  std::atomic<int> started{0};
  std::atomic<int> finished{0};
  std::atomic<bool> over{false};
  const auto wait_for_round = [](const std::atomic<int>& reached, int round) {
    // A yield takes longer than what is raced for, so not at once.
    for (int spins = 0; reached < round; ++spins) {
      if (spins > 1000) {
        std::this_thread::yield();
      }
    }
  };
  const auto be_late = [](int steps) {
    for (std::atomic<int> step{0}; step < steps;) {
      ++step;
    }
  };
  std::thread other([&] {
    for (int round = 1;; ++round) {
      wait_for_round(started, round);
      if (over) {
        return;
      }
      be_late(round % most_late);
      second();
      finished = round;
    }
  });
  const deadline end = deadline::in(2s);
  for (int round = 1; round <= most_rounds && !end.passed(); ++round) {
    first.prepare();
    started = round;
    be_late(round / most_late % most_late);
    first.run();
    wait_for_round(finished, round);
    first.check();
  }
  over = true;
  ++started;
  other.join();
}

/// What the two threads of a race share.
struct race_state {
  fence_ptr f;
  std::optional<std::stop_source> stop;
  std::atomic<int> resumed{0};
  std::atomic<int> canceled{0};
  std::atomic<int> completed{0};
};

/// Goes on inline, or in a worker.
template <class Post>
task count_end(fence_ptr f, std::stop_token stop, Post post, race_state& state) {
  // NOLINTNEXTLINE(bugprone-use-after-move): each is moved once, from the frame's copy; clang-tidy 14 counts twice.
  const result<fence_outcome> ended = co_await stoppable(std::move(f), std::move(stop), std::move(post));
  ++(ended ? state.completed : state.canceled);
  ++state.resumed;
}

void wait_for_end(const race_state& state) {
  while (state.resumed == 0 || living_frames != 0) {
    std::this_thread::yield();
  }
}

}  // namespace

TEST_CASE("stop against completion: one of them resumes, once", "[threads]") {
  race_state state;
  worker loop;
  struct signaling {
    void prepare() {
      state.f = make();
      state.stop.emplace();
      state.resumed = state.canceled = state.completed = 0;
      if (++round % 2 == 0) {
        count_end(state.f, state.stop->get_token(), post_to(loop), state);
      } else {
        count_end(state.f, state.stop->get_token(), detail::resume_inline{}, state);
      }
    }
    void run() { state.f->signal(); }
    void check() {
      wait_for_end(state);
      CHECK(state.resumed == 1);
    }
    race_state& state;
    worker& loop;
    int round{0};
  };
  race(signaling{state, loop}, [&] { state.stop->request_stop(); });
}

TEST_CASE("stop and completion against a coroutine that is being suspended: it goes on, once", "[threads]") {
  race_state state;
  struct awaiting {
    void prepare() {
      state.f = make();
      state.stop.emplace();
      state.resumed = state.canceled = state.completed = 0;
      ++round;
    }
    void run() { count_end(state.f, state.stop->get_token(), detail::resume_inline{}, state); }
    void check() {
      wait_for_end(state);
      CHECK(state.resumed == 1);
      CHECK(state.completed == (state.f->is_signaled() ? 1 : 0));
    }
    race_state& state;
    int round{0};
  };
  SECTION("stop") {
    race(awaiting{state}, [&] { state.stop->request_stop(); });
  }
  SECTION("completion") {
    race(awaiting{state}, [&] { state.f->signal(); });
  }
}

TEST_CASE("completion against a coroutine that is being suspended, whose frame another thread frees", "[threads]") {
  fence_ptr f;
  std::atomic<bool> resumed{false};
  worker loop;
  struct awaiting {
    void prepare() {
      f = make();
      resumed = false;
    }
    void run() {
      [](fence_ptr on, worker& to, std::atomic<bool>& flag) -> task {
        static_cast<void>(co_await resume_on(std::move(on), post_to(to)));
        flag = true;
      }(f, loop, resumed);
    }
    void check() {
      while (!resumed || living_frames != 0) {
        std::this_thread::yield();
      }
    }
    fence_ptr& f;
    std::atomic<bool>& resumed;
    worker& loop;
  };
  race(awaiting{f, resumed, loop}, [&] { f->signal(); });
}

TEST_CASE("a chain of coroutines takes constant stack") {
  constexpr std::size_t length = 100'000;
  std::vector<fence_ptr> fences(length);
  for (fence_ptr& each : fences) {
    each = make();
  }
  std::size_t ended = 0;
  SECTION("each signals the fence of the next") {
    for (std::size_t i = 0; i + 1 < length; ++i) {
      [](fence_ptr on, fence_ptr next, std::size_t& count) -> task {
        static_cast<void>(co_await on);
        next->signal();
        ++count;
      }(fences[i], fences[i + 1], ended);
    }
    fences.front()->signal();
    CHECK(ended == length - 1);
    CHECK(fences.back()->is_signaled());
  }
  SECTION("one awaits them all, signaled by another") {
    [](const std::vector<fence_ptr>& all, std::size_t& count) -> task {
      for (const fence_ptr& each : all) {
        static_cast<void>(co_await *each);
        ++count;
      }
    }(fences, ended);
    for (const fence_ptr& each : fences) {
      each->signal();
    }
    CHECK(ended == length);
  }
  CHECK(living_frames == 0);
}

// g++ 12 destroys aggregates in a co_await expression twice; closures as well, unless they have a name of their own.
static_assert(!std::is_aggregate_v<detail::fence_awaiter<detail::resume_inline>>);
static_assert(!std::is_aggregate_v<detail::stoppable_awaiter<detail::resume_inline>>);
static_assert(!std::is_aggregate_v<fence_ptr> && !std::is_aggregate_v<std::stop_token>);
static_assert(!std::is_aggregate_v<result<fence_outcome>>);
static_assert(std::is_trivially_destructible_v<fence_outcome> &&
              std::is_trivially_destructible_v<detail::resume_inline>);

namespace {

/// A post function that counts the objects of its type, and those that are destroyed while they are called.
class counting_post {
 public:
  static inline int made = 0;
  static inline int gone = 0;
  static inline int gone_while_called = 0;
  counting_post() noexcept { ++made; }
  counting_post(const counting_post&) noexcept { ++made; }
  counting_post(counting_post&&) noexcept { ++made; }
  counting_post& operator=(const counting_post&) = delete;
  ~counting_post() {
    ++gone;
    gone_while_called += this == called ? 1 : 0;
  }
  void operator()(std::coroutine_handle<> waiting) const noexcept {
    called = this;
    waiting.resume();
    called = nullptr;
  }

 private:
  static inline const counting_post* called = nullptr;
};

/// Each form of an awaiting expression, as a coroutine.
using form = task (*)(fence_ptr, std::stop_token, int&);
constexpr form forms[] = {
    [](fence_ptr f, std::stop_token, int& ended) -> task {
      static_cast<void>(co_await *f);
      ++ended;
    },
    [](fence_ptr f, std::stop_token, int& ended) -> task {
      static_cast<void>(co_await f);
      ++ended;
    },
    [](fence_ptr f, std::stop_token, int& ended) -> task {
      static_cast<void>(co_await std::move(f));
      ++ended;
    },
    [](fence_ptr f, std::stop_token, int& ended) -> task {
      if ((co_await fence_ptr(*f)).sys_errno == 0) {
        ++ended;
      }
    },
    [](fence_ptr f, std::stop_token, int& ended) -> task {
      static_cast<void>(co_await resume_on(f, counting_post()));
      ++ended;
    },
    [](fence_ptr f, std::stop_token, int& ended) -> task {
      ended += (co_await resume_on(fence_ptr(*f), counting_post())).sys_errno == 0 ? 1 : 0;
    },
    [](fence_ptr f, std::stop_token stop, int& ended) -> task {
      static_cast<void>(co_await stoppable(f, stop));
      ++ended;
    },
    [](fence_ptr f, std::stop_token stop, int& ended) -> task {
      static_cast<void>(co_await stoppable(fence_ptr(*f), std::stop_token(stop), counting_post()));
      ++ended;
    },
    [](fence_ptr f, std::stop_token, int& ended) -> task {
      const auto post = [counted = counting_post()](std::coroutine_handle<> waiting) noexcept { counted(waiting); };
      static_cast<void>(co_await resume_on(f, post));
      ++ended;
    },
    [](fence_ptr f, std::stop_token stop, int& ended) -> task {
      const counting_post post;
      const result<fence_outcome> done = co_await stoppable(f, stop, post);
      ended += done || done.error() == errc::canceled ? 1 : 0;
    },
};

}  // namespace

TEST_CASE("whatever an awaiting expression makes is destroyed once") {
  static constexpr fence_ops counts{.release = [](fence& f) noexcept { ++*static_cast<int*>(f.source()); }};
  struct embedded : fence {
    embedded(fence_context& context, int& released) : fence(context, &counts, &released) {}
  };
  enum class end { before, by_signal, by_stop };
  fence_context context("counted", 1s);
  for (const end how : {end::before, end::by_signal, end::by_stop}) {
    for (const form each : forms) {
      int released = 0;
      embedded f(context, released);
      std::optional<std::stop_source> stop(std::in_place);
      int ended = 0;
      counting_post::made = counting_post::gone = 0;
      if (how == end::before) {
        f.signal();
      }
      each(fence_ptr(f), stop->get_token(), ended);
      CHECK(ended == (how == end::before ? 1 : 0));
      if (how == end::by_stop) {
        stop->request_stop();
      }
      f.signal();
      CHECK(ended == 1);
      CHECK(counting_post::made == counting_post::gone);
      CHECK(counting_post::gone_while_called == 0);
      CHECK(living_frames == 0);
      // A reference that is dropped twice takes ours along.
      CHECK(released == 0);
      f.put();
      CHECK(released == 1);
    }
  }
}

TEST_CASE("then runs a function on completion, and completes after it") {
  const fence_ptr f = make();
  std::optional<fence_outcome> seen;
  fence_ptr followed;
  bool was_signaled = true;
  followed = *then(*f, [&](const fence_outcome& outcome) noexcept {
    seen = outcome;
    was_signaled = followed->is_signaled();
  });
  CHECK_FALSE(seen.has_value());
  CHECK_FALSE(followed->is_signaled());
  SECTION("success") {
    f->signal();
    CHECK(followed->status() == wait_status::signaled);
  }
  SECTION("an error passes on") {
    f->fail(ENODEV);
    CHECK(followed->sys_errno() == ENODEV);
  }
  REQUIRE(seen.has_value());
  CHECK(seen->sys_errno == f->sys_errno());
  CHECK_FALSE(was_signaled);
}

TEST_CASE("what the function of then returns is how its fence ends") {
  const fence_ptr f = make();
  const auto ends_with = [&](result<void> answer) {
    return *then(*f, [answer](const fence_outcome&) noexcept { return answer; });
  };
  const fence_ptr good = ends_with({});
  const fence_ptr by_errno = ends_with(fail(error_from_errno(ENOSPC, "test")));
  const fence_ptr by_code = ends_with(fail(errc::no_device, "test"));
  const fence_ptr without_errno = ends_with(fail(errc::wrong_lock, "test"));
  f->fail(EIO);  // Which these functions choose to forget.
  CHECK(good->status() == wait_status::signaled);
  CHECK(by_errno->sys_errno() == ENOSPC);
  CHECK(by_code->sys_errno() == ENODEV);
  CHECK(without_errno->sys_errno() == EIO);
}

TEST_CASE("then on a complete fence runs at once") {
  const fence_ptr f = make();
  f->fail(EIO);
  int runs = 0;
  const fence_ptr followed = *then(*f, [&](const fence_outcome&) noexcept { ++runs; });
  CHECK(runs == 1);
  CHECK(followed->sys_errno() == EIO);
}

TEST_CASE("a continuation that nobody holds still runs, and is freed with its function") {
  const auto held = std::make_shared<int>(0);
  fence_ptr f = make();
  static_cast<void>(then(*f, [held](const fence_outcome& outcome) noexcept { *held = outcome.sys_errno; }));
  CHECK(held.use_count() == 2);
  SECTION("when the fence completes") {
    f->fail(EIO);
    CHECK(*held == EIO);
  }
  SECTION("when the fence is dropped") {
    f.reset();
    CHECK(*held == EDEADLK);
  }
  CHECK(held.use_count() == 1);
}

TEST_CASE("continuations follow one another in order, on constant stack") {
  constexpr int length = 100'000;
  const fence_ptr first = make();
  fence_ptr last = first;
  int runs = 0;
  bool in_order = true;
  for (int i = 0; i < length; ++i) {
    last = *then(*last, [&runs, &in_order, i](const fence_outcome&) noexcept { in_order = runs++ == i && in_order; });
  }
  first->fail(EIO);
  CHECK(runs == length);
  CHECK(in_order);
  CHECK(last->sys_errno() == EIO);
}

TEST_CASE("a coroutine awaits a continuation", "[threads]") {
  for (int round = 0; round < 500; ++round) {
    const fence_ptr f = make();
    std::atomic<int> steps{0};
    std::thread signaler([copy = f] { copy->signal(); });
    [](fence_ptr on, std::atomic<int>& count) -> task {
      static_cast<void>(co_await *then(*on, [&count](const fence_outcome&) noexcept { ++count; }));
      count += 10;
    }(f, steps);
    signaler.join();
    REQUIRE(steps == 11);
  }
}
