// SPDX-License-Identifier: BSL-1.0
// A call that can fail is not a statement.
// EXPECT: ignoring return value
#include <paddock/base/fd.hpp>

paddock::result<void> caller(paddock::borrowed_fd fd) {
#ifdef PADDOCK_ALLOWED
  PADDOCK_TRY_VOID(paddock::unique_fd::dup(fd));
#else
  paddock::unique_fd::dup(fd);
#endif
  return {};
}
