// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/eventfd.hpp>

#include <sys/eventfd.h>
#include <unistd.h>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;

namespace {

unique_fd make_event() { return unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

/// What the counter stood at; it becomes 0.
std::uint64_t take(const unique_fd& event) {
  std::uint64_t counted = 0;
  return ::read(event.get(), &counted, sizeof counted) == sizeof counted ? counted : 0;
}

}  // namespace

TEST_CASE("a completion adds one to the eventfd, with or without error") {
  const unique_fd event = make_event();
  for (const bool fails : {false, true}) {
    const fence_ptr f = make_fence();
    eventfd_callback node(event);
    CHECK(f->add_callback(node) == add_outcome::added);
    CHECK(take(event) == 0);
    fails ? f->fail(EIO) : f->signal();
    CHECK(take(event) == 1);
  }
}

TEST_CASE("several callbacks share an eventfd") {
  const unique_fd event = make_event();
  const auto fences = make_fences(3);
  eventfd_callback first(event);
  eventfd_callback second(event);
  eventfd_callback third(event);
  fences[0]->add_callback(first);
  fences[1]->add_callback(second);
  fences[2]->add_callback(third);
  fences[2]->signal();
  fences[0]->signal();
  CHECK(take(event) == 2);
  fences[1]->signal();
  CHECK(take(event) == 1);
}

TEST_CASE("a callback that was dropped, or came too late, writes nothing") {
  const unique_fd event = make_event();
  const fence_ptr f = make_fence();
  {
    eventfd_callback gone(event);
    f->add_callback(gone);
  }
  f->signal();
  CHECK(take(event) == 0);
  eventfd_callback late(event);
  CHECK(f->add_callback(late) == add_outcome::already_signaled);
  CHECK(take(event) == 0);
}

TEST_CASE("a counter at its limit neither blocks nor is lost") {
  const unique_fd event = make_event();
  const std::uint64_t most = UINT64_MAX - 1;
  REQUIRE(::write(event.get(), &most, sizeof most) == sizeof most);
  const fence_ptr f = make_fence();
  eventfd_callback node(event);
  f->add_callback(node);
  CHECK(f->signal());
  CHECK(take(event) == most);
}
