// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/fence.hpp>

#include <array>
#include <atomic>
#include <barrier>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <paddock/fence/context.hpp>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

namespace {

fence_ptr make(const fence_ops* ops = nullptr, void* source = nullptr) {
  static fence_context context("test", 1s);
  return std::move(*context.create(ops, source));
}

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
  CHECK(early.seen.sys_errno == ECANCELED);
  CHECK(early.seen.timestamp == f->timestamp());
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
  CHECK(node.seen.sys_errno == EDEADLK);
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

TEST_CASE("callbacks run in the order in which they were added") {
  const fence_ptr f = make();
  std::vector<int> order;
  const auto note = [&](int number) { return [&order, number]() noexcept { order.push_back(number); }; };
  calling_callback first(note(1));
  calling_callback second(note(2));
  calling_callback third(note(3));
  calling_callback fourth(note(4));
  f->add_callback(first);
  f->add_callback(second);
  f->add_callback(third);
  f->remove_callback(second);
  f->add_callback(fourth);
  f->add_callback(second);
  f->signal();
  CHECK(order == std::vector<int>{1, 3, 4, 2});
}

TEST_CASE("any of many callbacks is removed, in any order") {
  random_numbers random;
  for (const std::size_t count : {1U, 2U, 3U, 50U}) {
    const fence_ptr f = make();
    std::vector<counting_callback> nodes(count);
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < count; ++i) {
      f->add_callback(nodes[i]);
      order.push_back(i);
    }
    random.shuffle(order);
    std::vector<int> expected(count, 1);
    for (std::size_t i = 0; i < count / 2 + 1; ++i) {
      CHECK(f->remove_callback(nodes[order[i]]) == remove_outcome::removed);
      CHECK(f->remove_callback(nodes[order[i]]) == remove_outcome::ran);
      CHECK_FALSE(f->try_remove_callback(nodes[order[i]]));
      expected[order[i]] = 0;
      if (i % 3 == 0) {
        f->add_callback(nodes[order[i]]);
        expected[order[i]] = 1;
      }
    }
    f->signal();
    for (std::size_t i = 0; i < count; ++i) {
      CHECK(nodes[i].runs == expected[i]);
    }
  }
}

TEST_CASE("a callback removes any later one of the same fence") {
  constexpr std::size_t count = 5;
  for (unsigned removed = 0; removed < (1U << count); ++removed) {
    const fence_ptr f = make();
    std::vector<counting_callback> nodes(count);
    bool right = true;
    calling_callback remover([&]() noexcept {
      for (std::size_t i = 0; i < count; ++i) {
        if ((removed >> i & 1U) != 0) {
          right = right && f->remove_callback(nodes[i]) == remove_outcome::removed;
          right = right && f->remove_callback(nodes[i]) == remove_outcome::ran;
        }
      }
    });
    f->add_callback(remover);
    for (counting_callback& each : nodes) {
      f->add_callback(each);
    }
    f->signal();
    CHECK(right);
    for (std::size_t i = 0; i < count; ++i) {
      CHECK(nodes[i].runs == ((removed >> i & 1U) != 0 ? 0 : 1));
    }
  }
}

TEST_CASE("a callback removes or destroys any callback of a fence that it signaled") {
  constexpr std::size_t count = 4;
  for (unsigned removed = 0; removed < (1U << count); ++removed) {
    for (const bool destroys : {false, true}) {
      for (const bool others_follow : {false, true}) {
        const fence_ptr f = make();
        const fence_ptr inner = make();
        const fence_ptr last = make();
        std::vector<std::optional<counting_callback>> nodes(count);
        int runs = 0;
        counting_callback after;
        counting_callback same_fence;
        calling_callback remover([&]() noexcept {
          inner->signal();
          if (others_follow) {
            last->fail(ENODEV);
          }
          for (std::size_t i = 0; i < count; ++i) {
            runs += nodes[i]->runs;
            if ((removed >> i & 1U) != 0) {
              destroys ? nodes[i].reset() : static_cast<void>(inner->remove_callback(*nodes[i]));
            }
          }
        });
        f->add_callback(remover);
        f->add_callback(same_fence);
        for (auto& each : nodes) {
          each.emplace();
          inner->add_callback(*each);
        }
        last->add_callback(after);
        f->fail(EIO);
        CHECK(runs == 0);  // Nothing ran inside the callback.
        CHECK(same_fence.seen.sys_errno == EIO);
        for (std::size_t i = 0; i < count; ++i) {
          if ((removed >> i & 1U) == 0) {
            CHECK(nodes[i]->runs == 1);
            CHECK(nodes[i]->seen.sys_errno == 0);
          } else if (!destroys) {
            CHECK(nodes[i]->runs == 0);
          }
        }
        CHECK(after.runs == (others_follow ? 1 : 0));
        CHECK(after.seen.sys_errno == (others_follow ? ENODEV : 0));
      }
    }
  }
}

