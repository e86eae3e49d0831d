// SPDX-License-Identifier: BSL-1.0
// Who cannot be told that the storage goes does not attach to storage that may go.
// EXPECT: its importers are revocable or movable; a pinned one could not be told
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
attachment<behind_bar, test_device, revocable> made;
#else
attachment<behind_bar, test_device> made;
#endif
