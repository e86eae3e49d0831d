// SPDX-License-Identifier: BSL-1.0
// An importer models the concept.
// EXPECT: constraints not satisfied|constraint failure|does not satisfy|is no device
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
attachment<memory, test_device> made;
#else
struct nothing {};
attachment<memory, nothing> made;
#endif
