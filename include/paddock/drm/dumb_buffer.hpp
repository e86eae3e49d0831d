// SPDX-License-Identifier: BSL-1.0
/// \file
/// `drm::dumb_buffer`: a picture in memory that the display can scan out, and the CPU draws.
/// Kernel: drivers/gpu/drm/drm_dumb_buffers.c.
#pragma once

#include <xf86drm.h>
#include <xf86drmMode.h>

#include <cstdint>
#include <utility>

#include <paddock/base/result.hpp>
#include <paddock/drm/gem.hpp>
#include <paddock/kernel/mapped_memory.hpp>

namespace PADDOCK_NAMESPACE::drm {

/// Made by a primary node of a driver that has them, see capability::dumb_buffers. Thread-safety: as a value.
class dumb_buffer {
 public:
  /// `bits` a pixel, a multiple of 8. Errors: unsupported_by_device; invalid_argument (0, or more than the driver
  /// takes); permission (a render node); out_of_memory; no_device. Kernel: DRM_IOCTL_MODE_CREATE_DUMB.
  [[nodiscard]] static result<dumb_buffer> create(const device& on, std::uint32_t width, std::uint32_t height,
                                                  std::uint32_t bits) noexcept {
    PADDOCK_TRY_VOID(on.check_there("dumb_buffer::create"));
    if (width == 0 || height == 0 || bits == 0) {
      return fail(errc::invalid_argument, "dumb_buffer::create");
    }
    dumb_buffer made;
    std::uint32_t handle = 0;
    PADDOCK_TRY_VOID(
        on.check(::drmModeCreateDumbBuffer(on.fd().get(), width, height, bits, 0, &handle, &made.stride_, &made.size_),
                 "DRM_IOCTL_MODE_CREATE_DUMB"));
    PADDOCK_TRY(made.gem_, gem::adopt(on, gem_handle(handle)));
    return made;
  }

  [[nodiscard]] const drm::gem& gem() const noexcept { return gem_; }
  /// Bytes from one row to the next.
  [[nodiscard]] std::uint32_t stride() const noexcept { return stride_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Its bytes. What devices and the CPU do to them is ordered through the dma-buf that gem().export_() gives.
  /// Errors: no_device; as mmap. Kernel: DRM_IOCTL_MODE_MAP_DUMB.
  [[nodiscard]] result<kernel::mapped_memory> map() const noexcept {
    const device& on = gem_.device();
    std::uint64_t offset = 0;
    PADDOCK_TRY_VOID(
        on.check(::drmModeMapDumbBuffer(on.fd().get(), gem_.handle().value(), &offset), "DRM_IOCTL_MODE_MAP_DUMB"));
    return kernel::mapped_memory::map(on.fd(), access::read_write, offset, size_);
  }

 private:
  dumb_buffer() noexcept = default;

  drm::gem gem_;
  std::uint64_t size_{0};
  std::uint32_t stride_{0};
};

}  // namespace PADDOCK_NAMESPACE::drm
