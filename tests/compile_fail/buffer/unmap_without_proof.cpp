// SPDX-License-Identifier: BSL-1.0
// A mapping that may move is ended under the lock, and the lock is shown.
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
void f(armed_attachment<attachment<memory, test_device, movable>, test_device>& a, const resv_lock& held,
       mapping<test_device> m) {
  static_cast<void>(a.unmap(held, std::move(m)));
}
#else
void f(armed_attachment<attachment<memory, test_device, movable>, test_device>& a, mapping<test_device> m) {
  static_cast<void>(a.unmap(std::move(m)));
}
#endif
