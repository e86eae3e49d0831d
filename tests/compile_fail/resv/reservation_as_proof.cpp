// SPDX-License-Identifier: BSL-1.0
// A reservation is no proof that somebody holds its lock.
// EXPECT: no matching (member )?function for call|cannot convert|no known conversion
#include <paddock/resv/reservation.hpp>

using namespace paddock;

result<void> caller(reservation& r) {
#ifdef PADDOCK_ALLOWED
  PADDOCK_TRY(const auto proof, r.lock());
  return r.reserve(proof, 1);
#else
  return r.reserve(r, 1);
#endif
}
