// SPDX-License-Identifier: BSL-1.0
// The reservations of a set live longer than it: a temporary container would take them along.
// EXPECT: no matching (member )?function for call
#include <array>

#include <paddock/resv/lock_set.hpp>

using namespace paddock;

result<void> caller(lock_set& locks) {
#ifdef PADDOCK_ALLOWED
  static std::array<reservation, 2> both;
  return locks.lock_all(both);
#else
  return locks.lock_all(std::array<reservation, 2>());
#endif
}
