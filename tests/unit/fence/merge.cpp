// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/merge.hpp>

#include <algorithm>
#include <vector>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

namespace {

std::vector<fence*> leaves_of(const fence_ptr& top) {
  std::vector<fence*> found;
  for_each_leaf(top, [&](fence& leaf) { found.push_back(&leaf); });
  return found;
}
std::vector<fence*> sorted(std::vector<fence*> fences) {
  std::sort(fences.begin(), fences.end());
  return fences;
}
fence_ptr array_of(const std::vector<fence_ptr>& members) { return std::move(*fence_array::create(members)); }

}  // namespace

TEST_CASE("the leaves are the fences that are no containers") {
  const auto f = make_fences(4);
  CHECK(leaves_of({}).empty());
  CHECK(leaves_of(f[0]) == std::vector<fence*>{f[0].get()});
  const fence_ptr array = array_of({f[0], f[1]});
  CHECK(leaves_of(array) == std::vector<fence*>{f[0].get(), f[1].get()});
  const fence_ptr chain = *fence_chain::create(*fence_chain::create(f[3], array, 1), f[2], 2);
  CHECK(leaves_of(chain) == std::vector<fence*>{f[2].get(), f[0].get(), f[1].get(), f[3].get()});
  CHECK(leaves_of(array_of({f[0], f[0]})).size() == 2);
}

TEST_CASE("links that finished are not visited, save the newest") {
  const auto f = make_fences(3);
  const fence_ptr chain = *fence_chain::create(*fence_chain::create(f[0], f[1], 1), f[2], 2);
  f[1]->signal();
  CHECK(leaves_of(chain) == std::vector<fence*>{f[2].get(), f[0].get()});
  f[2]->signal();
  CHECK(leaves_of(chain) == std::vector<fence*>{f[2].get(), f[0].get()});
}

TEST_CASE("merging nothing, or what is complete, gives a stub with the latest time") {
  CHECK((*merge({}))->status() == wait_status::signaled);
  const fence_ptr nothing[] = {fence_ptr(), fence_ptr()};
  CHECK((*merge(nothing))->is_signaled());
  const auto f = make_fences(3);
  f[0]->signal(monotonic_clock::time_point(1s));
  f[1]->signal(monotonic_clock::time_point(3s));
  f[2]->signal(monotonic_clock::time_point(2s));
  const fence_ptr done = *merge(f);
  CHECK(done->status() == wait_status::signaled);
  CHECK(done->timestamp() == monotonic_clock::time_point(3s));
  CHECK(*merge({stub_fence(), fence_ptr()}) != done);
  // An array of them that was never asked does not know yet that it is complete.
  CHECK((*merge({array_of({f[0], f[1]})}))->timestamp() == monotonic_clock::time_point(3s));
}

TEST_CASE("merging what one fence stands for gives that fence") {
  const fence_ptr f = make_fence();
  const fence_ptr done = make_fence();
  done->fail(EIO);
  CHECK(*merge({f}) == f);
  CHECK(*merge({f, f, array_of({f, f})}) == f);
  CHECK(*merge({done, f, fence_ptr()}) == f);
  CHECK(*merge({*fence_chain::create(done, f, 1)}) == f);
}

TEST_CASE("a merge has the leaves of all, once each, in one array") {
  const auto f = make_fences(4);
  const fence_ptr chain = *fence_chain::create(f[0], array_of({f[1], f[2]}), 1);
  const fence_ptr merged = *merge({chain, f[3], array_of({f[1], f[3]}), f[0]});
  CHECK(merged->is_array());
  CHECK(sorted(leaves_of(merged)) == sorted({f[0].get(), f[1].get(), f[2].get(), f[3].get()}));
  merged->enable_signaling();
  for (const fence_ptr& each : f) {
    CHECK_FALSE(merged->is_signaled());
    each->signal();
  }
  CHECK(merged->status() == wait_status::signaled);
}

TEST_CASE("of each context only the latest is merged") {
  fence_context queue("queue", 1s);
  fence_context ring("ring", 1s, fence_context::seqno_order::wraps_at_32_bits);
  const fence_ptr queued[] = {*queue.create(fence_seqno(1)), *queue.create(fence_seqno(UINT64_C(1) << 40U)),
                              *queue.create(fence_seqno(7))};
  const fence_ptr ringed[] = {*ring.create(fence_seqno(0xffff'fffe)), *ring.create(fence_seqno(1)),
                              *ring.create(fence_seqno(0))};
  CHECK(*merge(queued) == queued[1]);
  CHECK(*merge(ringed) == ringed[1]);
  const fence_ptr both = *merge({queued[0], ringed[1], queued[1], ringed[0], queued[2], ringed[2]});
  CHECK(sorted(leaves_of(both)) == sorted({queued[1].get(), ringed[1].get()}));
  // What is complete does not count as the latest: what came before it may still be pending.
  queued[1]->signal();
  CHECK(*merge(queued) == queued[2]);
}

TEST_CASE("a member that completes while it is merged costs nothing but its place") {
  const auto f = make_fences(3);
  const fence_ptr merged = *merge(f);
  f[1]->fail(ENODEV);
  merged->enable_signaling();
  f[0]->signal();
  f[2]->signal();
  CHECK(merged->sys_errno() == ENODEV);
}

TEST_CASE("fences whose numbers go all around the wrap are merged without harm") {
  // No order can be right here; what counts is that the sort stays inside its range.
  fence_context ring("ring", 1s, fence_context::seqno_order::wraps_at_32_bits);
  std::vector<fence_ptr> around;
  for (std::uint64_t i = 0; i < 256; ++i) {
    around.push_back(*ring.create(fence_seqno((i * 7 % 256) << 24U)));
  }
  CHECK(leaves_of(*merge(around)).size() == 1);
}

TEST_CASE("an array of any that is complete has nothing left to merge") {
  const auto f = make_fences(3);
  const fence_ptr any = *fence_array::create(std::span(f).first(2), array_mode::any);
  any->enable_signaling();
  f[0]->signal();
  CHECK(any->is_signaled());
  CHECK((*merge({any}))->is_signaled());
  CHECK(*merge({any, f[2]}) == f[2]);
}

TEST_CASE("a merge of an array of any waits for no more than that array") {
  const auto f = make_fences(2);
  const fence_ptr any = *fence_array::create(f, array_mode::any);
  const fence_ptr merged = *merge({any});
  merged->enable_signaling();
  f[1]->signal();
  CHECK(merged->is_signaled());
}