TEST_CASE("after its last callbacks were taken out, a run goes on with what is signaled next") {
  // The end of the run has to be right whichever node was the last one.
  const fence_ptr f = make();
  const fence_ptr second = make();
  const fence_ptr third = make();
  counting_callback of_second;
  counting_callback of_third;
  calling_callback outer([&]() noexcept {
    second->signal();
    second->remove_callback(of_second);
    third->fail(ENODEV);
  });
  f->add_callback(outer);
  second->add_callback(of_second);
  third->add_callback(of_third);
  f->signal();
  CHECK(of_second.runs == 0);
  CHECK(of_third.runs == 1);
  CHECK(of_third.seen.sys_errno == ENODEV);
}

TEST_CASE("a callback that leaves its run removes others from it, and more are put behind it") {
  constexpr std::size_t count = 4;
  enum class way { destroyed, queued_elsewhere };
  enum class more { none, before_it_leaves, after_it_left };
  for (std::size_t leaver = 0; leaver < count; ++leaver) {
    for (unsigned removed = 0; removed < (1U << count); ++removed) {
      for (const way leaves : {way::destroyed, way::queued_elsewhere}) {
        for (const more signaled : {more::none, more::before_it_leaves, more::after_it_left}) {
          const fence_ptr f = make();
          const fence_ptr elsewhere = make();
          const fence_ptr next = make();
          std::vector<std::unique_ptr<counting_callback>> nodes(count);
          std::array<counting_callback, 2> behind;
          std::vector<remove_outcome> answers(count, remove_outcome::running_here);
          int runs_of_leaver = 0;
          struct leaving : fence_callback {
            explicit leaving(std::function<void(leaving*)> what) : fence_callback(&run), act(std::move(what)) {}
            ~leaving() { retire(); }
            static void run(fence_callback& node, const fence_outcome&) noexcept {
              const auto act = static_cast<leaving&>(node).act;  // The node may go while it acts.
              act(&static_cast<leaving&>(node));
            }
            std::function<void(leaving*)> act;
          };
          std::unique_ptr<leaving> self;
          self = std::make_unique<leaving>([&](leaving*) {
            if (++runs_of_leaver > 1) {
              return;
            }
            if (signaled == more::before_it_leaves) {
              next->fail(ENODEV);
            }
            if (leaves == way::destroyed) {
              self.reset();
            } else {
              elsewhere->add_callback(*self);
            }
            if (signaled == more::after_it_left) {
              next->fail(ENODEV);
            }
            for (std::size_t i = 0; i < count; ++i) {
              if (i != leaver && (removed >> i & 1U) != 0) {
                answers[i] = f->remove_callback(*nodes[i]);
                nodes[i].reset();
              }
            }
          });
          for (std::size_t i = 0; i < count; ++i) {
            nodes[i] = std::make_unique<counting_callback>();
            i == leaver ? f->add_callback(*self) : f->add_callback(*nodes[i]);
          }
          for (counting_callback& each : behind) {
            next->add_callback(each);
          }
          f->fail(EIO);
          for (std::size_t i = 0; i < count; ++i) {
            if (i != leaver && (removed >> i & 1U) != 0) {
              CHECK(answers[i] == (i < leaver ? remove_outcome::ran : remove_outcome::removed));
            } else if (i != leaver) {
              CHECK(nodes[i]->runs == 1);
              CHECK(nodes[i]->seen.sys_errno == EIO);
            }
          }
          for (const counting_callback& each : behind) {
            CHECK(each.runs == (signaled == more::none ? 0 : 1));
            CHECK(each.seen.sys_errno == (signaled == more::none ? 0 : ENODEV));
          }
          CHECK(runs_of_leaver == 1);
          elsewhere->signal();
          CHECK(runs_of_leaver == (leaves == way::destroyed ? 1 : 2));
        }
      }
    }
  }
}

