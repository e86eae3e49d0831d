// SPDX-License-Identifier: BSL-1.0
// Who copies is changed under the lock, or in the middle of a move.
// EXPECT: no matching (member )?function|too few arguments|no known conversion|cannot convert|could not convert
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using attached = attachment<memory, test_device, revocable>;

#ifdef PADDOCK_ALLOWED
void f(memory& b, cpu_mover& engine, const resv_lock& held) { static_cast<void>(b.use_mover(held, engine)); }
#else
void f(memory& b, cpu_mover& engine) { static_cast<void>(b.use_mover(engine)); }
#endif
