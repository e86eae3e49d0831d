// SPDX-License-Identifier: BSL-1.0
// What it says changes under the lock.
// EXPECT: no matching (member )?function|too few arguments
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/buffer/placement.hpp>

using namespace paddock;

#ifdef PADDOCK_ALLOWED
void f(dma_buf<placement_exporter<memory_source>>& b, const resv_lock& held) { static_cast<void>(b.where(held)); }
#else
void f(dma_buf<placement_exporter<memory_source>>& b, const resv_lock&) { static_cast<void>(b.where()); }
#endif
