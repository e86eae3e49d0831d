// SPDX-License-Identifier: BSL-1.0
// What the kernel's own tests ask of a dma_fence_chain (C1..C11, drivers/dma-buf/st-dma-fence-chain.c), and what its
// code promises beyond them (C14..C20).
#include <algorithm>
#include <thread>
#include <vector>

#include <paddock/fence/chain.hpp>
#include <paddock/fence/timeline.hpp>
#include <paddock/fence/wait.hpp>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

namespace {

/// links[i] has point i + 1 and the fence leaves[i], and is enabled.
struct fixture {
  explicit fixture(std::size_t count, bool enabled = true) : leaves(make_fences(count)) {
    for (const fence_ptr& leaf : leaves) {
      links.push_back(
          *fence_chain::create(links.empty() ? fence_ptr() : links.back(), leaf, std::uint64_t{links.size() + 1}));
      if (enabled) {
        links.back()->enable_signaling();
      }
    }
  }
  [[nodiscard]] const fence_ptr& tail() const { return links.back(); }
  ~fixture() {
    for (const fence_ptr& leaf : leaves) {
      leaf->signal();
    }
  }
  fixture(const fixture&) = delete;
  fixture& operator=(const fixture&) = delete;

  std::vector<fence_ptr> leaves;
  std::vector<fence_ptr> links;
};

void wait_while_signaled(const fixture& chain, const std::vector<fence_ptr>& order) {
  result<wait_status> ended = wait_status::timed_out;
  std::thread waiter([&] { ended = wait(*chain.tail(), long_enough(), futex_wait{}); });
  for (const fence_ptr& leaf : order) {
    leaf->signal();
  }
  waiter.join();
  CHECK(ended == wait_status::signaled);
}

}  // namespace

TEST_CASE("C1 sanitycheck") {
  release_count freed;
  fence_ptr leaf = freed.make();
  fence_ptr link = *fence_chain::create({}, leaf, 1);
  link->enable_signaling();
  leaf->signal();
  CHECK(link->is_signaled());
  leaf.reset();
  link.reset();
  CHECK(freed.freed == 1);
}

TEST_CASE("C2 find_seqno") {
  const fixture chain(64);
  CHECK(*fence_chain::find(chain.tail(), 0) == chain.tail());
  for (std::size_t i = 0; i < 64; ++i) {
    const fence_ptr& link = chain.links[i];
    CHECK(*fence_chain::find(chain.tail(), i + 1) == link);
    CHECK(*fence_chain::find(link, i + 1) == link);
    // EINVAL in the kernel; here a point that has no fence yet has an error of its own.
    CHECK(fence_chain::find(link, i + 2).error() == errc::not_submitted);
    CHECK(*fence_chain::find(link, i) == (i == 0 ? link : chain.links[i - 1]));
  }
}

TEST_CASE("C3 find_signaled") {
  const fixture chain(2);
  chain.leaves[0]->signal();
  const fence_ptr found = *fence_chain::find(chain.tail(), 1);
  CHECK(found->is_signaled());
  CHECK(*fence_chain::find(chain.links[0], 1) == chain.links[0]);
}

TEST_CASE("C7 signal_forward") {
  const fixture chain(64);
  for (std::size_t i = 0; i < 64; ++i) {
    chain.leaves[i]->signal();
    CHECK(chain.links[i]->is_signaled());
    CHECK((i + 1 == 64 || !chain.links[i + 1]->is_signaled()));
  }
}

TEST_CASE("C8 signal_backward") {
  const fixture chain(64);
  for (std::size_t i = 64; i-- > 0;) {
    chain.leaves[i]->signal();
    CHECK(chain.links[i]->is_signaled() == (i == 0));
  }
  for (const fence_ptr& link : chain.links) {
    CHECK(link->is_signaled());
  }
}

TEST_CASE("C9 wait_forward", "[threads]") {
  const fixture chain(4096);
  wait_while_signaled(chain, chain.leaves);
}

TEST_CASE("C10 wait_backward", "[threads]") {
  const fixture chain(4096);
  wait_while_signaled(chain, {chain.leaves.rbegin(), chain.leaves.rend()});
}

TEST_CASE("C11 wait_random", "[threads]") {
  const fixture chain(4096);
  std::vector<fence_ptr> shuffled = chain.leaves;
  random_numbers().shuffle(shuffled);
  wait_while_signaled(chain, shuffled);
}

