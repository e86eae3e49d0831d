// SPDX-License-Identifier: BSL-1.0
// What an attachment has mapped is unmapped when the buffer is revoked, so nobody else holds it.
// EXPECT: discards qualifiers|not marked const
#include <paddock/buffer/mapping.hpp>
#include <paddock/vfio/device.hpp>

paddock::iova address(const paddock::mapping<paddock::vfio::device>& mapped) {
#ifdef PADDOCK_ALLOWED
  return mapped.mapped().iova();
#else
  return mapped.mapped().share().iova();
#endif
}
