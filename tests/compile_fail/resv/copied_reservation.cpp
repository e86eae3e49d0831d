// SPDX-License-Identifier: BSL-1.0
// Two reservations of one buffer would order nothing; copy() copies the fences.
// EXPECT: use of deleted function|call to deleted constructor
#include <paddock/resv/reservation.hpp>

void caller(paddock::reservation& original) {
#ifdef PADDOCK_ALLOWED
  [[maybe_unused]] paddock::reservation& same = original;
#else
  [[maybe_unused]] paddock::reservation copy(original);
#endif
}
