// SPDX-License-Identifier: BSL-1.0
// Locks have one holder, and their proofs stay where they are.
// EXPECT: use of deleted function|call to deleted constructor
#include <paddock/resv/lock_set.hpp>

void caller(paddock::lock_set& original) {
#ifdef PADDOCK_ALLOWED
  [[maybe_unused]] paddock::lock_set& same = original;
#else
  [[maybe_unused]] paddock::lock_set copy(original);
#endif
}
