// SPDX-License-Identifier: BSL-1.0
// Lending an int is said out loud.
// EXPECT: could not convert|no known conversion
#include <paddock/base/fd.hpp>

void look_at(paddock::borrowed_fd fd);

void caller(int fd) {
#ifdef PADDOCK_ALLOWED
  look_at(paddock::borrowed_fd(fd));
#else
  look_at(fd);
#endif
}
