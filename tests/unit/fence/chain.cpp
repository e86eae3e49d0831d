// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/chain.hpp>

#include <atomic>
#include <barrier>
#include <thread>
#include <utility>
#include <vector>

#include <paddock/fence/array.hpp>
#include <paddock/fence/merge.hpp>
#include <paddock/fence/wait.hpp>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

namespace {

fence_ptr link(fence_ptr previous, fence_ptr contained, std::uint64_t point) {
  return std::move(*fence_chain::create(std::move(previous), std::move(contained), point));
}

}  // namespace

TEST_CASE("a link is complete when its own fence is, and all before it") {
  const auto leaves = make_fences(3);
  const fence_ptr first = link({}, leaves[0], 1);
  const fence_ptr second = link(first, leaves[1], 2);
  const fence_ptr third = link(second, leaves[2], 3);
  counting_callback node;
  third->add_callback(node);
  second->enable_signaling();
  leaves[2]->signal();
  leaves[1]->signal();
  CHECK(node.runs == 0);
  CHECK_FALSE(second->is_signaled());
  leaves[0]->signal();
  CHECK(node.runs == 1);
  CHECK(second->is_signaled());
  CHECK(third->is_signaled());
  CHECK_FALSE(first->is_signaled());  // Nobody was interested in it.
  CHECK(first->poll());
}

TEST_CASE("a chain may begin with a fence that is no chain") {
  for (const bool complete : {false, true}) {
    const fence_ptr begin = make_fence();
    const fence_ptr leaf = make_fence();
    const fence_ptr only = link(begin, leaf, 1);
    if (complete) {
      begin->signal();
    }
    only->enable_signaling();
    leaf->signal();
    CHECK(only->is_signaled() == complete);
    begin->signal();
    CHECK(only->is_signaled());
  }
}

TEST_CASE("the error of a fence stays with it and does not pass into the links") {
  const fence_ptr leaf = make_fence();
  const fence_ptr only = link({}, leaf, 1);
  only->enable_signaling();
  leaf->fail(EIO);
  CHECK(only->status() == wait_status::signaled);
  int seen = 0;
  for_each_leaf(only, [&](fence& each) { seen = each.sys_errno(); });
  CHECK(seen == EIO);
}

TEST_CASE("the fence of a link is there, and no chain") {
  CHECK(fence_chain::create({}, {}, 1).error() == errc::invalid_argument);
  CHECK(fence_chain::create({}, link({}, make_fence(), 1), 2).error() == errc::invalid_argument);
  const fence_ptr member = make_fence();
  CHECK(fence_chain::create({}, *fence_array::create(std::span(&member, 1)), 1).has_value());
}

TEST_CASE("a point that is not above the one before begins a context of its own, and is raised to that") {
  const auto leaves = make_fences(4);
  const fence_ptr first = link({}, leaves[0], 5);
  const fence_ptr second = link(first, leaves[1], 7);
  const fence_ptr low = link(second, leaves[2], 6);
  const fence_ptr same = link(low, leaves[3], 7);
  CHECK(first->seqno() == 5);
  CHECK(fence_chain::from(*first)->previous_point() == 0);
  CHECK(second->context() == first->context());
  CHECK(fence_chain::from(*second)->previous_point() == 5);
  CHECK(low->context() != second->context());
  CHECK(low->seqno() == 7);
  CHECK(fence_chain::from(*low)->previous_point() == 0);
  CHECK(same->context() != low->context());
  CHECK(same->seqno() == 7);
  // It waits for those before it all the same.
  low->enable_signaling();
  leaves[2]->signal();
  leaves[1]->signal();
  CHECK_FALSE(low->is_signaled());
  leaves[0]->signal();
  CHECK(low->is_signaled());
}

TEST_CASE("finished links leave the chain when it is walked") {
  release_count freed;
  const fence_ptr begin = make_fence();
  const fence_ptr last = make_fence();
  fence_ptr head = link({}, begin, 1);
  for (std::uint64_t point = 2; point <= 10; ++point) {
    const fence_ptr leaf = freed.make();
    head = link(std::move(head), leaf, point);
    leaf->signal();
  }
  head = link(std::move(head), last, 11);
  CHECK(freed.freed == 0);
  const fence_ptr left = fence_chain::from(*head)->walk();
  CHECK(left->seqno() == 1);
  CHECK(freed.freed == 9);
  begin->signal();
  CHECK_FALSE(fence_chain::from(*head)->walk());
}

