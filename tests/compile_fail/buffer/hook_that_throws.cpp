// SPDX-License-Identifier: BSL-1.0
// A hook runs where nothing may be thrown.
// EXPECT: a hook is called as hook.attachment&, resv_lock const&., and is noexcept
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
  static_cast<void>(a.arm(held, [](auto&, const resv_lock&) noexcept {}));
}
#else
void f(attachment<memory, test_device, movable>& a, const resv_lock& held) {
  static_cast<void>(a.arm(held, [](auto&, const resv_lock&) {}));
}
#endif
