// SPDX-License-Identifier: BSL-1.0
// Where the bytes are is known to who holds the lock.
// EXPECT: no matching (member )?function|too few arguments
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
void f(memory& b, const resv_lock& held) { static_cast<void>(b.storage(held)); }
#else
void f(memory& b) { static_cast<void>(b.storage()); }
#endif
