// SPDX-License-Identifier: BSL-1.0
// A copy of the whole would be a copy of the registers.
// EXPECT: registers are never bounced nor copied
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/buffer/mixed_exporter.hpp>
#include <paddock/vfio/bar_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;

#ifdef PADDOCK_ALLOWED
using part = vfio::bar_exporter;
#else
using part = vfio::doorbell_exporter;
#endif
attachment<dma_buf<mixed_exporter<memory_exporter, part>>, test_device, revocable, prefer_p2p>* made() {
  return new attachment<dma_buf<mixed_exporter<memory_exporter, part>>, test_device, revocable, prefer_p2p>;
}