TEST_CASE("C14 a lookup stops where the context changes") {
  const auto leaves = make_fences(5);
  const std::uint64_t points[] = {1, 5, 3, 6, 7};
  std::vector<fence_ptr> links;
  for (std::size_t i = 0; i < 5; ++i) {
    links.push_back(*fence_chain::create(i == 0 ? fence_ptr() : links.back(), leaves[i], points[i]));
  }
  CHECK(links[2]->context() != links[1]->context());
  CHECK(links[3]->context() == links[2]->context());
  CHECK(*fence_chain::find(links.back(), 5) == links[2]);
  CHECK(*fence_chain::find(links.back(), 1) == links[2]);
  CHECK(*fence_chain::find(links.back(), 6) == links[3]);
}

TEST_CASE("C15 a lookup from a plain fence") {
  const fence_ptr plain = make_fence();
  CHECK(fence_chain::find(plain, 1).error() == errc::invalid_argument);
  CHECK(*fence_chain::find(plain, 0) == plain);
}

TEST_CASE("C17 a second walk visits fewer links, with the same result") {
  release_count freed;
  const fence_ptr begin = make_fence();
  fence_ptr tail = *fence_chain::create({}, begin, 1);
  std::vector<fence_ptr> middle;
  for (std::uint64_t point = 2; point < 100; ++point) {
    middle.push_back(freed.make());
    tail = *fence_chain::create(std::move(tail), middle.back(), point);
  }
  const fence_ptr last = make_fence();
  tail = *fence_chain::create(std::move(tail), last, 100);
  for (const fence_ptr& each : middle) {
    each->signal();
  }
  middle.clear();
  CHECK(freed.freed == 0);
  const fence_ptr first_walk = fence_chain::from(*tail)->walk();
  CHECK(freed.freed == 98);  // What is freed is not visited again.
  CHECK(fence_chain::from(*tail)->walk() == first_walk);
  CHECK(first_walk->seqno() == 1);
}

TEST_CASE("C18 the fence of a link is a chain") {
  // The kernel warns, and goes on.
  const fence_ptr inner = *fence_chain::create({}, make_fence(), 1);
  CHECK(fence_chain::create({}, inner, 1).error() == errc::invalid_argument);
}

TEST_CASE("C20 lookups race with a thread that drops and takes the tail again", "[threads]") {
  for (int round = 0; round < 3; ++round) {
    const timeline t = *timeline::create();
    const auto leaves = make_fences(200);
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      CHECK(t.submit(timeline_point(i + 1), leaves[i]).has_value());
    }
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::thread dropper([&] {
      while (!stop) {
        fence_ptr tail = *t.fence_at(t.submitted());
        tail.reset();
      }
    });
    std::vector<std::thread> finders;
    for (std::uint64_t f = 0; f < 2; ++f) {
      finders.emplace_back([&, f] {
        for (std::uint64_t i = 0; !stop; ++i) {
          const std::uint64_t point = 1 + (i * 7 + f) % leaves.size();
          const auto found = t.fence_at(timeline_point(point));
          wrong += found.has_value() && ((*found)->is_signaled() || (*found)->is_chain()) ? 0 : 1;
        }
      });
    }
    std::vector<fence_ptr> order = leaves;
    random_numbers().shuffle(order);
    for (const fence_ptr& each : order) {
      each->signal();
    }
    stop = true;
    dropper.join();
    for (std::thread& finder : finders) {
      finder.join();
    }
    CHECK(wrong == 0);
    CHECK(t.signaled() == timeline_point(leaves.size()));
  }
}

TEST_CASE("X5 a chain is appended to, walked and signaled at once", "[threads]") {
  const timeline t = *timeline::create();
  constexpr std::uint64_t length = 5000;
  const auto leaves = make_fences(length);
  std::atomic<int> wrong{0};
  std::thread appender([&] {
    for (std::uint64_t i = 0; i < length; ++i) {
      wrong += t.submit(timeline_point(i + 1), leaves[i]).has_value() ? 0 : 1;
    }
  });
  std::thread signaler([&] {
    for (std::size_t i = 0; i < length; i += 2) {
      leaves[std::min<std::size_t>(i + 1, length - 1)]->signal();
      leaves[i]->signal();
    }
  });
  std::uint64_t before = 0;
  std::uint64_t before_submitted = 0;
  while (before < length) {
    const std::uint64_t submitted = t.submitted().value();
    const std::uint64_t signaled = t.signaled().value();
    wrong += signaled >= before && submitted >= before_submitted ? 0 : 1;
    before = signaled;
    before_submitted = submitted;
    if (const auto at = t.fence_at(timeline_point(signaled + 1)); at.has_value() && (*at)->is_chain()) {
      static_cast<void>(fence_chain::from(**at)->walk());
    }
  }
  appender.join();
  signaler.join();
  CHECK(wrong == 0);
}
