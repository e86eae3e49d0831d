// SPDX-License-Identifier: BSL-1.0
// References are counted one by one; a snapshot moves.
// EXPECT: use of deleted function|call to deleted constructor
#include <paddock/resv/snapshot.hpp>

void caller(paddock::fence_snapshot& original) {
#ifdef PADDOCK_ALLOWED
  [[maybe_unused]] paddock::fence_snapshot& same = original;
#else
  [[maybe_unused]] paddock::fence_snapshot copy(original);
#endif
}
