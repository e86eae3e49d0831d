// SPDX-License-Identifier: BSL-1.0
// A job may be refused.
// EXPECT: ignoring return(ed)? value
#include <paddock/resv/lock_set.hpp>

using namespace paddock;

result<void> caller(reservation& r, [[maybe_unused]] const resv_lock& proof, [[maybe_unused]] const fence_ptr& f) {
#ifdef PADDOCK_ALLOWED
  PADDOCK_TRY_VOID(r.commit(proof, f, access::read));
#else
  r.commit(proof, f, access::read);
#endif
  return r.reserve(proof, 1);
}
