// SPDX-License-Identifier: BSL-1.0
// A user's program: the umbrella header, and the rooms that the test asks for.
#include <paddock/paddock.hpp>

#include "rooms.hpp"

int main() {
  const auto nothing = paddock::unique_fd::dup(paddock::borrowed_fd{});
  return !nothing && nothing.error() == paddock::errc::bad_fd ? 0 : 1;
}
