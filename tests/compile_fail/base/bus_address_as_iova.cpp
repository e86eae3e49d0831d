// SPDX-License-Identifier: BSL-1.0
// What stands on the bus is not what a device behind an IOMMU issues.
// EXPECT: could not convert|no known conversion
#include <paddock/base/ids.hpp>

void point_device_at(paddock::iova address);

void caller(paddock::iova device_view, paddock::bus_address bus_view) {
#ifdef PADDOCK_ALLOWED
  point_device_at(device_view);
#else
  point_device_at(bus_view);
#endif
  static_cast<void>(device_view);
  static_cast<void>(bus_view);
}
