// SPDX-License-Identifier: BSL-1.0
// A buffer whose policy is to stay is not taken back.
// EXPECT: only a revocable or movable buffer is taken back
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
void f(behind_bar& b) { static_cast<void>(b.revoke(deadline::now())); }
#else
void f(memory& b) { static_cast<void>(b.revoke(deadline::now())); }
#endif
