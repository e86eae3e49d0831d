// SPDX-License-Identifier: BSL-1.0
// Nobody has promised that a user_fence completes; memory management would wait for it for ever.
// EXPECT: a reservation takes no user_fence, since nobody has promised that it completes
#include <paddock/resv/reservation.hpp>

using namespace paddock;

result<void> caller(reservation& r, const resv_lock& proof, const user_fence& f) {
#ifdef PADDOCK_ALLOWED
  PADDOCK_TRY(fence_ptr promised, bounded(f, deadline::in(std::chrono::seconds(1))));
  return r.add(proof, std::move(promised), usage::read);
#else
  return r.add(proof, f, usage::read);
#endif
}
