// SPDX-License-Identifier: BSL-1.0
// Where a walk stands is its own.
// EXPECT: use of deleted function|call to deleted constructor
#include <paddock/resv/cursor.hpp>

void caller(paddock::fence_cursor& original) {
#ifdef PADDOCK_ALLOWED
  [[maybe_unused]] paddock::fence_cursor& same = original;
#else
  [[maybe_unused]] paddock::fence_cursor copy(original);
#endif
}
