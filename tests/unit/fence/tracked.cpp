// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/tracked.hpp>

#include <thread>
#include <vector>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

namespace {

struct noting_callback : fence_callback {
  explicit noting_callback(std::vector<int>& into, int number) noexcept
      : fence_callback(&run), order(into), mine(number) {}
  noting_callback(const noting_callback&) = delete;
  noting_callback& operator=(const noting_callback&) = delete;
  ~noting_callback() { retire(); }
  static void run(fence_callback& node, const fence_outcome&) noexcept {
    auto& self = static_cast<noting_callback&>(node);
    self.order.push_back(self.mine);
  }
  std::vector<int>& order;
  int mine;
};

}  // namespace

TEST_CASE("recovery fails what is pending, oldest first, and counts it") {
  tracked_context context("queue", 1s);
  std::vector<int> order;
  const fence_ptr f[] = {*context.create(), *context.create(), *context.create(), *context.create()};
  CHECK(f[1]->seqno() == f[0]->seqno() + 1);
  CHECK(f[0]->context() == context.context().id());
  noting_callback first(order, 0);
  noting_callback second(order, 1);
  noting_callback fourth(order, 3);
  f[3]->add_callback(fourth);
  f[1]->add_callback(second);
  f[0]->add_callback(first);
  f[2]->signal();
  CHECK(context.fail_all(errc::timed_out) == 3);
  CHECK(order == std::vector<int>{0, 1, 3});
  CHECK(f[0]->error() == errc::timed_out);
  CHECK(f[2]->status() == wait_status::signaled);
  CHECK(context.fail_all(errc::timed_out) == 0);
}

TEST_CASE("a context that goes fails what is pending with ECANCELED") {
  fence_ptr kept;
  {
    tracked_context context("queue", 1s);
    kept = *context.create();
  }
  CHECK(kept->sys_errno() == ECANCELED);
}

TEST_CASE("a fence that the driver lost is still there for recovery") {
  tracked_context context("queue", 1s);
  counting_callback node;
  (*context.create())->add_callback(node);
  CHECK(node.runs == 0);
  CHECK(context.fail_all(errc::canceled) == 1);
  CHECK(node.seen.sys_errno == ECANCELED);
}

TEST_CASE("a context that completes in order keeps a few fences, one that hangs keeps those after it") {
  tracked_context context("queue", 1s);
  release_count freed;
  for (int i = 0; i < 100; ++i) {
    (*context.create(&release_count::ops, &freed))->signal();
  }
  CHECK(freed.freed >= 97);
  const fence_ptr hanging = *context.create();
  const int before = freed.freed;
  for (int i = 0; i < 100; ++i) {
    (*context.create(&release_count::ops, &freed))->signal();
  }
  CHECK(freed.freed <= before + 2);
  hanging->signal();
  CHECK(context.fail_all(errc::canceled) == 0);
  CHECK(freed.freed == 200);
}

TEST_CASE("a backlog of complete fences shrinks by one with each new one") {
  tracked_context context("queue", 1s);
  release_count freed;
  std::vector<fence_ptr> backlog;
  backlog.reserve(50);
  for (int i = 0; i < 50; ++i) {
    backlog.push_back(*context.create(&release_count::ops, &freed));
  }
  for (const fence_ptr& each : backlog) {
    each->signal();
  }
  backlog.clear();
  CHECK(freed.freed == 0);
  for (int i = 0; i < 30; ++i) {
    (*context.create())->signal();
  }
  CHECK(freed.freed == 50);
}

TEST_CASE("fences that callbacks make during recovery stay pending") {
  tracked_context context("queue", 1s);
  fence_ptr again;
  const fence_ptr f = *context.create();
  calling_callback node([&]() noexcept { again = *context.create(); });
  f->add_callback(node);
  CHECK(context.fail_all(errc::canceled) == 1);
  REQUIRE(again);
  CHECK_FALSE(again->is_signaled());
  CHECK(context.fail_all(errc::canceled) == 1);
}

TEST_CASE("creation, completion and recovery in several threads lose no fence", "[threads]") {
  tracked_context context("queue", 1s);
  release_count freed;
  constexpr std::size_t each = 5000;
  std::atomic<int> completed{0};
  std::atomic<int> makers{2};
  const auto maker = [&] {
    for (std::size_t i = 0; i < each; ++i) {
      const fence_ptr f = *context.create(&release_count::ops, &freed);
      if (i % 3 != 0) {
        completed += f->signal() ? 1 : 0;
      }
    }
    --makers;
  };
  std::thread first(maker);
  std::thread second(maker);
  std::size_t failed = 0;
  while (makers != 0) {
    failed += context.fail_all(errc::canceled);
  }
  first.join();
  second.join();
  failed += context.fail_all(errc::canceled);
  CHECK(failed + static_cast<std::size_t>(completed) == 2 * each);
  CHECK(freed.freed == 2 * each);
}
