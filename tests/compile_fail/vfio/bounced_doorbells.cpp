// SPDX-License-Identifier: BSL-1.0
// A copy of a doorbell rings nobody.
// EXPECT: registers are never bounced nor copied
#include <paddock/buffer/attachment.hpp>
#include <paddock/vfio/bar_exporter.hpp>
#include <paddock/vfio/device.hpp>

using buffer = paddock::dma_buf<paddock::vfio::doorbell_exporter>;

#ifdef PADDOCK_ALLOWED
paddock::attachment<buffer, paddock::vfio::device, paddock::revocable> made;
#else
paddock::attachment<buffer, paddock::vfio::device, paddock::revocable, paddock::prefer_p2p> made;
#endif
