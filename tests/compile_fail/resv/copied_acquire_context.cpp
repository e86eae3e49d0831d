// SPDX-License-Identifier: BSL-1.0
// A context is known by its address.
// EXPECT: use of deleted function|call to deleted constructor
#include <paddock/resv/reservation.hpp>

void caller(paddock::acquire_context& original) {
#ifdef PADDOCK_ALLOWED
  [[maybe_unused]] paddock::acquire_context& same = original;
#else
  [[maybe_unused]] paddock::acquire_context copy(original);
#endif
}
