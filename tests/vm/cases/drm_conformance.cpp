// SPDX-License-Identifier: BSL-1.0
// The cases of IGT's syncobj_basic, syncobj_wait, syncobj_timeline and syncobj_eventfd, as far as paddock's types can
// say them: a bad flag, pad or handle cannot be passed.
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <array>
#include <csignal>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <paddock/drm/wait.hpp>

#include "drm_support.hpp"

namespace paddock::drm {

namespace {

using namespace std::chrono_literals;
constexpr auto done = wait_status::signaled;
constexpr auto late = wait_status::timed_out;
constexpr timeline_point point(std::uint64_t value) { return timeline_point(value); }

/// Syncobjs in the states that the suites give them: U without a fence, S with a pending one, G with a signaled one.
struct set_of_syncobjs {
  /// The letters are dealt out in their order, and the last one is repeated.
  set_of_syncobjs(const device& gpu, const kernel::vgem& vgem, std::string_view states,
                  const std::vector<std::uint64_t>& points) {
    objects.reserve(points.size());
    for (std::size_t i = 0; i < points.size(); ++i) {
      objects.push_back(*syncobj::create(gpu));
      const char state = states[std::min(i, states.size() - 1)];
      if (state != 'U') {
        pending.push_back(kernel::pending_fence::make(vgem));
        const auto put = points[i] == 0 ? objects[i].import_sync_file(pending.back().file)
                                        : objects[i].import_sync_file(pending.back().file, point(points[i]));
        REQUIRE(put);
        if (state == 'G') {
          pending.back().complete();
          REQUIRE(pending.back().file.wait(deadline::in(5s)) == done);
          pending.pop_back();
        }
      }
      all.push_back({&objects[i], point(points[i])});
    }
  }
  ~set_of_syncobjs() {
    for (const kernel::pending_fence& each : pending) {
      if (each.file.wait(deadline::now()) == late) {
        each.complete();
      }
    }
  }
  set_of_syncobjs(const set_of_syncobjs&) = delete;
  set_of_syncobjs& operator=(const set_of_syncobjs&) = delete;

  std::vector<syncobj> objects;
  std::vector<kernel::pending_fence> pending;
  std::vector<syncobj_point> all;
};

/// How a wait ended, as the suites' tables have it; for ANY with the index.
std::string how(const set_of_syncobjs& set, bool for_all, const syncobj_wait_options& options, deadline until) {
  if (for_all) {
    const auto ended = wait_all(set.all, until, options);
    return !ended ? (ended.error() == errc::not_submitted ? "EINVAL" : "error") : *ended == done ? "0" : "ETIME";
  }
  const auto ended = wait_any(set.all, until, options);
  if (!ended) {
    return ended.error() == errc::not_submitted ? "EINVAL" : "error";
  }
  return ended->status == done ? "0 (" + std::to_string(ended->index) + ")" : "ETIME";
}

struct row {
  const char* id;
  bool for_all;
  bool for_submit;
  bool submitted;
  /// One a set of the table's head; empty where the suite leaves it out.
  std::array<const char*, 7> expected;
};
constexpr std::array<const char*, 7> sets{"U", "S", "US", "G", "UG", "SG", "USG"};

void check_matrix(const std::vector<row>& rows, const std::vector<std::uint64_t>& points) {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  for (std::size_t column = 0; column < sets.size(); ++column) {
    const set_of_syncobjs set(gpu, vgem, sets[column], points);
    for (const row& each : rows) {
      if (*each.expected[column] == '\0') {
        continue;
      }
      INFO(each.id << " of " << sets[column]);
      const syncobj_wait_options options{.for_submit = each.for_submit, .submitted = each.submitted};
      CHECK(how(set, each.for_all, options, deadline::now()) == each.expected[column]);
      CHECK(how(set, each.for_all, options, deadline::in(10ms)) == each.expected[column]);
    }
  }
}

}  // namespace

TEST_CASE("syncobj_basic: what is no syncobj is not imported (SB4, SB9, SB18)") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  CHECK(code_of(syncobj::import_(gpu, borrowed_fd())) == errc::bad_fd);
  CHECK(code_of(syncobj::import_(gpu, gpu.fd())) == errc::bad_fd);
  const auto work = kernel::pending_fence::make(vgem);
  CHECK(code_of(syncobj::import_(gpu, work.file.fd())) == errc::bad_fd);
  work.complete();
}

