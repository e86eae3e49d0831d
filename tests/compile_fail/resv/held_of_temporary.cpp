// SPDX-License-Identifier: BSL-1.0
// A proof lives as long as its set.
// EXPECT: use of deleted function|call to deleted member function
#include <paddock/resv/lock_set.hpp>

using namespace paddock;

result<void> caller(reservation& r) {
#ifdef PADDOCK_ALLOWED
  const lock_set locks;
  return r.reserve(locks.held(r), 1);
#else
  return r.reserve(lock_set().held(r), 1);
#endif
}
