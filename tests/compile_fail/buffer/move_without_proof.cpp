// SPDX-License-Identifier: BSL-1.0
// Moving needs the lock, held throughout.
// EXPECT: no matching (member )?function|too few arguments|cannot convert|could not convert|no known conversion
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
void f(placed& b, const resv_lock& held) { static_cast<void>(b.move(held, 1, deadline::now())); }
#else
void f(placed& b) { static_cast<void>(b.move(1, deadline::now())); }
#endif
