// SPDX-License-Identifier: BSL-1.0
// A slice of a BAR is where it is.
// EXPECT: a movable buffer needs an exporter that can put the bytes elsewhere
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/vfio/bar_exporter.hpp>

#ifdef PADDOCK_ALLOWED
paddock::buffer_ptr<paddock::dma_buf<paddock::vfio::bar_exporter>> buffer;
#else
paddock::buffer_ptr<paddock::dma_buf<paddock::vfio::bar_exporter, paddock::movable>> buffer;
#endif
