// SPDX-License-Identifier: BSL-1.0
// Who arms is told from then on, under the lock.
// EXPECT: no matching (member )?function|too few arguments|no known conversion|cannot convert|could not convert
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using attached = attachment<memory, test_device, revocable>;

#ifdef PADDOCK_ALLOWED
void f(attached& a, const resv_lock& held) {
  static_cast<void>(a.arm(held, [](auto&, const resv_lock&) noexcept {}));
}
#else
void f(attached& a) {
  static_cast<void>(a.arm([](auto&, const resv_lock&) noexcept {}));
}
#endif
