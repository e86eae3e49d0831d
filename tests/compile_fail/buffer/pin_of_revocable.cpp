// SPDX-License-Identifier: BSL-1.0
// A revocable attachment is pinned as long as it is armed.
// EXPECT: only a movable attachment is pinned for a while
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
void f(attachment<memory, test_device, revocable>& a, const resv_lock& held) { static_cast<void>(a.pin(held)); }
#endif
