// SPDX-License-Identifier: BSL-1.0
// Only the kernel's own buffers are managed by the kernel.
// EXPECT: only a buffer that the kernel manages
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
attachment<dma_buf<memory_exporter, kernel_managed>, test_device, kernel_managed> made;
#else
attachment<memory, test_device, kernel_managed> made;
#endif
