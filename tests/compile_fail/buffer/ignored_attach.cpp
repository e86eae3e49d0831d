// SPDX-License-Identifier: BSL-1.0
// An attachment that failed is none.
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
void f(attachment<memory, test_device>& a, const buffer_ptr<memory>& b, test_device& d) {
  static_cast<void>(a.attach(b, d));
}
#else
void f(attachment<memory, test_device>& a, const buffer_ptr<memory>& b, test_device& d) { a.attach(b, d); }
#endif
