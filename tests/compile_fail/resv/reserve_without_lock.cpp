// SPDX-License-Identifier: BSL-1.0
// Room is made under the lock, and the call shows it.
// EXPECT: no matching (member )?function for call|too few arguments
#include <paddock/resv/reservation.hpp>

using namespace paddock;

result<void> caller(reservation& r, [[maybe_unused]] const resv_lock& proof, [[maybe_unused]] const fence_ptr& f) {
#ifdef PADDOCK_ALLOWED
  return r.reserve(proof, 1);
#else
  return r.reserve(1);
#endif
}
