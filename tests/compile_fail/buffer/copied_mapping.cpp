// SPDX-License-Identifier: BSL-1.0
// A mapping has one holder.
// EXPECT: use of deleted function|call to deleted constructor
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
void f(mapping<test_device>& m) {
  const mapping<test_device> other = std::move(m);
  static_cast<void>(other);
}
#else
void f(mapping<test_device>& m) {
  const mapping<test_device> other = m;
  static_cast<void>(other);
}
#endif
