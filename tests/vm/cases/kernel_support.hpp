// SPDX-License-Identifier: BSL-1.0
/// \file
/// vgem: fences that a test starts and completes, on any dma-buf that vgem imports. The ioctls are written out here,
/// so that the cases judge kernel/ by something that is not paddock's.
#pragma once

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/uapi/ioctl_number.hpp>
#include <paddock/kernel/dma_heap.hpp>
#include <paddock/kernel/udmabuf.hpp>

#include "catch.hpp"

namespace paddock::kernel {

namespace drm_uapi {
struct version {
  int major{0}, minor{0}, patch{0};
  std::size_t name_length{0};
  char* name{nullptr};
  std::size_t date_length{0};
  char* date{nullptr};
  std::size_t description_length{0};
  char* description{nullptr};
};
struct prime_handle {
  std::uint32_t handle{0};
  std::uint32_t flags{0};
  std::int32_t fd{-1};
};
struct gem_close {
  std::uint32_t handle{0};
  std::uint32_t pad{0};
};
struct vgem_fence_attach {
  std::uint32_t handle{0};
  std::uint32_t flags{0};
  std::uint32_t out_fence{0};
  std::uint32_t pad{0};
};
struct vgem_fence_signal {
  std::uint32_t fence{0};
  std::uint32_t flags{0};
};
inline constexpr unsigned long get_version = uapi::iowr<version>('d', 0);
inline constexpr unsigned long close_handle = uapi::iow<gem_close>('d', 0x09);
inline constexpr unsigned long fd_to_handle = uapi::iowr<prime_handle>('d', 0x2e);
inline constexpr unsigned long fence_attach = uapi::iowr<vgem_fence_attach>('d', 0x41);
inline constexpr unsigned long fence_signal = uapi::iow<vgem_fence_signal>('d', 0x42);
static_assert(fence_attach == 0xc0106441 && fence_signal == 0x40086442);
}  // namespace drm_uapi

/// For cases about what one version of Linux has, whatever the probes say.
inline void needs_linux(unsigned major, unsigned minor) {
  utsname about{};
  REQUIRE(::uname(&about) == 0);
  char* rest = nullptr;
  const unsigned long first = std::strtoul(about.release, &rest, 10);
  const unsigned long second = *rest == '.' ? std::strtoul(rest + 1, nullptr, 10) : 0;
  if (first < major || (first == major && second < minor)) {
    test::skip(fmt::format("this is Linux {}, and the case is about {}.{}", about.release, major, minor).c_str());
  }
}

/// A vgem device. Its import shares the reservation of the dma-buf, so that its fences are the buffer's.
class vgem {
 public:
  vgem() {
    for (int card = 0; card < 8 && !fd_.valid(); ++card) {
      const std::string path = "/dev/dri/card" + std::to_string(card);
      unique_fd fd = unique_fd::adopt(::open(path.c_str(), O_RDWR | O_CLOEXEC));
      char name[32]{};
      drm_uapi::version version{};
      version.name = name;
      version.name_length = sizeof name - 1;
      if (fd.valid() && ::ioctl(fd.get(), drm_uapi::get_version, &version) == 0 && std::strcmp(name, "vgem") == 0) {
        fd_ = std::move(fd);
      }
    }
    if (!fd_.valid()) {
      test::skip("no vgem device");
    }
  }

  [[nodiscard]] borrowed_fd fd() const { return fd_.borrow(); }

  [[nodiscard]] std::uint32_t import(const dma_buf_fd& buffer) const {
    drm_uapi::prime_handle prime{0, 0, buffer.fd().get()};
    REQUIRE(::ioctl(fd_.get(), drm_uapi::fd_to_handle, &prime) == 0);
    return prime.handle;
  }

  /// A fence that stays pending (10 seconds at most) until signal().
  [[nodiscard]] std::uint32_t attach(std::uint32_t handle, access what) const {
    drm_uapi::vgem_fence_attach argument{handle, writes(what) ? 1U : 0U, 0, 0};
    REQUIRE(::ioctl(fd_.get(), drm_uapi::fence_attach, &argument) == 0);
    return argument.out_fence;
  }
  void signal(std::uint32_t fence) const {
    drm_uapi::vgem_fence_signal argument{fence, 0};
    REQUIRE(::ioctl(fd_.get(), drm_uapi::fence_signal, &argument) == 0);
  }

 private:
  unique_fd fd_;
};

/// A udmabuf that vgem has imported, to start fences on.
struct fenced_buffer {
  const vgem& device;
  udmabuf memory;
  std::uint32_t handle;

  static fenced_buffer make(const vgem& device, std::uint64_t size = 4096) {
    const auto node = udmabuf_device::open();
    REQUIRE(node);
    auto made = udmabuf::create(*node, size, "fenced");
    REQUIRE(made);
    const std::uint32_t handle = device.import(made->buffer());
    return {device, std::move(*made), handle};
  }
  [[nodiscard]] const dma_buf_fd& buffer() const { return memory.buffer(); }
  [[nodiscard]] std::uint32_t start(access what) const { return device.attach(handle, what); }
};

/// A pending fence as a sync_file, on a buffer of its own, and the way to complete it.
struct pending_fence {
  fenced_buffer where;
  std::uint32_t id;
  sync_file file;

  static pending_fence make(const vgem& device) {
    auto where = fenced_buffer::make(device);
    const std::uint32_t id = where.start(access::write);
    auto file = where.buffer().export_sync_file(access::read);
    REQUIRE(file);
    return {std::move(where), id, std::move(*file)};
  }
  void complete() const { where.device.signal(id); }
};

}  // namespace paddock::kernel
