// SPDX-License-Identifier: BSL-1.0
// A guard is of the thread and the block that made it.
// EXPECT: use of deleted function|call to deleted constructor
#include <paddock/resv/reservation.hpp>

void caller(paddock::resv_guard& original) {
#ifdef PADDOCK_ALLOWED
  [[maybe_unused]] paddock::resv_guard& same = original;
#else
  [[maybe_unused]] paddock::resv_guard copy(original);
#endif
}
