// SPDX-License-Identifier: BSL-1.0
// Who drops a mapping has none.
// EXPECT: ignoring return
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
void f(attachment<memory, test_device>& a) {
  const auto m = a.map(direction::to_device);
  static_cast<void>(m);
}
#else
void f(attachment<memory, test_device>& a) { a.map(direction::to_device); }
#endif
