// SPDX-License-Identifier: BSL-1.0
// Only locking makes a proof.
// EXPECT: is private within this context|calling a private constructor
#include <paddock/resv/reservation.hpp>

using namespace paddock;

result<void> caller(reservation& r) {
#ifdef PADDOCK_ALLOWED
  PADDOCK_TRY(const auto proof, r.lock());
#else
  const resv_lock proof(r, nullptr);
#endif
  return r.reserve(proof, 1);
}
