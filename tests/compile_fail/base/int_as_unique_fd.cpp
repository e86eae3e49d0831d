// SPDX-License-Identifier: BSL-1.0
// An int does not say who owns the descriptor.
// EXPECT: could not convert|no known conversion
#include <paddock/base/fd.hpp>

void consume(paddock::unique_fd fd);

void caller(int fd) {
#ifdef PADDOCK_ALLOWED
  consume(paddock::unique_fd::adopt(fd));
#else
  consume(fd);
#endif
}
