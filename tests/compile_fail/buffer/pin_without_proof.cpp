// SPDX-License-Identifier: BSL-1.0
// Pinning needs the lock.
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
void f(attachment<memory, test_device, movable>& a, const resv_lock& held) { static_cast<void>(a.pin(held)); }
#else
void f(attachment<memory, test_device, movable>& a) { static_cast<void>(a.pin()); }
#endif
