// SPDX-License-Identifier: BSL-1.0
// A range is watched once.
// EXPECT: use of deleted function|call to deleted constructor
#include <utility>

#include <paddock/buffer/memory_monitor.hpp>

paddock::memory_watch caller(paddock::memory_watch watch) {
#ifdef PADDOCK_ALLOWED
  paddock::memory_watch second = std::move(watch);
#else
  paddock::memory_watch second = watch;
#endif
  return second;
}
