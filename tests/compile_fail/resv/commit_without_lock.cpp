// SPDX-License-Identifier: BSL-1.0
// A job is committed under the lock under which its dependencies were taken.
// EXPECT: no matching (member )?function for call|too few arguments
#include <paddock/resv/reservation.hpp>

using namespace paddock;

result<void> caller(reservation& r, [[maybe_unused]] const resv_lock& proof, [[maybe_unused]] const fence_ptr& f) {
#ifdef PADDOCK_ALLOWED
  return r.commit(proof, f, access::read);
#else
  return r.commit(f, access::read);
#endif
}
