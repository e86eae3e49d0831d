// SPDX-License-Identifier: BSL-1.0
// What becomes of jobs in flight is said by `jobs`.
// EXPECT: on_invalidate returns jobs, or nothing
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
  static_cast<void>(a.arm(held, [](auto&, const resv_lock&) noexcept { return jobs::cancel(); }));
}
#else
void f(attachment<memory, test_device, movable>& a, const resv_lock& held) {
  static_cast<void>(a.arm(held, [](auto&, const resv_lock&) noexcept { return true; }));
}
#endif
