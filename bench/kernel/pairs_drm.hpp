// SPDX-License-Identifier: BSL-1.0
/// \file
/// The wrappers of drm/. The raw calls do without libdrm.
#pragma once

#include <drm.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <optional>
#include <type_traits>

#include <paddock/base/uapi/drm.hpp>
#include <paddock/drm/device.hpp>
#include <paddock/drm/dumb_buffer.hpp>
#include <paddock/drm/gem.hpp>
#include <paddock/drm/probe.hpp>
#include <paddock/drm/syncobj.hpp>
#include <paddock/kernel/dma_heap.hpp>

#include "../support/clock.hpp"
#include "ioctl_pair.hpp"

namespace paddock::bench::pairs {

/// Timelines, and a handle of one's own for what is raw.
inline const result<drm::device>& gpu() {
  static const auto opened = drm::device::open_driver("virtio_gpu", drm::node_type::render);
  return opened;
}
/// Dumb buffers, and imports.
inline const result<drm::device>& vgem() {
  static const auto opened = drm::device::open_driver("vgem", drm::node_type::primary);
  return opened;
}

template <class Argument>
void must_ioctl(int fd, unsigned long request, Argument argument) {
  must_succeed(::ioctl(fd, request, &argument));
}

/// A handle that an ioctl made, destroyed when it goes, which is not counted.
template <auto Destroy>
struct raw_handle {
  raw_handle(int of, std::uint32_t made) noexcept : fd(of), handle(made) {}
  raw_handle(const raw_handle&) = delete;
  raw_handle& operator=(const raw_handle&) = delete;
  ~raw_handle() {
    if (handle != 0) {
      Destroy(fd, handle);
    }
  }
  friend void must_succeed(const raw_handle& made) {
    if (made.handle == 0) {
      give_up("ioctl");
    }
  }
  int fd;
  std::uint32_t handle;
};
using raw_syncobj = raw_handle<[](int fd, std::uint32_t handle) {
  must_ioctl(fd, DRM_IOCTL_SYNCOBJ_DESTROY, drm_syncobj_destroy{handle, 0});
}>;
using raw_gem = raw_handle<[](int fd, std::uint32_t handle) {
  must_ioctl(fd, DRM_IOCTL_GEM_CLOSE, drm_gem_close{handle, 0});
}>;

// --- syncobjs
// ---------------------------------------------------------------------------------------------------------

struct on_gpu : ioctl_pair {
  [[nodiscard]] static const char* lacking() { return gpu() ? nullptr : "no DRM device with timelines here"; }
  const int fd = gpu()->fd().get();
};
/// One that is signaled, and a timeline of ten signaled points.
struct of_syncobj : on_gpu {
  of_syncobj() { must_succeed(line.signal(timeline_point(10))); }
  [[nodiscard]] static std::uint64_t address(const std::uint32_t& handle) {
    return reinterpret_cast<std::uintptr_t>(&handle);
  }
  const drm::syncobj box = there(drm::syncobj::create(*gpu(), true));
  const drm::syncobj line = there(drm::syncobj::create(*gpu()));
  const std::uint32_t box_handle = box.handle().value();
  const std::uint32_t line_handle = line.handle().value();
};

struct create_syncobj : on_gpu {
  [[nodiscard]] result<drm::syncobj> wrapped() const { return drm::syncobj::create(*gpu()); }
  [[nodiscard]] raw_syncobj raw() const {
    drm_syncobj_create argument{};
    static_cast<void>(::ioctl(fd, DRM_IOCTL_SYNCOBJ_CREATE, &argument));
    return {fd, argument.handle};
  }
};
struct destroy_syncobj : on_gpu {
  void prepare() {
    if (!mine) {
      mine.emplace(there(drm::syncobj::create(*gpu())));
    }
    if (bare == 0) {
      drm_syncobj_create argument{};
      must_succeed(::ioctl(fd, DRM_IOCTL_SYNCOBJ_CREATE, &argument));
      bare = argument.handle;
    }
  }
  [[nodiscard]] int wrapped() {
    mine.reset();
    return 0;
  }
  [[nodiscard]] int raw() {
    drm_syncobj_destroy argument{std::exchange(bare, 0), 0};
    return ::ioctl(fd, DRM_IOCTL_SYNCOBJ_DESTROY, &argument);
  }
  std::optional<drm::syncobj> mine;
  std::uint32_t bare{0};
};

struct signal_syncobj : of_syncobj {
  [[nodiscard]] result<void> wrapped() const { return box.signal(); }
  [[nodiscard]] int raw() const {
    drm_syncobj_array argument{address(box_handle), 1, 0};
    return ::ioctl(fd, DRM_IOCTL_SYNCOBJ_SIGNAL, &argument);
  }
};
struct reset_syncobj : of_syncobj {
  void prepare() const { must_succeed(box.signal()); }
  [[nodiscard]] result<void> wrapped() const { return box.reset(); }
  [[nodiscard]] int raw() const {
    drm_syncobj_array argument{address(box_handle), 1, 0};
    return ::ioctl(fd, DRM_IOCTL_SYNCOBJ_RESET, &argument);
  }
};
struct signal_point : of_syncobj {
  [[nodiscard]] result<void> wrapped() { return line.signal(timeline_point(++last)); }
  [[nodiscard]] int raw() {
    const std::uint64_t point = ++last;
    drm_syncobj_timeline_array argument{};
    argument.handles = address(line_handle);
    argument.points = reinterpret_cast<std::uintptr_t>(&point);
    argument.count_handles = 1;
    return ::ioctl(fd, DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, &argument);
  }
  std::uint64_t last{10};
};
struct query : of_syncobj {
  [[nodiscard]] result<timeline_point> wrapped() const { return line.signaled(); }
  [[nodiscard]] int raw() const {
    std::uint64_t point = 0;
    drm_syncobj_timeline_array argument{};
    argument.handles = address(line_handle);
    argument.points = reinterpret_cast<std::uintptr_t>(&point);
    argument.count_handles = 1;
    const int answer = ::ioctl(fd, DRM_IOCTL_SYNCOBJ_QUERY, &argument);
    keep(point);
    return answer;
  }
};
struct wait_on_box : of_syncobj {
  [[nodiscard]] result<wait_status> wrapped() const { return box.wait(deadline::never()); }
  [[nodiscard]] int raw() const {
    drm_syncobj_wait argument{};
    argument.handles = address(box_handle);
    argument.count_handles = 1;
    argument.timeout_nsec = INT64_MAX;
    return ::ioctl(fd, DRM_IOCTL_SYNCOBJ_WAIT, &argument);
  }
};
struct wait_on_point : of_syncobj {
  [[nodiscard]] result<wait_status> wrapped() const { return line.wait(timeline_point(5), deadline::never()); }
  [[nodiscard]] int raw() const {
    const std::uint64_t point = 5;
    drm_syncobj_timeline_wait argument{};
    argument.handles = address(line_handle);
    argument.points = reinterpret_cast<std::uintptr_t>(&point);
    argument.count_handles = 1;
    argument.timeout_nsec = INT64_MAX;
    return ::ioctl(fd, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &argument);
  }
};
struct transfer : of_syncobj {
  [[nodiscard]] result<void> wrapped() const { return line.transfer(timeline_point(10), box, timeline_point(0)); }
  [[nodiscard]] int raw() const {
    drm_syncobj_transfer argument{};
    argument.src_handle = line_handle;
    argument.dst_handle = box_handle;
    argument.src_point = 10;
    return ::ioctl(fd, DRM_IOCTL_SYNCOBJ_TRANSFER, &argument);
  }
};

struct export_syncobj : of_syncobj {
  [[nodiscard]] result<unique_fd> wrapped() const { return box.export_(); }
  [[nodiscard]] unique_fd raw() const {
    drm_syncobj_handle argument{};
    argument.handle = box_handle;
    argument.fd = -1;
    static_cast<void>(::ioctl(fd, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &argument));
    return unique_fd::adopt(argument.fd);
  }
};
struct import_syncobj : of_syncobj {
  [[nodiscard]] result<drm::syncobj> wrapped() const { return drm::syncobj::import_(*gpu(), exported); }
  [[nodiscard]] raw_syncobj raw() const {
    drm_syncobj_handle argument{};
    argument.fd = exported.get();
    static_cast<void>(::ioctl(fd, DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &argument));
    return {fd, argument.handle};
  }
  const unique_fd exported = there(box.export_());
};
struct export_fence_of : of_syncobj {
  [[nodiscard]] result<kernel::sync_file> wrapped() const { return box.export_sync_file(); }
  [[nodiscard]] unique_fd raw() const {
    drm_syncobj_handle argument{};
    argument.handle = box_handle;
    argument.flags = DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE;
    argument.fd = -1;
    static_cast<void>(::ioctl(fd, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &argument));
    return unique_fd::adopt(argument.fd);
  }
};
struct export_point : of_syncobj {
  [[nodiscard]] static const char* lacking() {
    if (const char* const nothing = of_syncobj::lacking(); nothing != nullptr) {
      return nothing;
    }
    return drm::probe(*gpu(), drm::feature::sync_file_at_point).is_yes() ? nullptr
                                                                         : "no single ioctl for it here (6.16)";
  }
  [[nodiscard]] result<kernel::sync_file> wrapped() const { return line.export_sync_file(timeline_point(10)); }
  [[nodiscard]] unique_fd raw() const {
    uapi::drm_syncobj_handle argument{};
    argument.handle = line_handle;
    argument.flags = uapi::drm_syncobj_export_sync_file | uapi::drm_syncobj_export_timeline;
    argument.point = 10;
    static_cast<void>(::ioctl(fd, uapi::drm_ioctl_syncobj_handle_to_fd, &argument));
    return unique_fd::adopt(argument.fd);
  }
};
struct import_fence_to : of_syncobj {
  [[nodiscard]] result<void> wrapped() const { return box.import_sync_file(fences); }
  [[nodiscard]] int raw() const {
    drm_syncobj_handle argument{};
    argument.handle = box_handle;
    argument.flags = DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE;
    argument.fd = fences.fd().get();
    return ::ioctl(fd, DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &argument);
  }
  const kernel::sync_file fences = there(box.export_sync_file());
};
struct notify_event : of_syncobj {
  [[nodiscard]] result<void> wrapped() const { return line.notify(event, timeline_point(5)); }
  [[nodiscard]] int raw() const {
    uapi::drm_syncobj_eventfd argument{};
    argument.handle = line_handle;
    argument.point = 5;
    argument.fd = event.get();
    return ::ioctl(fd, uapi::drm_ioctl_syncobj_eventfd, &argument);
  }
  const unique_fd event = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
};

// --- buffers
// ----------------------------------------------------------------------------------------------------------

struct on_vgem : ioctl_pair {
  [[nodiscard]] static const char* lacking() { return vgem() ? nullptr : "no vgem device here"; }
  const int fd = vgem()->fd().get();
};

struct import_buffer : on_vgem {
  [[nodiscard]] static const char* lacking() {
    return kernel::dma_heap::open("system") ? on_vgem::lacking() : "no dma-heap here";
  }
  [[nodiscard]] result<drm::gem> wrapped() const { return drm::gem::import_(*vgem(), buffer); }
  [[nodiscard]] raw_gem raw() const {
    drm_prime_handle argument{};
    argument.fd = buffer.fd().get();
    static_cast<void>(::ioctl(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &argument));
    return {fd, argument.handle};
  }
  const kernel::dma_buf_fd buffer = there(there(kernel::dma_heap::open("system")).allocate(4096));
};
struct close_buffer : import_buffer {
  void prepare() {
    if (!mine) {
      mine.emplace(there(drm::gem::import_(*vgem(), buffer)));
    }
    if (bare == 0) {
      drm_prime_handle argument{};
      argument.fd = other.fd().get();
      must_succeed(::ioctl(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &argument));
      bare = argument.handle;
    }
  }
  [[nodiscard]] int wrapped() {
    mine.reset();
    return 0;
  }
  [[nodiscard]] int raw() {
    drm_gem_close argument{std::exchange(bare, 0), 0};
    return ::ioctl(fd, DRM_IOCTL_GEM_CLOSE, &argument);
  }
  const kernel::dma_buf_fd other = there(there(kernel::dma_heap::open("system")).allocate(4096));
  std::optional<drm::gem> mine;
  std::uint32_t bare{0};
};
struct dumb_pair : on_vgem {
  const drm::dumb_buffer picture = there(drm::dumb_buffer::create(*vgem(), 64, 64, 32));
  const std::uint32_t handle = picture.gem().handle().value();
};
struct export_buffer : dumb_pair {
  [[nodiscard]] result<kernel::dma_buf_fd> wrapped() const { return picture.gem().export_(); }
  [[nodiscard]] unique_fd raw() const {
    drm_prime_handle argument{};
    argument.handle = handle;
    argument.flags = DRM_CLOEXEC | DRM_RDWR;
    argument.fd = -1;
    static_cast<void>(::ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &argument));
    return unique_fd::adopt(argument.fd);
  }
};
struct create_dumb : on_vgem {
  [[nodiscard]] result<drm::dumb_buffer> wrapped() const { return drm::dumb_buffer::create(*vgem(), 64, 64, 32); }
  [[nodiscard]] raw_gem raw() const {
    drm_mode_create_dumb argument{};
    argument.width = 64;
    argument.height = 64;
    argument.bpp = 32;
    static_cast<void>(::ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &argument));
    return {fd, argument.handle};
  }
};
/// With the mmap, on both sides.
struct map_dumb : dumb_pair {
  struct window {
    window(void* made, std::size_t bytes) noexcept : begin(made), size(bytes) {}
    window(const window&) = delete;
    window& operator=(const window&) = delete;
    ~window() { ::munmap(begin, size); }
    friend void must_succeed(const window& made) {
      if (made.begin == MAP_FAILED) {
        give_up("mmap");
      }
    }
    void* begin;
    std::size_t size;
  };
  [[nodiscard]] result<kernel::mapped_memory> wrapped() const { return picture.map(); }
  [[nodiscard]] window raw() const {
    drm_mode_map_dumb argument{};
    argument.handle = handle;
    static_cast<void>(::ioctl(fd, DRM_IOCTL_MODE_MAP_DUMB, &argument));
    return {
        ::mmap(nullptr, picture.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(argument.offset)),
        picture.size()};
  }
};

