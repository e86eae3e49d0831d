// SPDX-License-Identifier: BSL-1.0
// A reservation keeps a reference, which is given as one.
// EXPECT: a reservation takes a fence_ptr, and keeps that reference
#include <paddock/resv/reservation.hpp>

using namespace paddock;

result<void> caller(reservation& r, const resv_lock& proof, fence& f) {
#ifdef PADDOCK_ALLOWED
  return r.add(proof, fence_ptr(f), usage::read);
#else
  return r.add(proof, f, usage::read);
#endif
}
