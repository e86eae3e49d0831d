// SPDX-License-Identifier: BSL-1.0
// A mapping that may move is made under the lock, and the lock is shown.
// EXPECT: no matching (member )?function|too few arguments|no known conversion|cannot convert|could not convert
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
void f(armed_attachment<attachment<memory, test_device, movable>, test_device>& a, const resv_lock& held) {
  static_cast<void>(a.map(held, direction::to_device));
}
#else
void f(armed_attachment<attachment<memory, test_device, movable>, test_device>& a) {
  static_cast<void>(a.map(direction::to_device));
}
#endif
