// SPDX-License-Identifier: BSL-1.0
// What is in a BAR is no system memory.
// EXPECT: a BAR has device_memory or registers
#include <paddock/vfio/bar_exporter.hpp>

#ifdef PADDOCK_ALLOWED
static_assert(paddock::exporter<paddock::vfio::basic_bar_exporter<paddock::storage_kind::registers>>);
#else
static_assert(paddock::exporter<paddock::vfio::basic_bar_exporter<paddock::storage_kind::memory>>);
#endif
