// SPDX-License-Identifier: BSL-1.0
// An attachment stays where its buffer knows it.
// EXPECT: use of deleted function|call to deleted constructor|call to implicitly-deleted|is implicitly deleted
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
using it = attachment<memory, test_device>;
void f(it& a) {
  const it& other = a;
  static_cast<void>(other);
}
#else
using it = attachment<memory, test_device>;
void f(it& a) {
  const it other = std::move(a);
  static_cast<void>(other);
}
#endif
