// SPDX-License-Identifier: BSL-1.0
// At most one policy an axis.
// EXPECT: at most one policy an axis
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
using it = attachment<memory, test_device, movable, no_auto_fence>;
it made;
#else
using it = attachment<memory, test_device, movable, revocable>;
it made;
#endif
