// SPDX-License-Identifier: BSL-1.0
// Fences are added under the lock, and the call shows it.
// EXPECT: no matching (member )?function for call|too few arguments
#include <paddock/resv/reservation.hpp>

using namespace paddock;

result<void> caller(reservation& r, [[maybe_unused]] const resv_lock& proof, [[maybe_unused]] const fence_ptr& f) {
#ifdef PADDOCK_ALLOWED
  return r.add(proof, f, usage::read);
#else
  return r.add(f, usage::read);
#endif
}
