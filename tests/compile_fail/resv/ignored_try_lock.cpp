// SPDX-License-Identifier: BSL-1.0
// A lock that nobody keeps is left at once.
// EXPECT: ignoring return(ed)? value
#include <paddock/resv/lock_set.hpp>

using namespace paddock;

result<void> caller(reservation& r, [[maybe_unused]] const resv_lock& proof, [[maybe_unused]] const fence_ptr& f) {
#ifdef PADDOCK_ALLOWED
  PADDOCK_TRY(const auto held, r.try_lock());
#else
  r.try_lock();
#endif
  return r.reserve(proof, 1);
}