/// Calls visit(std::type_identity<Pair>, name) for each.
template <class Visit>
void each_drm_pair(Visit visit) {
  visit(std::type_identity<create_syncobj>(), "DRM_IOCTL_SYNCOBJ_CREATE");
  visit(std::type_identity<destroy_syncobj>(), "DRM_IOCTL_SYNCOBJ_DESTROY");
  visit(std::type_identity<signal_syncobj>(), "DRM_IOCTL_SYNCOBJ_SIGNAL");
  visit(std::type_identity<reset_syncobj>(), "DRM_IOCTL_SYNCOBJ_RESET");
  visit(std::type_identity<signal_point>(), "DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL");
  visit(std::type_identity<query>(), "DRM_IOCTL_SYNCOBJ_QUERY");
  visit(std::type_identity<wait_on_box>(), "DRM_IOCTL_SYNCOBJ_WAIT");
  visit(std::type_identity<wait_on_point>(), "DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT");
  visit(std::type_identity<transfer>(), "DRM_IOCTL_SYNCOBJ_TRANSFER");
  visit(std::type_identity<export_syncobj>(), "DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD");
  visit(std::type_identity<import_syncobj>(), "DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE");
  visit(std::type_identity<export_fence_of>(), "DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, a sync_file");
  visit(std::type_identity<export_point>(), "DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, a point's sync_file");
  visit(std::type_identity<import_fence_to>(), "DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, a sync_file");
  visit(std::type_identity<notify_event>(), "DRM_IOCTL_SYNCOBJ_EVENTFD");
  visit(std::type_identity<import_buffer>(), "DRM_IOCTL_PRIME_FD_TO_HANDLE");
  visit(std::type_identity<export_buffer>(), "DRM_IOCTL_PRIME_HANDLE_TO_FD");
  visit(std::type_identity<close_buffer>(), "DRM_IOCTL_GEM_CLOSE");
  visit(std::type_identity<create_dumb>(), "DRM_IOCTL_MODE_CREATE_DUMB");
  visit(std::type_identity<map_dumb>(), "DRM_IOCTL_MODE_MAP_DUMB and mmap");
}

}  // namespace paddock::bench::pairs
