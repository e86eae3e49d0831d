// SPDX-License-Identifier: BSL-1.0
// Nobody would tell the other parts.
// EXPECT: the parts of a mixed buffer stay where they are
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/buffer/mixed_exporter.hpp>
#include <paddock/buffer/placement.hpp>

using namespace paddock;

#ifdef PADDOCK_ALLOWED
using part = memory_exporter;
#else
using part = placement_exporter<memory_source>;
#endif
mixed_exporter<memory_exporter, part>* f(mixed_exporter<memory_exporter, part>* p) { return p + 1; }
