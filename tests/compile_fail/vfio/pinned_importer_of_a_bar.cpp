// SPDX-License-Identifier: BSL-1.0
// A device that has a slice of another one's BAR mapped must be ready to lose it: by default attachments are pinned.
// EXPECT: this exporter takes its storage back when its device is reset
#include <paddock/buffer/attachment.hpp>
#include <paddock/vfio/bar_exporter.hpp>
#include <paddock/vfio/device.hpp>

using buffer = paddock::dma_buf<paddock::vfio::bar_exporter>;

#ifdef PADDOCK_ALLOWED
paddock::attachment<buffer, paddock::vfio::device, paddock::revocable> made;
#else
paddock::attachment<buffer, paddock::vfio::device> made;
#endif
