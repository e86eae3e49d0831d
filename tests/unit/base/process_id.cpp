// SPDX-License-Identifier: BSL-1.0
#include <paddock/detail/process_id.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "catch.hpp"

namespace paddock::detail {

namespace {

/// Whether this process, twice, and a child of it know their numbers.
bool is_right(int generations) {
  const pid_t first = process_id();
  if (first != ::getpid() || process_id() != first) {
    return false;
  }
  if (generations == 0) {
    return true;
  }
  const pid_t child = ::fork();
  if (child == 0) {
    std::_Exit(is_right(generations - 1) ? 0 : 1);
  }
  int status = 1;
  return ::waitpid(child, &status, 0) == child && status == 0;
}

}  // namespace

TEST_CASE("a process knows its number without asking each time, and a child knows its own") { CHECK(is_right(2)); }

}  // namespace paddock::detail
