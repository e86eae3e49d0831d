// SPDX-License-Identifier: BSL-1.0
// A descriptor has one owner: move it, or dup it.
// EXPECT: use of deleted function|call to deleted constructor
#include <utility>

#include <paddock/base/fd.hpp>

void consume(paddock::unique_fd fd);

void caller(paddock::unique_fd fd) {
#ifdef PADDOCK_ALLOWED
  consume(std::move(fd));
#else
  consume(fd);
#endif
}
