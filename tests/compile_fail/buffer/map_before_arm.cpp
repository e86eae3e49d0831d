// SPDX-License-Identifier: BSL-1.0
// An attachment that may be moved is not ready to map before it can be told.
// EXPECT: maps through what arm.lock, hook. or pin.lock. returns
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
void f(attachment<memory, test_device, movable>& a, const resv_lock& held) {
  static_cast<void>((*a.pin(held))->map(held, direction::to_device));
}
#else
void f(attachment<memory, test_device, movable>& a, const resv_lock& held) { a.map(held, direction::to_device); }
#endif
