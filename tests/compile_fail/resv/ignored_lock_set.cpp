// SPDX-License-Identifier: BSL-1.0
// A set that could not be locked is not locked.
// EXPECT: ignoring return(ed)? value
#include <paddock/resv/lock_set.hpp>

using namespace paddock;

result<void> caller(reservation& r, [[maybe_unused]] const resv_lock& proof, [[maybe_unused]] const fence_ptr& f) {
#ifdef PADDOCK_ALLOWED
  lock_set locks;
  PADDOCK_TRY_VOID(locks.lock_all([&] { return locks.lock(r); }));
#else
  lock_set locks;
  locks.lock_all([&] { return locks.lock(r); });
#endif
  return r.reserve(proof, 1);
}