TEST_CASE("a point is found at the oldest link that covers it") {
  const auto leaves = make_fences(3);
  const fence_ptr five = link({}, leaves[0], 5);
  const fence_ptr ten = link(five, leaves[1], 10);
  const fence_ptr twenty = link(ten, leaves[2], 20);
  CHECK(*fence_chain::find(twenty, 0) == twenty);
  CHECK(*fence_chain::find(twenty, 1) == five);
  CHECK(*fence_chain::find(twenty, 5) == five);
  CHECK(*fence_chain::find(twenty, 6) == ten);
  CHECK(*fence_chain::find(twenty, 11) == twenty);
  CHECK(fence_chain::find(twenty, 21).error() == errc::not_submitted);
  CHECK(fence_chain::find(ten, 11).error() == errc::not_submitted);
  CHECK(fence_chain::find({}, 1).error() == errc::invalid_argument);
  CHECK(fence_chain::find(make_fence(), 1).error() == errc::invalid_argument);
  // A finished link is answered by what is left before it.
  leaves[1]->signal();
  CHECK(*fence_chain::find(twenty, 6) == five);
  leaves[0]->signal();
  CHECK(*fence_chain::find(twenty, 6) == stub_fence());
}

TEST_CASE("a wish reaches every pending fence of a chain") {
  static constexpr fence_ops ops{.set_deadline = [](fence& f, deadline wish) noexcept {
    static_cast<std::vector<deadline>*>(f.source())->push_back(wish);
  }};
  std::vector<deadline> wishes;
  const fence_ptr begin = make_fence(&ops, &wishes);
  const fence_ptr done = make_fence(&ops, &wishes);
  const fence_ptr last = make_fence(&ops, &wishes);
  const fence_ptr head = link(link(begin, done, 1), last, 2);
  done->signal();
  const deadline wish = deadline::in(1s);
  head->set_deadline(wish);
  CHECK(wishes == std::vector<deadline>{wish, wish});
}

TEST_CASE("polling a chain asks the sources") {
  static constexpr fence_ops ops{.poll = [](fence& f) noexcept { return *static_cast<bool*>(f.source()); }};
  bool done[3] = {};
  const fence_ptr head =
      link(link(make_fence(&ops, &done[0]), make_fence(&ops, &done[1]), 1), make_fence(&ops, &done[2]), 2);
  CHECK_FALSE(head->poll());
  done[2] = true;
  CHECK_FALSE(head->poll());
  done[1] = true;
  CHECK_FALSE(head->poll());
  done[0] = true;
  CHECK(head->poll());
}

TEST_CASE("a chain that somebody waits for lives until it is complete, though nobody holds it") {
  release_count freed;
  fence_ptr first = freed.make();
  fence_ptr second = freed.make();
  fence_ptr head = link(link({}, first, 1), second, 2);
  counting_callback node;
  head->add_callback(node);
  head.reset();
  second->signal();
  first->signal();
  CHECK(node.runs == 1);
  first.reset();
  second.reset();
  CHECK(freed.freed == 2);
}

TEST_CASE("a link that completes keeps none that was found finished only when it was to be waited for") {
  static std::atomic<int> freed{0};
  static constexpr fence_ops done{.enable_signaling = [](fence&) noexcept { return false; },
                                  .release = [](fence&) noexcept { ++freed; }};
  freed = 0;
  const fence_ptr second = make_fence();
  const fence_ptr head = link(link({}, make_fence(&done), 1), second, 2);
  counting_callback node;
  head->add_callback(node);
  CHECK(freed == 0);
  second->signal();
  CHECK(node.runs == 1);
  CHECK(freed == 1);
}

TEST_CASE("dropping a chain of a million pending links takes constant stack") {
  release_count freed;
  counting_callback oldest;
  fence_ptr begin = freed.make();
  begin->add_callback(oldest);
  const fence_ptr leaf = make_fence();
  fence_ptr head = link(std::move(begin), leaf, 1);
  for (std::uint64_t point = 2; point <= 1'000'000; ++point) {
    head = link(std::move(head), leaf, point);
  }
  on_a_small_stack([&] { head.reset(); });
  CHECK(freed.freed == 1);
  CHECK(oldest.seen.sys_errno == EDEADLK);  // It went with the chain.
  CHECK_FALSE(leaf->is_signaled());
}

TEST_CASE("a million finished links are collected in constant stack, and the chain completes") {
  const fence_ptr leaf = make_fence();
  fence_ptr head = link({}, leaf, 1);
  for (std::uint64_t point = 2; point <= 1'000'000; ++point) {
    head = link(std::move(head), leaf, point);
  }
  counting_callback node;
  head->add_callback(node);
  on_a_small_stack([&] { leaf->signal(); });
  CHECK(node.runs == 1);
}

