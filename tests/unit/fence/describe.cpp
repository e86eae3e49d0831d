// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/describe.hpp>

#include <fmt/format.h>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

TEST_CASE("a fence is described by name, context, number and state") {
  fence_context context("queue", 1s);
  const fence_ptr f = *context.create(fence_seqno(17));
  const std::string name = fmt::format("queue {:x}:17 ", context.id());
  CHECK(describe(*f) == name + "pending");
  f->signal();
  CHECK(describe(*f) == name + "signaled");
  const fence_ptr failed = *context.create(fence_seqno(17));
  failed->fail(EIO);
  CHECK(describe(*failed) == name + "failed (Input/output error)");
}

TEST_CASE("a container is described with its leaves, one a line") {
  fence_context context("queue", 1s);
  const fence_ptr first = *context.create();
  const fence_ptr second = *context.create();
  const fence_ptr members[] = {first, second};
  const fence_ptr array = *fence_array::create(members);
  const fence_ptr last = *context.create();
  const fence_ptr chain = *fence_chain::create(array, last, 9);
  CHECK(describe(*array) ==
        fmt::format("fence_array {:x}:1 pending\n  {}\n  {}", array->context(), describe(*first), describe(*second)));
  CHECK(describe(*chain) == fmt::format("fence_chain {:x}:9 pending\n  {}\n  {}\n  {}", chain->context(),
                                        describe(*last), describe(*first), describe(*second)));
  first->signal();
  CHECK(describe(*array).find(describe(*first)) != std::string::npos);
}
