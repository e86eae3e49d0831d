// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the kernel offers a process as fences: DRM syncobjs, binary and of a timeline, and sync_files made from them.
/// Each operation is a system call, written out here, so that nothing stands between the measurement and the kernel.
#pragma once

#include <drm.h>
#include <fcntl.h>
#include <linux/sync_file.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <paddock/base/fd.hpp>

namespace paddock::bench {

/// The first render node whose driver has timelines, or none.
[[nodiscard]] inline const unique_fd& render_node() {
  static const unique_fd found = [] {
    for (int minor = 128; minor < 144; ++minor) {
      const std::string path = "/dev/dri/renderD" + std::to_string(minor);
      unique_fd fd = unique_fd::adopt(::open(path.c_str(), O_RDWR | O_CLOEXEC));
      drm_get_cap timelines{DRM_CAP_SYNCOBJ_TIMELINE, 0};
      if (fd.valid() && ::ioctl(fd.get(), DRM_IOCTL_GET_CAP, &timelines) == 0 && timelines.value != 0) {
        return fd;
      }
    }
    return unique_fd();
  }();
  return found;
}

template <class Argument>
void must_ioctl(int fd, unsigned long request, Argument& argument) noexcept {
  if (::ioctl(fd, request, &argument) != 0) {
    std::perror("ioctl");
    std::abort();
  }
}

class drm_syncobj {
 public:
  drm_syncobj() noexcept {
    drm_syncobj_create made{};
    must_ioctl(node(), DRM_IOCTL_SYNCOBJ_CREATE, made);
    handle_ = made.handle;
  }
  drm_syncobj(const drm_syncobj&) = delete;
  drm_syncobj& operator=(const drm_syncobj&) = delete;
  ~drm_syncobj() {
    drm_syncobj_destroy gone{handle_, 0};
    must_ioctl(node(), DRM_IOCTL_SYNCOBJ_DESTROY, gone);
  }

  void signal() noexcept {
    drm_syncobj_array one{reinterpret_cast<std::uintptr_t>(&handle_), 1, 0};
    must_ioctl(node(), DRM_IOCTL_SYNCOBJ_SIGNAL, one);
  }
  /// Requires: it was signaled.
  void wait() noexcept {
    drm_syncobj_wait one{};
    one.handles = reinterpret_cast<std::uintptr_t>(&handle_);
    one.count_handles = 1;
    one.timeout_nsec = INT64_MAX;
    must_ioctl(node(), DRM_IOCTL_SYNCOBJ_WAIT, one);
  }
  /// A sync_file of what it holds now. Requires: it was signaled.
  [[nodiscard]] unique_fd to_sync_file() noexcept {
    drm_syncobj_handle exported{};
    exported.handle = handle_;
    exported.flags = DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE;
    exported.fd = -1;
    must_ioctl(node(), DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, exported);
    return unique_fd::adopt(exported.fd);
  }

 protected:
  [[nodiscard]] static int node() noexcept { return render_node().get(); }
  std::uint32_t handle_{0};
};

/// The same with points.
class drm_timeline : private drm_syncobj {
 public:
  void signal(std::uint64_t point) noexcept {
    drm_syncobj_timeline_array one{};
    one.handles = reinterpret_cast<std::uintptr_t>(&handle_);
    one.points = reinterpret_cast<std::uintptr_t>(&point);
    one.count_handles = 1;
    must_ioctl(node(), DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, one);
  }
  [[nodiscard]] std::uint64_t signaled() noexcept {
    std::uint64_t point = 0;
    drm_syncobj_timeline_array one{};
    one.handles = reinterpret_cast<std::uintptr_t>(&handle_);
    one.points = reinterpret_cast<std::uintptr_t>(&point);
    one.count_handles = 1;
    must_ioctl(node(), DRM_IOCTL_SYNCOBJ_QUERY, one);
    return point;
  }
  void wait(std::uint64_t point) noexcept {
    drm_syncobj_timeline_wait one{};
    one.handles = reinterpret_cast<std::uintptr_t>(&handle_);
    one.points = reinterpret_cast<std::uintptr_t>(&point);
    one.count_handles = 1;
    one.timeout_nsec = INT64_MAX;
    must_ioctl(node(), DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, one);
  }
};

/// Complete from the start: a process cannot make a pending one.
class sync_file_fd {
 public:
  [[nodiscard]] static unique_fd make() noexcept {
    drm_syncobj from;
    from.signal();
    return from.to_sync_file();
  }

  void wait() noexcept {
    pollfd entry{file_.get(), POLLIN, 0};
    if (::poll(&entry, 1, -1) != 1) {
      std::perror("poll");
      std::abort();
    }
  }
  [[nodiscard]] unique_fd merge(const sync_file_fd& other) noexcept {
    sync_merge_data both{};
    both.fd2 = other.file_.get();
    must_ioctl(file_.get(), SYNC_IOC_MERGE, both);
    return unique_fd::adopt(both.fence);
  }

 private:
  unique_fd file_ = make();
};

}  // namespace paddock::bench