TEST_CASE("links that were armed complete one after the other in constant stack") {
  constexpr std::uint64_t length = 200'000;
  const auto first = make_fence();
  const auto leaf = make_fence();
  fence_ptr head = link({}, first, 1);
  for (std::uint64_t point = 2; point <= length; ++point) {
    head = link(std::move(head), leaf, point);
    head->enable_signaling();
  }
  // Each link now waits for the one callback on `first`, or on `leaf` before that.
  on_a_small_stack([&] { leaf->signal(); });
  CHECK_FALSE(head->is_signaled());
  on_a_small_stack([&] { first->signal(); });
  CHECK(head->is_signaled());
}

TEST_CASE("4096 links complete in whatever order their fences do") {
  enum class order { forward, backward, random };
  for (const order how : {order::forward, order::backward, order::random}) {
    auto leaves = make_fences(4096);
    std::vector<fence_ptr> links;
    for (const fence_ptr& leaf : leaves) {
      links.push_back(link(links.empty() ? fence_ptr() : links.back(), leaf, links.size() + 1));
      links.back()->enable_signaling();
    }
    if (how == order::backward) {
      std::reverse(leaves.begin(), leaves.end());
    } else if (how == order::random) {
      random_numbers().shuffle(leaves);
    }
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      leaves[i]->signal();
      if (how == order::forward) {
        REQUIRE(links[i]->is_signaled());
        REQUIRE(!(i + 1 < links.size() && links[i + 1]->is_signaled()));
      }
    }
    CHECK(std::all_of(links.begin(), links.end(), [](const fence_ptr& each) { return each->is_signaled(); }));
  }
}

TEST_CASE("two threads walk and collect a chain while it completes", "[threads]") {
  for (int round = 0; round < 20; ++round) {
    release_count freed;
    constexpr std::size_t length = 500;
    std::vector<fence_ptr> leaves(length);
    fence_ptr head;
    for (std::size_t i = 0; i < length; ++i) {
      leaves[i] = freed.make();
      head = link(std::move(head), leaves[i], i + 1);
    }
    random_numbers().shuffle(leaves);
    std::atomic<bool> right{true};
    std::barrier ready(3);
    const auto walker = [&] {
      ready.arrive_and_wait();
      while (!head->poll()) {
        std::uint64_t above = UINT64_MAX;
        for (fence_ptr at = head; at; at = fence_chain::from(*at)->walk()) {
          if (at->seqno() >= above) {
            right = false;
          }
          above = at->seqno();
        }
      }
    };
    std::thread first(walker);
    std::thread second(walker);
    ready.arrive_and_wait();
    for (const fence_ptr& leaf : leaves) {
      leaf->signal();
    }
    first.join();
    second.join();
    CHECK(right);
    leaves.clear();
    head.reset();
    CHECK(freed.freed == static_cast<int>(length));
  }
}

TEST_CASE("a chain grows, is dropped and completes in three threads", "[threads]") {
  release_count freed;
  constexpr int rounds = 5000;
  std::vector<fence_ptr> leaves(rounds);
  for (fence_ptr& leaf : leaves) {
    leaf = freed.make();
  }
  std::atomic<int> made{0};
  std::atomic<int> shown{0};
  fence_ptr shared;  // Handed from the maker to the dropper, which `made` and `shown` count.
  std::thread signaler([&] {
    for (int i = 0; i < rounds; ++i) {
      while (made < i - 1) {
        std::this_thread::yield();
      }
      leaves[static_cast<std::size_t>(i)]->signal();
    }
  });
  std::thread dropper([&] {
    for (int i = 1; i <= rounds; ++i) {
      while (made < i) {
        std::this_thread::yield();
      }
      fence_ptr taken = std::exchange(shared, {});
      shown = i;
      taken->enable_signaling();
      taken.reset();
    }
  });
  fence_ptr head;
  for (int i = 0; i < rounds; ++i) {
    head = link(std::move(head), leaves[static_cast<std::size_t>(i)], static_cast<std::uint64_t>(i) + 1);
    while (shown < i) {
      std::this_thread::yield();
    }
    shared = head;
    made = i + 1;
  }
  signaler.join();
  dropper.join();
  CHECK(head->is_signaled());
  leaves.clear();
  head.reset();
  CHECK(freed.freed == rounds);
}
