// SPDX-License-Identifier: BSL-1.0
// A function that hands out a lock hands out what keeps it.
// EXPECT: ignoring return(ed)? value
#include <paddock/resv/reservation.hpp>

paddock::resv_lock take();

void caller() {
#ifdef PADDOCK_ALLOWED
  const paddock::resv_lock lock = take();
#else
  take();
#endif
}
