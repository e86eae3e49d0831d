// SPDX-License-Identifier: BSL-1.0
// How a wait ended has three answers; `if (status)` would read two.
// EXPECT: could not convert|not contextually convertible
#include <paddock/base/time.hpp>

int caller(paddock::wait_status status) {
#ifdef PADDOCK_ALLOWED
  return status == paddock::wait_status::signaled ? 1 : 0;
#else
  return status ? 1 : 0;
#endif
}
