// SPDX-License-Identifier: BSL-1.0
// A buffer moves when its exporter has somewhere to put it.
// EXPECT: a movable buffer needs an exporter that can put the bytes elsewhere
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
using it = dma_buf<placing_test_exporter, movable>;
buffer_ptr<it> f(exporter_log& log) { return *it::create(placing_test_exporter(log)); }
#else
using it = dma_buf<memory_exporter, movable>;
buffer_ptr<it> f() { return *it::create(memory_exporter(1)); }
#endif
