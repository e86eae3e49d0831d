// SPDX-License-Identifier: BSL-1.0
// A hook is kept in the attachment, which has room for two words.
// EXPECT: so it has at most two words
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
void f(attachment<memory, test_device, movable>& a, const resv_lock& held, int (&n)[8]) {
  static_cast<void>(a.arm(held, [&n](auto&, const resv_lock&) noexcept { ++n[0]; }));
}
#else
void f(attachment<memory, test_device, movable>& a, const resv_lock& held, int (&n)[8]) {
  static_cast<void>(a.arm(held, [n](auto&, const resv_lock&) noexcept { static_cast<void>(n); }));
}
#endif
