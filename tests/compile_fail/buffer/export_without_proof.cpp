// SPDX-License-Identifier: BSL-1.0
// A buffer is given away, and taken back, under the lock.
// EXPECT: no matching (member )?function|too few arguments|no known conversion|cannot convert|could not convert
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using attached = attachment<memory, test_device, revocable>;

#ifdef PADDOCK_ALLOWED
void f(memory& b, const resv_lock& held) { static_cast<void>(b.export_fd(held)); }
#else
void f(memory& b) { static_cast<void>(b.export_fd()); }
#endif
