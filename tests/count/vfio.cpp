// SPDX-License-Identifier: BSL-1.0
// What it costs to hold a VFIO device's descriptor open during a system call.
#include <paddock/vfio/held_fd.hpp>

#include <sys/eventfd.h>

#include "catch.hpp"
#include "stepper.hpp"

using namespace paddock;
using paddock::test::cost;
using paddock::test::cost_of;
using paddock::test::counted;
using paddock::test::must;
using vfio::detail::held_fd;

namespace {

bool use(held_fd& fd) {
  return fd.with("use", [](borrowed_fd) -> result<void> { return {}; }).has_value();
}

}  // namespace

TEST_CASE("a descriptor that is held open costs two locked instructions, and a third where others hold it") {
  const cost alone = cost_of("use", [] {
    held_fd fd;
    fd.open(unique_fd::adopt(::eventfd(0, EFD_CLOEXEC)));
    must(counted(use, fd));
  });
  CHECK(alone.events == test::events{.locked = 2});
  CHECK(alone.instructions <= 15);

  const cost among_others = cost_of("use inside a use", [] {
    held_fd fd;
    fd.open(unique_fd::adopt(::eventfd(0, EFD_CLOEXEC)));
    must(fd.with("outer", [&fd](borrowed_fd) -> result<void> {
             must(counted(use, fd));
             return {};
           }).has_value());
  });
  CHECK(among_others.events == test::events{.locked = 3});  // Its first guess was that nobody does.
}

TEST_CASE("who is refused a descriptor that is closed has not been counted, so that a crowd cannot delay its close") {
  const cost c = cost_of("refused", [] {
    held_fd fd;
    fd.open(unique_fd::adopt(::eventfd(0, EFD_CLOEXEC)));
    fd.close();
    must(!counted(use, fd));
  });
  CHECK(c.events == test::events{.locked = 1});
}
