// SPDX-License-Identifier: BSL-1.0
#include <paddock/base/fd.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <type_traits>
#include <utility>

#include "catch.hpp"

using namespace paddock;

static_assert(!std::is_convertible_v<int, unique_fd> && !std::is_constructible_v<unique_fd, int>);
static_assert(!std::is_convertible_v<int, borrowed_fd>);
static_assert(!std::is_copy_constructible_v<unique_fd>);
static_assert(sizeof(unique_fd) == sizeof(int));

namespace {

int open_null() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

int lost_errors = 0;
void count_lost(const error&) noexcept { ++lost_errors; }

}  // namespace

TEST_CASE("unique_fd closes what it owns, once") {
  const int raw = open_null();
  {
    unique_fd owner = unique_fd::adopt(raw);
    CHECK(owner.valid());
    unique_fd next = std::move(owner);
    CHECK_FALSE(owner.valid());  // NOLINT(bugprone-use-after-move): the moved-from state is promised.
    CHECK(next.get() == raw);
  }
  CHECK_FALSE(is_open(raw));
}

TEST_CASE("assigning over a unique_fd closes the old one") {
  const int first = open_null();
  const int second = open_null();
  unique_fd owner = unique_fd::adopt(first);
  owner = unique_fd::adopt(second);
  CHECK_FALSE(is_open(first));
  CHECK(is_open(second));
  owner = std::move(*&owner);
  CHECK(is_open(second));
}

TEST_CASE("release gives the descriptor away") {
  unique_fd owner = unique_fd::adopt(open_null());
  const int raw = owner.release();
  CHECK_FALSE(owner.valid());
  CHECK(is_open(raw));
  ::close(raw);
}

TEST_CASE("a duplicate is independent and has CLOEXEC") {
  unique_fd owner = unique_fd::adopt(open_null());
  auto copy = unique_fd::dup(owner);
  REQUIRE(copy);
  CHECK(copy->get() != owner.get());
  CHECK((::fcntl(copy->get(), F_GETFD) & FD_CLOEXEC) != 0);
  owner.reset();
  CHECK(is_open(copy->get()));
}

TEST_CASE("dup of nothing is bad_fd") {
  const auto copy = unique_fd::dup(borrowed_fd{});
  REQUIRE_FALSE(copy);
  CHECK(copy.error() == errc::bad_fd);
}

TEST_CASE("a close that fails is reported, not swallowed") {
  set_lost_error_handler(&count_lost);
  const int raw = open_null();
  {
    const unique_fd owner = unique_fd::adopt(raw);
    ::close(raw);
  }
  set_lost_error_handler(nullptr);
  CHECK(lost_errors == 1);
}

TEST_CASE("closing leaves errno alone") {
  unique_fd owner = unique_fd::adopt(open_null());
  errno = EXDEV;
  owner.reset();
  CHECK(errno == EXDEV);
}
