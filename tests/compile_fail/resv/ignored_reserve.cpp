// SPDX-License-Identifier: BSL-1.0
// Room may be refused.
// EXPECT: ignoring return(ed)? value
#include <paddock/resv/lock_set.hpp>

using namespace paddock;

result<void> caller(reservation& r, [[maybe_unused]] const resv_lock& proof, [[maybe_unused]] const fence_ptr& f) {
#ifdef PADDOCK_ALLOWED
  PADDOCK_TRY_VOID(r.reserve(proof, 1));
#else
  r.reserve(proof, 1);
#endif
  return r.reserve(proof, 1);
}
