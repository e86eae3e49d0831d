// SPDX-License-Identifier: BSL-1.0
// A reservation holds leaves, of which each has one context.
// EXPECT: a reservation takes no container; add its leaves one by one, with for_each_leaf\(\)
#include <paddock/resv/reservation.hpp>

using namespace paddock;

result<void> caller(reservation& r, const resv_lock& proof, fence_array& container) {
#ifdef PADDOCK_ALLOWED
  result<void> ended;
  for_each_leaf(fence_ptr(container), [&](fence& leaf) {
    if (ended) {
      ended = r.add(proof, fence_ptr(leaf), usage::read);
    }
  });
  return ended;
#else
  return r.add(proof, container, usage::read);
#endif
}
