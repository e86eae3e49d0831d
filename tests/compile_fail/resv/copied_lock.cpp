// SPDX-License-Identifier: BSL-1.0
// A lock has one holder: move it.
// EXPECT: use of deleted function|call to deleted constructor
#include <utility>

#include <paddock/resv/reservation.hpp>

void consume(paddock::resv_lock lock);

void caller(paddock::resv_lock lock) {
#ifdef PADDOCK_ALLOWED
  consume(std::move(lock));
#else
  consume(lock);
#endif
}