TEST_CASE("syncobj_basic: one that is created signaled is (SB11)") {
  const auto box = syncobj::create(open_gpu(), true);
  REQUIRE(box);
  CHECK(box->wait(deadline::now()) == done);
}

TEST_CASE("syncobj_basic: a driver without syncobjs says so (SB13)") {
  const device vgem = open_vgem();
  CHECK_FALSE(vgem.has(capability::syncobj));
  const auto refused = syncobj::create(vgem);
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::unsupported_by_device);
  CHECK(refused.error().sys_errno == EOPNOTSUPP);
}

TEST_CASE("syncobj_basic: an exported fence stays signaled when its syncobj is reset (SB21)") {
  const auto box = syncobj::create(open_gpu(), true);
  const auto out = box->export_sync_file();
  REQUIRE(out);
  REQUIRE(box->reset());
  CHECK(out->wait(deadline::now()) == done);
  CHECK(code_of(box->export_sync_file()) == errc::not_submitted);
}

TEST_CASE("syncobj_basic: at the descriptor limit an export fails, and changes nothing (SB22)") {
  const auto box = syncobj::create(open_gpu(), true);
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const int next = ::dup(0);
  ::close(next);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(next);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const auto opaque = box->export_();
  const auto file = box->export_sync_file();
  const auto at_point = box->export_sync_file(point(1));
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(code_of(opaque) == errc::limit_reached);
  CHECK(code_of(file) == errc::limit_reached);
  CHECK_FALSE(at_point);
  CHECK(box->export_());
  CHECK(box->export_sync_file());
}

TEST_CASE("syncobj_wait: nothing at all is waited for at once (SW2)") {
  CHECK(wait_all({}, deadline::now()) == done);
  CHECK(wait_any({}, deadline::now())->status == late);
}

TEST_CASE("syncobj_wait: reset empties a syncobj, in each of its states (SW12, SW13, SW14)") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  const set_of_syncobjs set(gpu, vgem, "UG", {0, 0, 0});
  CHECK(code_of(set.objects[0].wait(deadline::now())) == errc::not_submitted);
  CHECK(set.objects[1].wait(deadline::now()) == done);
  for (const syncobj& each : set.objects) {
    REQUIRE(each.reset());
    CHECK(code_of(each.wait(deadline::now())) == errc::not_submitted);
  }
}

TEST_CASE("syncobj_wait: signal ends waits for submission and for completion (SW15)") {
  const auto box = syncobj::create(open_gpu());
  CHECK(code_of(box->wait(deadline::now())) == errc::not_submitted);
  CHECK(box->wait_for_submit(deadline::now()) == late);
  REQUIRE(box->signal());
  CHECK(box->wait(deadline::now()) == done);
  CHECK(box->wait_for_submit(deadline::now()) == done);
}

TEST_CASE("syncobj_wait: one syncobj in each state, waited for in each way (WS)") {
  check_matrix({{"any", false, false, false, {"EINVAL", "ETIME", "", "0 (0)", "", "", ""}},
                {"all", true, false, false, {"EINVAL", "ETIME", "", "0", "", "", ""}},
                {"any for submit", false, true, false, {"ETIME", "ETIME", "", "0 (0)", "", "", ""}},
                {"all for submit", true, true, false, {"ETIME", "ETIME", "", "0", "", "", ""}}},
               {0});
}

TEST_CASE("syncobj_wait: several syncobjs in each mix of states (WM)") {
  check_matrix({{"any", false, false, false, {"EINVAL", "ETIME", "EINVAL", "0 (0)", "EINVAL", "0 (1)", "EINVAL"}},
                {"all", true, false, false, {"EINVAL", "ETIME", "EINVAL", "0", "EINVAL", "ETIME", "EINVAL"}},
                {"any for submit", false, true, false, {"ETIME", "ETIME", "ETIME", "0 (0)", "0 (1)", "0 (1)", "0 (2)"}},
                {"all for submit", true, true, false, {"ETIME", "ETIME", "ETIME", "0", "ETIME", "ETIME", "ETIME"}}},
               {0, 0, 0});
}

