// SPDX-License-Identifier: BSL-1.0
/// \file
/// Forward declarations of the types that appear in other people's headers.
#pragma once

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE {

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
class shared_reservation;

class storage;
struct segment;
struct layout;
class cpu_device;
class cpu_mover;
class memory_exporter;
class memory_source;
class jobs;
class buffer_statistics;
struct memory_event;
struct memory_report;
class memory_watch;

namespace pci {
struct address;
struct function;
class node;
class route;
class topology;
}  // namespace pci

namespace kernel {
class dma_buf_fd;
class fd_exporter;
class heap_exporter;
class p2pmem_exporter;
class sync_file;
class udmabuf_exporter;
class userfault;
}  // namespace kernel

namespace vfio {
class ioas;
class container;
class device;
class bar;
class dma_mapping;
}  // namespace vfio

}  // namespace PADDOCK_NAMESPACE
