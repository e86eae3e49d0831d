// SPDX-License-Identifier: BSL-1.0
// What it says changes under the lock.
// EXPECT: no matching (member )?function|too few arguments
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/buffer/placement.hpp>

using namespace paddock;

#ifdef PADDOCK_ALLOWED
void f(dma_buf<memory_exporter>& b, const resv_lock& held) { static_cast<void>(b.last_move(held)); }
#else
void f(dma_buf<memory_exporter>& b, const resv_lock&) { static_cast<void>(b.last_move()); }
#endif