TEST_CASE("syncobj_timeline: one point in each state, waited for in each way (TS)") {
  check_matrix({{"any", false, false, false, {"EINVAL", "ETIME", "", "0 (0)", "", "", ""}},
                {"all", true, false, false, {"EINVAL", "ETIME", "", "0", "", "", ""}},
                {"any for submit", false, true, false, {"ETIME", "ETIME", "", "0 (0)", "", "", ""}},
                {"all for submit", true, true, false, {"ETIME", "ETIME", "", "0", "", "", ""}},
                {"any submitted", false, false, true, {"ETIME", "0 (0)", "", "0 (0)", "", "", ""}},
                {"all submitted", true, false, true, {"ETIME", "0", "", "0", "", "", ""}},
                {"any submitted, for submit", false, true, true, {"ETIME", "0 (0)", "", "0 (0)", "", "", ""}},
                {"all submitted, for submit", true, true, true, {"ETIME", "0", "", "0", "", "", ""}}},
               {1});
}

TEST_CASE("syncobj_timeline: points and binary ones in each mix of states (TM)") {
  std::mt19937_64 random(1);
  const auto some = [&] { return 1 + random() % 1000; };
  check_matrix({{"any", false, false, false, {"EINVAL", "ETIME", "EINVAL", "0 (0)", "EINVAL", "0 (1)", "EINVAL"}},
                {"all", true, false, false, {"EINVAL", "ETIME", "EINVAL", "0", "EINVAL", "ETIME", "EINVAL"}},
                {"any for submit", false, true, false, {"ETIME", "ETIME", "ETIME", "0 (0)", "0 (1)", "0 (1)", "0 (2)"}},
                {"all for submit", true, true, false, {"ETIME", "ETIME", "ETIME", "0", "ETIME", "ETIME", "ETIME"}},
                {"any submitted", false, false, true, {"ETIME", "0 (0)", "0 (1)", "0 (0)", "0 (1)", "0 (0)", "0 (1)"}},
                {"all submitted", true, false, true, {"ETIME", "0", "ETIME", "0", "ETIME", "0", "ETIME"}},
                {"any submitted, for submit",
                 false,
                 true,
                 true,
                 {"ETIME", "0 (0)", "0 (1)", "0 (0)", "0 (1)", "0 (0)", "0 (1)"}},
                {"all submitted, for submit", true, true, true, {"ETIME", "0", "ETIME", "0", "ETIME", "0", "ETIME"}}},
               {some(), 0, some(), some(), 0});
}

TEST_CASE("syncobj_wait, syncobj_timeline: work that completes meanwhile ends the wait (SW16, SW18, ST29, ST30)") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  for (const std::uint64_t at : {0, 1}) {
    for (const bool for_all : {false, true}) {
      const set_of_syncobjs set(gpu, vgem, "S", {at});
      std::thread other([&] {
        std::this_thread::sleep_for(100ms);
        set.pending[0].complete();
      });
      CHECK(how(set, for_all, {}, deadline::in(5s)) == (for_all ? "0" : "0 (0)"));
      other.join();
    }
  }
}

TEST_CASE("syncobj_wait, syncobj_timeline: work that is submitted meanwhile ends the wait (SW17, SW19, ST31, ST32)") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  for (const std::uint64_t at : {0, 1}) {
    for (const bool for_all : {false, true}) {
      const set_of_syncobjs set(gpu, vgem, "U", {at});
      std::thread other([&] {
        std::this_thread::sleep_for(100ms);
        CHECK((at == 0 ? set.objects[0].signal() : set.objects[0].signal(point(at))));
      });
      CHECK(how(set, for_all, {.for_submit = true}, deadline::in(5s)) == (for_all ? "0" : "0 (0)"));
      other.join();
    }
  }
}

TEST_CASE(
    "syncobj_wait, syncobj_timeline: signals that arrive do not end a wait, nor make it longer (SW29, SW30, ST41)") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  struct sigaction quiet {};
  struct sigaction before {};
  quiet.sa_handler = [](int) {};
  REQUIRE(::sigaction(SIGALRM, &quiet, &before) == 0);
  for (const std::uint64_t at : {0, 1}) {
    for (const bool for_all : {false, true}) {
      const set_of_syncobjs set(gpu, vgem, "S", {at});
      const itimerval often{{0, 10'000}, {0, 10'000}};
      REQUIRE(::setitimer(ITIMER_REAL, &often, nullptr) == 0);
      const auto begin = monotonic_clock::now();
      const std::string ended = how(set, for_all, {}, deadline::in(100ms));
      const auto took = monotonic_clock::now() - begin;
      const itimerval never{};
      REQUIRE(::setitimer(ITIMER_REAL, &never, nullptr) == 0);
      CHECK(ended == "ETIME");
      CHECK(took >= 100ms);
      CHECK(took < 2s);
    }
  }
  REQUIRE(::sigaction(SIGALRM, &before, nullptr) == 0);
}