TEST_CASE("a callback destroys the node of another fence, pending or complete") {
  const fence_ptr f = make();
  const fence_ptr other = make();
  std::optional<counting_callback> pending;
  std::optional<counting_callback> kept;
  pending.emplace();
  kept.emplace();
  calling_callback destroyer([&]() noexcept { pending.reset(); });
  other->add_callback(*pending);
  other->add_callback(*kept);
  f->add_callback(destroyer);
  f->signal();
  CHECK_FALSE(pending);
  other->signal();
  CHECK(kept->runs == 1);
}

TEST_CASE("a callback that removes a later one queues it again elsewhere") {
  const fence_ptr f = make();
  const fence_ptr other = make();
  counting_callback moved;
  calling_callback mover([&]() noexcept {
    if (f->remove_callback(moved) == remove_outcome::removed) {
      other->add_callback(moved);
    }
  });
  f->add_callback(mover);
  f->add_callback(moved);
  f->fail(EIO);
  CHECK(moved.runs == 0);
  other->signal();
  CHECK(moved.runs == 1);
  CHECK(moved.seen.sys_errno == 0);
}

TEST_CASE("a callback that cannot be queued elsewhere stays where it runs") {
  const fence_ptr f = make();
  const fence_ptr done = make();
  done->signal();
  std::optional<add_outcome> answer;
  std::optional<remove_outcome> here;
  struct trying : fence_callback {
    trying() noexcept : fence_callback(&run) {}
    static void run(fence_callback& node, const fence_outcome&) noexcept { static_cast<trying&>(node).act(node); }
    std::function<void(fence_callback&)> act;
  } node;
  node.act = [&](fence_callback& self) {
    answer = done->add_callback(self);
    here = f->remove_callback(self);
  };
  f->add_callback(node);
  f->signal();
  CHECK(answer == add_outcome::already_signaled);
  CHECK(here == remove_outcome::running_here);
  CHECK(f->remove_callback(node) == remove_outcome::ran);
}

TEST_CASE("signal inside a callback publishes at once and runs its callbacks afterwards") {
  const fence_ptr f = make();
  const fence_ptr inner = make();
  counting_callback of_inner;
  bool published = false;
  int ran_inside = -1;
  calling_callback node([&]() noexcept {
    inner->signal();
    published = inner->is_signaled();
    ran_inside = of_inner.runs;
  });
  inner->add_callback(of_inner);
  f->add_callback(node);
  f->signal();
  CHECK(published);
  CHECK(ran_inside == 0);
  CHECK(of_inner.runs == 1);
}

TEST_CASE("trying to remove never waits for a callback that runs", "[threads]") {
  const fence_ptr f = make();
  std::atomic<bool> inside{false};
  std::atomic<bool> go_on{false};
  calling_callback node([&]() noexcept {
    inside = true;
    while (!go_on) {
      std::this_thread::yield();
    }
  });
  f->add_callback(node);
  std::thread signaler([&] { f->signal(); });
  while (!inside) {
    std::this_thread::yield();
  }
  CHECK_FALSE(f->try_remove_callback(node));
  go_on = true;
  CHECK(f->remove_callback(node) == remove_outcome::ran);
  signaler.join();
}

TEST_CASE("removal in one thread waits for a callback that runs in another", "[threads]") {
  const fence_ptr f = make();
  std::atomic<bool> inside{false};
  std::atomic<bool> finished{false};
  calling_callback node([&]() noexcept {
    inside = true;
    std::this_thread::sleep_for(20ms);
    finished = true;
  });
  f->add_callback(node);
  std::thread signaler([&] { f->signal(); });
  while (!inside) {
    std::this_thread::yield();
  }
  CHECK(f->remove_callback(node) == remove_outcome::ran);
  CHECK(finished);
  signaler.join();
}

