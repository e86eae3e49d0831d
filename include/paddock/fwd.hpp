// SPDX-License-Identifier: BSL-1.0
/// \file
/// Forward declarations of the types that appear in other people's headers.
#pragma once

namespace paddock {

struct error;
class unique_fd;
class borrowed_fd;
class deadline;
struct buffer_id;

class fence;
class fence_ptr;
class fence_array;
class fence_callback;
class fence_chain;
class fence_context;
class timeline;
class tracked_context;
class user_fence;

class acquire_context;
class fence_cursor;
class fence_snapshot;
class lock_set;
class reservation;
class resv_guard;
class resv_lock;

namespace pci {
struct address;
}  // namespace pci

namespace kernel {
class dma_buf_fd;
class sync_file;
}  // namespace kernel

namespace vfio {
class ioas;
class container;
class device;
class bar;
class dma_mapping;
}  // namespace vfio

}  // namespace paddock
