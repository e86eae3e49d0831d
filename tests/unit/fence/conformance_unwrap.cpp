// SPDX-License-Identifier: BSL-1.0
// What the kernel's own tests ask of dma_fence_unwrap (U1..U9, drivers/dma-buf/st-dma-fence-unwrap.c), and what its
// code promises beyond them (U13..U21).
#include <algorithm>
#include <vector>

#include <paddock/fence/merge.hpp>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;

namespace {

bool has_leaves(const fence_ptr& top, std::vector<fence_ptr> expected) {
  std::vector<fence_ptr> found;
  for_each_leaf(top, [&](fence& leaf) { found.emplace_back(leaf); });
  return std::is_permutation(found.begin(), found.end(), expected.begin(), expected.end());
}
fence_ptr array_of(const std::vector<fence_ptr>& members) { return std::move(*fence_array::create(members)); }

}  // namespace

TEST_CASE("U1 sanitycheck") {
  release_count freed;
  fence_ptr chain = *fence_chain::create({}, array_of({freed.make()}), 1);
  chain->enable_signaling();
  for_each_leaf(chain, [](fence& leaf) { leaf.signal(); });
  chain.reset();
  CHECK(freed.freed == 1);
}

TEST_CASE("U2 unwrap_array") {
  const auto f = make_fences(2);
  CHECK(has_leaves(array_of(f), f));
}

TEST_CASE("U3 unwrap_chain") {
  const auto f = make_fences(2);
  CHECK(has_leaves(*fence_chain::create(f[0], f[1], 1), f));
}

TEST_CASE("U4 unwrap_chain_array") {
  const auto f = make_fences(2);
  CHECK(has_leaves(*fence_chain::create({}, array_of(f), 1), f));
}

TEST_CASE("U5 merge") {
  const auto f = make_fences(2);
  CHECK(has_leaves(*merge({f[0], f[1]}), f));
}

TEST_CASE("U6 merge_duplicate") {
  const fence_ptr f = make_fence();
  CHECK(*merge({f, f}) == f);
}

TEST_CASE("U7 merge_seqno") {
  fence_context context("queue", std::chrono::seconds(1));
  const fence_ptr earlier = *context.create();
  const fence_ptr later = *context.create();
  const fence_ptr other = make_fence();
  CHECK(has_leaves(*merge({later, other, earlier}), {later, other}));
}

TEST_CASE("U9 merge_complex") {
  const auto f = make_fences(2);
  const fence_ptr merged = *merge({f[0], f[1]});
  const fence_ptr array = array_of({f[1], f[0]});
  CHECK(has_leaves(*merge({merged, array, stub_fence()}), f));
}

TEST_CASE("U13 a merge of what failed") {
  const auto f = make_fences(2);
  f[0]->fail(EIO);
  f[1]->fail(ENODEV);
  const fence_ptr merged = *merge(f);
  CHECK(merged->status() == wait_status::signaled);
  CHECK(merged->timestamp() == std::max(f[0]->timestamp(), f[1]->timestamp()));
}

TEST_CASE("U16 an array that nobody enabled is polled") {
  const auto f = make_fences(2);
  const fence_ptr array = array_of(f);
  f[0]->signal();
  CHECK_FALSE(array->poll());
  f[1]->signal();
  CHECK(array->poll());
  CHECK(array->status() == wait_status::signaled);
}

TEST_CASE("U17 an array in an array") {
  // The kernel warns, and goes on.
  const auto f = make_fences(2);
  const fence_ptr nested[] = {array_of(f)};
  CHECK(fence_array::create(nested).error() == errc::invalid_argument);
  const fence_ptr chained[] = {*fence_chain::create({}, f[0], 1)};
  CHECK(fence_array::create(chained).error() == errc::invalid_argument);
}

TEST_CASE("U20 a merge of 300 fences in pairs") {
  const auto f = make_fences(300);
  fence_ptr merged = f[0];
  for (std::size_t i = 1; i < f.size(); ++i) {
    merged = *merge({merged, f[i]});
  }
  CHECK(has_leaves(merged, f));
  const fence_array* const array = fence_array::from(*merged);
  REQUIRE(array != nullptr);
  CHECK(array->size() == 300);
  for (std::size_t i = 0; i < array->size(); ++i) {
    CHECK_FALSE((*array)[i].is_container());
  }
  merged->enable_signaling();
  for (const fence_ptr& each : f) {
    CHECK_FALSE(merged->is_signaled());
    each->signal();
  }
  CHECK(merged->is_signaled());
}

TEST_CASE("U21 no fence at all") {
  CHECK(has_leaves({}, {}));
  CHECK((*merge({}))->is_signaled());
  // The kernel warns, and goes on.
  CHECK(fence_array::create({}).error() == errc::invalid_argument);
}