TEST_CASE("numbers of 64 bits compare as numbers, those of 32 bits around their wrap") {
  fence_context wide("wide", 1s);
  fence_context narrow("narrow", 1s, fence_context::seqno_order::wraps_at_32_bits);
  const auto later = [](fence_context& of, std::uint64_t a, std::uint64_t b) {
    return (*of.create(fence_seqno(a)))->is_later_than(**of.create(fence_seqno(b)));
  };
  CHECK(later(wide, 2, 1));
  CHECK_FALSE(later(wide, 1, 1));
  CHECK(later(wide, UINT64_C(1) << 32U, 0xffff'ffff));
  CHECK_FALSE(later(wide, 0, UINT64_MAX));

  CHECK(later(narrow, 2, 1));
  CHECK_FALSE(later(narrow, 1, 1));
  CHECK(later(narrow, 0, 0xffff'ffff));
  CHECK(later(narrow, 2, 0xffff'fffe));
  CHECK_FALSE(later(narrow, 0xffff'fffe, 2));
  CHECK(later(narrow, 0x7fff'ffff, 0));
  // At a distance of 2^31 nobody is later.
  CHECK_FALSE(later(narrow, 0x8000'0000, 0));
  CHECK_FALSE(later(narrow, 0, 0x8000'0000));
}

TEST_CASE("a fence_ptr counts references, and gives and takes them") {
  release_count freed;
  fence_ptr f = freed.make();
  fence_ptr copy = f;
  CHECK(copy == f);
  fence_ptr moved = std::move(copy);
  CHECK_FALSE(copy);  // NOLINT(bugprone-use-after-move): what a moved-from one is, is the test.
  const fence_ptr& same = moved;
  moved = same;
  CHECK(moved == f);
  fence* const raw = moved.release();
  f.reset();
  f.reset();
  CHECK(freed.freed == 0);
  { const fence_ptr last = fence_ptr::adopt(raw); }
  CHECK(freed.freed == 1);
}

TEST_CASE("callbacks of an abandoned fence may take references of it") {
  release_count freed;
  fence_ptr f = freed.make();
  fence& raw = *f;
  std::vector<int> seen;
  calling_callback node([&]() noexcept {
    const fence_ptr again(raw);
    seen.push_back(again->sys_errno());
  });
  f->add_callback(node);
  f.reset();
  CHECK(seen == std::vector<int>{EDEADLK});
  CHECK(freed.freed == 1);
}

TEST_CASE("callbacks come and go in many threads until the fence is complete", "[threads]") {
  constexpr int rounds = 300;
  constexpr std::size_t threads = 4;
  fence_ptr f;
  std::atomic<int> wrong{0};
  std::barrier ready(static_cast<std::ptrdiff_t>(threads) + 1);
  std::vector<std::thread> adders;
  for (std::size_t t = 0; t < threads; ++t) {
    adders.emplace_back([&, t] {
      for (int round = 0; round < rounds; ++round) {
        ready.arrive_and_wait();
        std::vector<counting_callback> nodes(8);
        std::vector<int> due(nodes.size(), 0);
        for (std::size_t i = 0; i < 40; ++i) {
          const std::size_t at = (i * 5 + t) % nodes.size();
          if (due[at] == 0 && f->add_callback(nodes[at]) == add_outcome::added) {
            due[at] = 1;
          } else if (due[at] == 1 && i % 3 != 0) {
            const remove_outcome outcome = f->remove_callback(nodes[at]);
            wrong += (outcome == remove_outcome::removed) == (nodes[at].runs == 0) ? 0 : 1;
            due[at] = outcome == remove_outcome::removed ? 0 : 2;
          }
        }
        ready.arrive_and_wait();
        // signal() has returned: who was added has run, who was removed has not.
        for (std::size_t i = 0; i < nodes.size(); ++i) {
          wrong += nodes[i].runs == (due[i] != 0 ? 1 : 0) ? 0 : 1;
        }
      }
    });
  }
  for (int round = 0; round < rounds; ++round) {
    f = make();
    ready.arrive_and_wait();
    f->signal();
    ready.arrive_and_wait();
  }
  for (std::thread& adder : adders) {
    adder.join();
  }
  CHECK(wrong == 0);
}
