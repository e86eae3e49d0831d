// SPDX-License-Identifier: BSL-1.0
// An exporter models the concept.
// EXPECT: constraints not satisfied|constraint failure|does not satisfy
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
using it = dma_buf<memory_exporter>;
void f(it&);
#else
struct nothing {};
using it = dma_buf<nothing>;
void f(it&);
#endif
