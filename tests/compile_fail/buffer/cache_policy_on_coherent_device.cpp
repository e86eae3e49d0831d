// SPDX-License-Identifier: BSL-1.0
// A device that sees the CPU's caches needs nobody to look after them.
// EXPECT: this device sees what is in the CPU
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
attachment<memory, archetype_device, sync_explicit> made;
#else
attachment<memory, test_device, sync_explicit> made;
#endif
