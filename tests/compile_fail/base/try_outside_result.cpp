// SPDX-License-Identifier: BSL-1.0
// PADDOCK_TRY returns an error, so the function around it must be able to.
// EXPECT: cannot convert|no viable conversion
#include <paddock/base/fd.hpp>

#ifdef PADDOCK_ALLOWED
paddock::result<int> caller(paddock::borrowed_fd fd) {
#else
int caller(paddock::borrowed_fd fd) {
#endif
  PADDOCK_TRY(const auto copy, paddock::unique_fd::dup(fd));
  return copy.get();
}
