// SPDX-License-Identifier: BSL-1.0
/// \file
/// The wrappers of kernel/.
#pragma once

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cstring>
#include <string_view>
#include <type_traits>

#include <paddock/base/uapi/dma_buf.hpp>
#include <paddock/base/uapi/dma_heap.hpp>
#include <paddock/base/uapi/sync_file.hpp>
#include <paddock/base/uapi/udmabuf.hpp>
#include <paddock/kernel/dma_heap.hpp>
#include <paddock/kernel/memfd.hpp>
#include <paddock/kernel/probe.hpp>
#include <paddock/kernel/sync_file.hpp>
#include <paddock/kernel/udmabuf.hpp>

#include "../support/clock.hpp"
#include "ioctl_pair.hpp"

namespace paddock::bench::pairs {

inline const result<kernel::dma_heap>& heap() {
  static const auto opened = kernel::dma_heap::open("system");
  return opened;
}
inline const result<kernel::udmabuf_device>& udmabuf_node() {
  static const auto opened = kernel::udmabuf_device::open();
  return opened;
}

struct buffer_pair : ioctl_pair {
  [[nodiscard]] static const char* lacking() { return heap() ? nullptr : "no dma-heap here"; }
  const kernel::dma_buf_fd buffer = there(heap()->allocate(4096));
  const int fd = buffer.fd().get();
};

template <std::uint64_t Phase>
struct cpu_access_pair : buffer_pair {
  [[nodiscard]] result<void> wrapped() const {
    return Phase == uapi::dma_buf_sync_start ? buffer.sync_start(access::read) : buffer.sync_end(access::read);
  }
  [[nodiscard]] int raw() const {
    uapi::dma_buf_sync argument{Phase | uapi::dma_buf_sync_read};
    return ::ioctl(fd, uapi::dma_buf_ioctl_sync, &argument);
  }
};

/// One that the compiler does not know: of a literal it does the work of checking it. Nothing says that it is followed
/// by a NUL, so the raw one has to see to that, too.
struct set_name : buffer_pair {
  void prepare() { clobber(&name); }
  [[nodiscard]] result<void> wrapped() const { return buffer.set_name(name); }
  [[nodiscard]] int raw() const {
    char terminated[uapi::dma_buf_name_max + 1]{};
    name.copy(terminated, uapi::dma_buf_name_max);
    return ::ioctl(fd, uapi::dma_buf_set_name_b, terminated);
  }
  std::string_view name = "a name";
};

struct export_fences : buffer_pair {
  [[nodiscard]] result<kernel::sync_file> wrapped() const { return buffer.export_sync_file(access::write); }
  [[nodiscard]] unique_fd raw() const {
    uapi::dma_buf_sync_file argument{uapi::dma_buf_sync_write, -1};
    static_cast<void>(::ioctl(fd, uapi::dma_buf_ioctl_export_sync_file, &argument));
    return unique_fd::adopt(argument.fd);
  }
};

struct import_fences : buffer_pair {
  [[nodiscard]] result<void> wrapped() const { return buffer.import_sync_file(fences, access::write); }
  [[nodiscard]] int raw() const {
    uapi::dma_buf_sync_file argument{uapi::dma_buf_sync_write, fences.fd().get()};
    return ::ioctl(fd, uapi::dma_buf_ioctl_import_sync_file, &argument);
  }
  const kernel::sync_file fences = there(buffer.export_sync_file(access::write));
};

/// A call that the kernel refuses.
struct probe_call : buffer_pair {
  [[nodiscard]] int wrapped() const { return kernel::probe(kernel::feature::dma_buf_sync, buffer).is_yes() ? 0 : -1; }
  [[nodiscard]] int raw() const {
    uapi::dma_buf_sync argument{0};
    return ::ioctl(fd, uapi::dma_buf_ioctl_sync, &argument) != 0 && errno == EINVAL ? 0 : -1;
  }
};

struct merge_two : import_fences {
  [[nodiscard]] result<kernel::sync_file> wrapped() const { return kernel::sync_file::merge(fences, other); }
  [[nodiscard]] unique_fd raw() const {
    uapi::sync_merge_data argument{};
    std::memcpy(argument.name, "paddock", 8);
    argument.fd2 = other.fd().get();
    static_cast<void>(::ioctl(fences.fd().get(), uapi::sync_ioc_merge, &argument));
    return unique_fd::adopt(argument.fence);
  }
  const kernel::sync_file other = there(buffer.export_sync_file(access::read));
};

struct file_info : import_fences {
  [[nodiscard]] result<kernel::sync_status> wrapped() const { return fences.status(); }
  [[nodiscard]] int raw() const {
    uapi::sync_file_info argument{};
    return ::ioctl(fences.fd().get(), uapi::sync_ioc_file_info, &argument) == 0 ? argument.status : -1;
  }
};

struct set_deadline : import_fences {
  [[nodiscard]] result<void> wrapped() const { return fences.set_deadline(by); }
  [[nodiscard]] int raw() const {
    uapi::sync_set_deadline argument{static_cast<std::uint64_t>(by.nanoseconds()), 0};
    return ::ioctl(fences.fd().get(), uapi::sync_ioc_set_deadline, &argument);
  }
  const deadline by = deadline::in(std::chrono::hours(1));
};

template <std::uint64_t Size>
struct allocate : ioctl_pair {
  [[nodiscard]] static const char* lacking() { return buffer_pair::lacking(); }
  [[nodiscard]] result<kernel::dma_buf_fd> wrapped() const { return heap()->allocate(Size); }
  [[nodiscard]] unique_fd raw() const {
    uapi::dma_heap_allocation argument{};
    argument.len = Size;
    argument.fd_flags = O_RDWR | O_CLOEXEC;
    const int answer = ::ioctl(fd, uapi::dma_heap_ioctl_alloc, &argument);
    return unique_fd::adopt(answer == 0 ? static_cast<int>(argument.fd) : -1);
  }
  const int fd = heap()->fd().get();
};

template <std::uint64_t Size>
struct create_udmabuf : ioctl_pair {
  [[nodiscard]] static const char* lacking() { return udmabuf_node() ? nullptr : "no udmabuf here"; }
  [[nodiscard]] result<kernel::dma_buf_fd> wrapped() const {
    return udmabuf_node()->create(kernel::udmabuf_window{memory.fd(), 0, Size});
  }
  [[nodiscard]] unique_fd raw() const {
    uapi::udmabuf_create argument{};
    argument.memfd = static_cast<std::uint32_t>(memory.fd().get());
    argument.flags = uapi::udmabuf_flags_cloexec;
    argument.size = Size;
    return unique_fd::adopt(::ioctl(fd, uapi::udmabuf_create_ioctl, &argument));
  }
  const kernel::memfd memory = there(kernel::memfd::create(Size, "bench"));
  const int fd = udmabuf_node()->fd().get();
};

/// Calls visit(std::type_identity<Pair>, name) for each.
template <class Visit>
void each_kernel_pair(Visit visit) {
  visit(std::type_identity<cpu_access_pair<uapi::dma_buf_sync_start>>(), "DMA_BUF_IOCTL_SYNC, start");
  visit(std::type_identity<cpu_access_pair<uapi::dma_buf_sync_end>>(), "DMA_BUF_IOCTL_SYNC, end");
  visit(std::type_identity<probe_call>(), "DMA_BUF_IOCTL_SYNC, a probe");
  visit(std::type_identity<set_name>(), "DMA_BUF_SET_NAME_B");
  visit(std::type_identity<export_fences>(), "DMA_BUF_IOCTL_EXPORT_SYNC_FILE");
  visit(std::type_identity<import_fences>(), "DMA_BUF_IOCTL_IMPORT_SYNC_FILE");
  visit(std::type_identity<merge_two>(), "SYNC_IOC_MERGE");
  visit(std::type_identity<file_info>(), "SYNC_IOC_FILE_INFO");
  visit(std::type_identity<set_deadline>(), "SYNC_IOC_SET_DEADLINE");
  visit(std::type_identity<allocate<4096>>(), "DMA_HEAP_IOCTL_ALLOC, 4 KiB");
  visit(std::type_identity<allocate<1U << 20U>>(), "DMA_HEAP_IOCTL_ALLOC, 1 MiB");
  visit(std::type_identity<create_udmabuf<4096>>(), "UDMABUF_CREATE, 4 KiB");
  visit(std::type_identity<create_udmabuf<1U << 20U>>(), "UDMABUF_CREATE, 1 MiB");
}

}  // namespace paddock::bench::pairs
