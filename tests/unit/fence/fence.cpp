// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/fence.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <paddock/fence/context.hpp>

#include "catch.hpp"

using namespace paddock;
using namespace std::chrono_literals;

namespace {

fence_ptr make(const fence_ops* ops = nullptr, void* source = nullptr) {
  static fence_context context("test", 1s);
  return std::move(*context.create(ops, source));
}

struct counting_callback : fence_callback {
  counting_callback() : fence_callback(&run) {}
  static void run(fence_callback& node, const fence_outcome& outcome) noexcept {
    auto& self = static_cast<counting_callback&>(node);
    ++self.runs;
    self.seen_errno = outcome.sys_errno;
    self.seen_time = outcome.timestamp;
  }
  std::atomic<int> runs{0};
  int seen_errno{0};
  monotonic_clock::time_point seen_time{};
};

}  // namespace

TEST_CASE("a fence is pending, then signaled once and for all") {
  const fence_ptr f = make();
  CHECK_FALSE(f->is_signaled());
  CHECK(f->status() == wait_status::timed_out);
  const auto before = monotonic_clock::now();
  CHECK(f->signal());
  CHECK_FALSE(f->signal());
  CHECK_FALSE(f->fail(EIO));
  CHECK(f->status() == wait_status::signaled);
  CHECK(f->sys_errno() == 0);
  CHECK(f->timestamp() >= before);
}

TEST_CASE("the error of a failed fence is the one that completed it") {
  const fence_ptr f = make();
  CHECK(f->sys_errno() == 0);
  CHECK(f->fail(EIO));
  CHECK_FALSE(f->signal());
  CHECK(f->status() == wait_status::failed);
  CHECK(f->error() == errc::io);
}

TEST_CASE("a callback runs once, and one that comes too late never") {
  const fence_ptr f = make();
  counting_callback early;
  counting_callback late;
  CHECK(f->add_callback(early) == add_outcome::added);
  CHECK(early.runs == 0);
  f->fail(ECANCELED);
  CHECK(early.runs == 1);
  CHECK(early.seen_errno == ECANCELED);
  CHECK(early.seen_time == f->timestamp());
  CHECK(f->add_callback(late) == add_outcome::already_signaled);
  CHECK(late.runs == 0);
  CHECK(f->remove_callback(early) == remove_outcome::ran);
}

TEST_CASE("a removed callback does not run") {
  const fence_ptr f = make();
  counting_callback first;
  counting_callback second;
  f->add_callback(first);
  f->add_callback(second);
  CHECK(f->remove_callback(first) == remove_outcome::removed);
  f->signal();
  CHECK(first.runs == 0);
  CHECK(second.runs == 1);
}

TEST_CASE("destroying a queued callback removes it") {
  const fence_ptr f = make();
  {
    counting_callback gone;
    f->add_callback(gone);
  }
  CHECK(f->signal());
}

TEST_CASE("the last put of a pending fence fails it with EDEADLK and runs its callbacks") {
  counting_callback node;
  fence_ptr f = make();
  f->add_callback(node);
  f.reset();
  CHECK(node.runs == 1);
  CHECK(node.seen_errno == EDEADLK);
}

TEST_CASE("a callback may drop the last reference, and destroy its own node") {
  struct owner : fence_callback {
    owner() : fence_callback(&run) {}
    static void run(fence_callback& node, const fence_outcome&) noexcept { delete &static_cast<owner&>(node); }
    fence_ptr held;
  };
  auto* node = new owner;
  node->held = make();
  fence& f = *node->held;
  f.add_callback(*node);
  f.signal();
}

TEST_CASE("asked from inside, remove says that the callback runs here") {
  struct asking : fence_callback {
    asking() : fence_callback(&run) {}
    static void run(fence_callback& node, const fence_outcome&) noexcept {
      auto& self = static_cast<asking&>(node);
      self.answer = self.on->remove_callback(node);
    }
    fence_ptr on = make();
    std::optional<remove_outcome> answer;
  };
  asking node;
  node.on->add_callback(node);
  node.on->signal();
  CHECK(node.answer == remove_outcome::running_here);
}

TEST_CASE("a callback may queue its node on another fence") {
  struct hopping : fence_callback {
    hopping() : fence_callback(&run) {}
    static void run(fence_callback& node, const fence_outcome&) noexcept {
      auto& self = static_cast<hopping&>(node);
      if (++self.runs == 1) {
        self.next->add_callback(node);
      }
    }
    fence_ptr next = make();
    int runs{0};
  };
  const fence_ptr f = make();
  hopping node;
  f->add_callback(node);
  f->signal();
  CHECK(node.runs == 1);
  node.next->signal();
  CHECK(node.runs == 2);
}

TEST_CASE("a node that its callback queues elsewhere is removed from there when it is destroyed", "[threads]") {
  struct hopping : fence_callback {
    hopping() : fence_callback(&run) {}
    ~hopping() { retire(); }
    static void run(fence_callback& node, const fence_outcome&) noexcept {
      auto& self = static_cast<hopping&>(node);
      self.begun = true;
      std::this_thread::sleep_for(5ms);
      self.next->add_callback(node);
    }
    fence_ptr next;
    std::atomic<bool> begun{false};
  };
  const fence_ptr first = make();
  const fence_ptr second = make();
  std::thread signaler;
  {
    hopping node;
    node.next = second;
    first->add_callback(node);
    signaler = std::thread([&] { first->signal(); });
    while (!node.begun) {
      std::this_thread::yield();
    }
  }
  signaler.join();
  CHECK(second->signal());
}

