// SPDX-License-Identifier: BSL-1.0
// A GEM handle means nothing outside its file, so it does not turn into a number by itself.
// EXPECT: cannot convert|no viable conversion
#include <cstdint>

#include <paddock/base/ids.hpp>

std::uint32_t caller(paddock::gem_handle handle) {
#ifdef PADDOCK_ALLOWED
  return handle.value();
#else
  std::uint32_t number = handle;
  return number;
#endif
}
