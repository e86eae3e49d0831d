// SPDX-License-Identifier: BSL-1.0
// Whose turn it is with storage that may go is said under the lock.
// EXPECT: no matching (member )?function|too few arguments|no known conversion|cannot convert|could not convert
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using attached = attachment<memory, test_device, revocable>;

#ifdef PADDOCK_ALLOWED
void f(attached& a, const mapping<test_device>& m, const resv_lock& held) {
  static_cast<void>(a.sync_for_device(held, m, direction::to_device));
}
#else
void f(attached& a, const mapping<test_device>& m) { static_cast<void>(a.sync_for_device(m, direction::to_device)); }
#endif
