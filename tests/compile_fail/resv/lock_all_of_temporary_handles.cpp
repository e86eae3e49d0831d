// SPDX-License-Identifier: BSL-1.0
// What owns its reservations takes them along as well when it is gone after the call.
// EXPECT: no matching (member )?function for call
#include <memory>
#include <vector>

#include <paddock/resv/lock_set.hpp>

using namespace paddock;

result<void> caller(lock_set& locks, reservation& known) {
#ifdef PADDOCK_ALLOWED
  return locks.lock_all(std::vector<reservation*>{&known});
#else
  static_cast<void>(known);
  return locks.lock_all(std::vector<std::unique_ptr<reservation>>(2));
#endif
}
