// SPDX-License-Identifier: BSL-1.0
// What is never behind a BAR has no peer-to-peer route.
// EXPECT: p2p_only on a buffer that never has a segment behind a BAR
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
attachment<placed, test_device, movable, p2p_only> made;
#else
attachment<memory, test_device, movable, p2p_only> made;
#endif
