// SPDX-License-Identifier: BSL-1.0
/// \file
/// `drm::gem`: a buffer as a GEM handle of one device, counted as the kernel does not count it.
/// Kernel: drivers/gpu/drm/drm_gem.c, drm_prime.c.
#pragma once

#include <fcntl.h>
#include <xf86drm.h>

#include <cstdint>
#include <utility>

#include <paddock/base/ids.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/drm/device.hpp>
#include <paddock/kernel/dma_buf_fd.hpp>

namespace PADDOCK_NAMESPACE::drm {

/// A GEM handle. In one open file the kernel gives the same handle for the same buffer however often it is imported,
/// and closes it at the first GEM_CLOSE; here the last `gem` closes it, also across devices that share their file. Who
/// calls GEM_CLOSE behind paddock's back (another library on the same file) takes the handle away from all.
/// A counted reference; empty when default-made or moved from. Thread-safety: as a value; the count from any thread.
class gem {
 public:
  gem() noexcept = default;
  gem(const gem& other) noexcept : device_(other.device_), entry_(other.entry_) {
    if (entry_ != nullptr) {
      device_.file_->add_use(*entry_);
    }
  }
  gem(gem&& other) noexcept : device_(std::move(other.device_)), entry_(std::exchange(other.entry_, nullptr)) {}
  gem& operator=(gem other) noexcept {
    std::swap(device_, other.device_);
    std::swap(entry_, other.entry_);
    return *this;
  }
  ~gem() { drop(); }

  /// The handle of a dma-buf in this device. Errors: unsupported_by_device (the driver imports nothing, or not from
  /// this exporter: a VFIO BAR needs one that can do peer to peer); bad_fd; no_device; out_of_memory. Kernel:
  /// DRM_IOCTL_PRIME_FD_TO_HANDLE.
  [[nodiscard]] static result<gem> import_(const device& into, const kernel::dma_buf_operations& buffer) noexcept {
    PADDOCK_TRY_VOID(into.check_there("gem::import_"));
    const auto import = [&](std::uint32_t& handle) noexcept -> result<void> {
      ::drm_prime_handle argument{0, 0, buffer.fd().get()};
      if (::drmIoctl(into.fd().get(), DRM_IOCTL_PRIME_FD_TO_HANDLE, &argument) != 0) {
        return fail_errno("DRM_IOCTL_PRIME_FD_TO_HANDLE");
      }
      handle = argument.handle;
      return {};
    };
    const auto entry = into.file_->add_use(import);
    if (!entry) {
      return fail(into.judge(entry.error()));
    }
    return gem(into, **entry);
  }
  /// Takes over a handle that a driver's own ioctl has made just now, and that the caller owned. Not one of GETFB2,
  /// which gives a handle that may be in use already: close that with a file of its own. Errors: out_of_memory, and
  /// then the handle is closed.
  [[nodiscard]] static result<gem> adopt(const device& of, gem_handle handle) noexcept {
    auto entry = of.file_->add_use([&](std::uint32_t& known) noexcept {
      known = handle.value();
      return result<void>();
    });
    if (!entry) {
      static_cast<void>(::drmCloseBufferHandle(of.fd().get(), handle.value()));
      return fail(entry.error());
    }
    return gem(of, **entry);
  }

  /// As a dma-buf, for other devices and processes. The kernel makes one for each buffer: while somebody has it, each
  /// export is that one again, with what the first was asked for. Errors: unsupported_by_device, no_device,
  /// limit_reached (FDs). Kernel: DRM_IOCTL_PRIME_HANDLE_TO_FD, with O_CLOEXEC; with O_RDWR unless `what` is
  /// access::read.
  [[nodiscard]] result<kernel::dma_buf_fd> export_(access what = access::read_write) const noexcept {
    PADDOCK_TRY_VOID(check_there("gem::export_"));
    ::drm_prime_handle argument{entry_->handle, O_CLOEXEC | (writes(what) ? O_RDWR : 0U), -1};
    PADDOCK_TRY_VOID(device_.call(DRM_IOCTL_PRIME_HANDLE_TO_FD, &argument, "DRM_IOCTL_PRIME_HANDLE_TO_FD"));
    return kernel::dma_buf_fd::adopt_new(unique_fd::adopt(argument.fd));
  }

  /// False when default-made or moved from.
  [[nodiscard]] bool valid() const noexcept { return entry_ != nullptr; }
  // The rest requires: valid().
  /// For the driver's own ioctls, on this device's file; whoever closes it closes it for all.
  [[nodiscard]] gem_handle handle() const noexcept { return gem_handle(entry_->handle); }
  [[nodiscard]] const drm::device& device() const noexcept { return device_; }

  /// One buffer in one file.
  friend bool operator==(const gem& a, const gem& b) noexcept { return a.entry_ == b.entry_; }

 private:
  gem(drm::device of, detail::gem_entry& entry) noexcept : device_(std::move(of)), entry_(&entry) {}

  [[nodiscard]] result<void> check_there(const char* where) const noexcept {
    return valid() ? device_.check_there(where) : result<void>(fail(errc::invalid_argument, where));
  }
  void drop() noexcept {
    if (detail::gem_entry* const gone = std::exchange(entry_, nullptr);
        gone != nullptr && device_.file_->is_of_this_process()) {
      result<void> closed;
      device_.file_->drop_use(*gone, [&](std::uint32_t handle) noexcept {
        ::drm_gem_close argument{handle, 0};
        if (::drmIoctl(device_.fd().get(), DRM_IOCTL_GEM_CLOSE, &argument) != 0) {
          closed = fail_errno("DRM_IOCTL_GEM_CLOSE");
        }
      });
      // With a device go its handles.
      if (!closed && device_.judge(closed.error()) != errc::no_device) {
        report_lost_error(closed.error());
      }
    }
  }

  drm::device device_;
  detail::gem_entry* entry_{nullptr};
};

}  // namespace PADDOCK_NAMESPACE::drm