TEST_CASE("an embedded fence is its owner's to free") {
  struct job {
    explicit job(fence_context& context) : done(context) {}
    struct embedded : fence {
      explicit embedded(fence_context& context) : fence(context) {}
    } done;
  };
  fence_context context("jobs", 1s);
  job work(context);
  CHECK(work.done.seqno() + 1 == context.next_seqno());
  work.done.signal();
  work.done.put();
  CHECK(work.done.is_signaled());
}

TEST_CASE("fail takes a code or an errno, and never means success") {
  const fence_ptr by_code = make();
  by_code->fail(errc::no_device);
  CHECK(by_code->sys_errno() == ENODEV);
  const fence_ptr without_errno = make();
  without_errno->fail(errc::wrong_lock);
  CHECK(without_errno->sys_errno() == EIO);
  const fence_ptr zero = make();
  zero->fail(0);
  CHECK(zero->status() == wait_status::failed);
}

TEST_CASE("a chain of completions takes constant stack") {
  struct link : fence_callback {
    link() : fence_callback(&run) {}
    static void run(fence_callback& node, const fence_outcome&) noexcept { static_cast<link&>(node).next->signal(); }
    fence_ptr next;
  };
  constexpr std::size_t length = 100'000;
  const auto links = std::make_unique<link[]>(length);
  const fence_ptr head = make();
  fence_ptr tail = head;
  for (std::size_t i = 0; i < length; ++i) {
    links[i].next = make();
    tail->add_callback(links[i]);
    tail = links[i].next;
  }
  head->signal();
  CHECK(tail->is_signaled());
}

TEST_CASE("signaling is enabled once, before the first callback, and may find the work done") {
  struct source {
    int enabled{0};
    bool pending{true};
  };
  static constexpr fence_ops ops{.enable_signaling = [](fence& f) noexcept {
    auto& self = *static_cast<source*>(f.source());
    ++self.enabled;
    return self.pending;
  }};
  source live;
  const fence_ptr f = make(&ops, &live);
  counting_callback first;
  counting_callback second;
  f->add_callback(first);
  f->add_callback(second);
  CHECK(live.enabled == 1);
  f->signal();

  source done{0, false};
  const fence_ptr g = make(&ops, &done);
  counting_callback late;
  CHECK(g->add_callback(late) == add_outcome::already_signaled);
  CHECK(g->is_signaled());
}

TEST_CASE("poll asks the source, is_signaled does not") {
  static constexpr fence_ops ops{.poll = [](fence& f) noexcept { return ++*static_cast<int*>(f.source()) > 1; }};
  int asked = 0;
  const fence_ptr f = make(&ops, &asked);
  CHECK_FALSE(f->is_signaled());
  CHECK(asked == 0);
  CHECK_FALSE(f->poll());
  CHECK(f->poll());
  CHECK(f->poll());
  CHECK(asked == 2);
}

TEST_CASE("the earliest deadline is passed on") {
  static constexpr fence_ops ops{.set_deadline = [](fence& f, deadline wish) noexcept {
    static_cast<std::vector<deadline>*>(f.source())->push_back(wish);
  }};
  std::vector<deadline> wishes;
  const fence_ptr f = make(&ops, &wishes);
  const deadline soon = deadline::in(1s);
  const deadline later = deadline::in(2s);
  f->set_deadline(later);
  f->set_deadline(soon);
  f->set_deadline(later);
  CHECK(wishes == std::vector<deadline>{later, soon});
}

TEST_CASE("contexts have ids of their own, and their fences ascend") {
  fence_context a("a", 1s);
  fence_context b("b", 1s);
  CHECK(a.id() != b.id());
  const fence_ptr first = *a.create();
  const fence_ptr second = *a.create();
  CHECK(first->context() == a.id());
  CHECK(second->seqno() == first->seqno() + 1);
}

TEST_CASE("fail_all completes what is pending and counts it") {
  std::vector<fence_ptr> ring{make(), make(), make()};
  ring[1]->signal();
  CHECK(fence_context::fail_all(ring, errc::canceled) == 2);
  CHECK(ring[0]->error() == errc::canceled);
  CHECK(ring[1]->status() == wait_status::signaled);
}

TEST_CASE("signal against add, remove and drop from other threads", "[threads]") {
  for (int round = 0; round < 2000; ++round) {
    fence_ptr f = make();
    counting_callback kept;
    counting_callback removed;
    const bool kept_added = f->add_callback(kept) == add_outcome::added;
    f->add_callback(removed);
    std::thread signaler([copy = f]() mutable {
      copy->signal();
      copy.reset();
    });
    std::thread remover([&, copy = f] {
      const remove_outcome outcome = copy->remove_callback(removed);
      const int runs = removed.runs;
      if ((outcome == remove_outcome::removed) == (runs != 0)) {
        std::abort();
      }
    });
    counting_callback late;
    const bool late_added = f->add_callback(late) == add_outcome::added;
    signaler.join();
    remover.join();
    CHECK(kept.runs == (kept_added ? 1 : 0));
    CHECK(late.runs == (late_added ? 1 : 0));
  }
}
