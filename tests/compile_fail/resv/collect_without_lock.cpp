// SPDX-License-Identifier: BSL-1.0
// What was dropped is freed under the lock, and the call shows it.
// EXPECT: no matching (member )?function for call|too few arguments
#include <paddock/resv/reservation.hpp>

using namespace paddock;

result<std::size_t> caller(reservation& r, [[maybe_unused]] const resv_lock& proof) {
#ifdef PADDOCK_ALLOWED
  return r.collect(proof);
#else
  return r.collect();
#endif
}