TEST_CASE("syncobj_wait: the same syncobj may stand there twice (SW35)") {
  const auto box = syncobj::create(open_gpu(), true);
  const std::vector<syncobj_point> twice{{&*box, point(0)}, {&*box, point(0)}};
  CHECK(wait_all(twice, deadline::now()) == done);
  CHECK(wait_any(twice, deadline::now())->index == 0);
}

TEST_CASE("syncobj_timeline: a point of a higher one stands for those that were left out (ST16)") {
  const auto line = syncobj::create(open_gpu());
  REQUIRE(line->signal(point(63)));
  REQUIRE(line->transfer(point(63), *line, point(74)));
  CHECK(line->signaled() == point(74));
}

TEST_CASE("syncobj_timeline: signal ends waits for a point (ST18)") {
  const auto line = syncobj::create(open_gpu());
  CHECK(code_of(line->wait(point(1), deadline::now())) == errc::not_submitted);
  CHECK(line->wait_for_submit(point(1), deadline::now()) == late);
  REQUIRE(line->signal(point(1)));
  CHECK(line->wait(point(1), deadline::now()) == done);
  CHECK(line->wait_for_submit(point(1), deadline::now()) == done);
}

TEST_CASE("syncobj_timeline: what the host signals is what a query says (ST20)") {
  const auto line = syncobj::create(open_gpu());
  std::mt19937_64 random(1);
  std::uint64_t value = 0;
  for (int i = 0; i < 100; ++i) {
    value += 1 + random() % 1000;
    REQUIRE(line->signal(point(value)));
    CHECK(line->signaled() == point(value));
    CHECK(line->wait_for_submit(point(value), deadline::now()) == done);
    const syncobj_point before{&*line, point(value - 1)};
    CHECK(wait_all({&before, 1}, deadline::now()) == done);
  }
}

TEST_CASE("syncobj_timeline: reset takes all points (ST25, ST26, ST27)") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  const set_of_syncobjs set(gpu, vgem, "UG", {1, 1, 1});
  for (const syncobj& each : set.objects) {
    REQUIRE(each.reset());
    CHECK(code_of(each.wait(point(1), deadline::now())) == errc::not_submitted);
    CHECK(each.submitted() == point(0));
  }
}

TEST_CASE("syncobj_eventfd: events come when a point is submitted, and when it is signaled (SE5, SE6, SE9, SE10)") {
  const device gpu = open_gpu();
  const kernel::vgem vgem;
  const auto is_told = [](borrowed_fd event) {
    std::uint64_t count = 0;
    return ::read(event.get(), &count, sizeof count) == sizeof count;
  };
  for (const std::uint64_t at : {0, 1}) {
    const set_of_syncobjs set(gpu, vgem, "S", {at});
    const unique_fd submitted = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    const unique_fd signaled = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    REQUIRE(set.objects[0].notify(submitted, point(at), point_stage::submitted));
    REQUIRE(set.objects[0].notify(signaled, point(at)));
    CHECK(is_told(submitted));
    CHECK_FALSE(is_told(signaled));
    set.pending[0].complete();
    CHECK(set.objects[0].wait(point(at), deadline::in(5s)) == done);
    CHECK(is_told(signaled));
    REQUIRE(set.objects[0].notify(submitted, point(at), point_stage::submitted));
    REQUIRE(set.objects[0].notify(signaled, point(at)));
    CHECK(is_told(submitted));
    CHECK(is_told(signaled));
  }
}

TEST_CASE("syncobj_eventfd: what is no eventfd is refused; one that is closed early harms nobody (SE3, SE16)") {
  const device gpu = open_gpu();
  const auto line = syncobj::create(gpu);
  const unique_fd null = unique_fd::adopt(::open("/dev/null", O_RDWR | O_CLOEXEC));
  CHECK(code_of(line->notify(null, point(1))) == errc::bad_fd);
  CHECK(code_of(line->notify(borrowed_fd(), point(1))) == errc::bad_fd);
  {
    const unique_fd event = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    REQUIRE(line->notify(event, point(1)));
  }
  CHECK(line->signal(point(1)));
}

}  // namespace paddock::drm
