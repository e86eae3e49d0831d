// SPDX-License-Identifier: BSL-1.0
/// \file
/// `drm::device`: an open DRM node, what it can do, and whether it is still there. GEM handles and syncobjs are made
/// with one, and keep it open. Kernel: drivers/gpu/drm/drm_file.c, drm_ioctl.c.
#pragma once

#include <sys/ioctl.h>
#include <sys/types.h>
#include <xf86drm.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/drm/file.hpp>

namespace PADDOCK_NAMESPACE::drm {

/// Which of a device's nodes it is.
enum class node_type : std::uint8_t {
  primary,  ///< cardN: everything, for whoever is master or authenticated.
  render,   ///< renderDN: rendering and sharing, without mode setting and dumb buffers.
};

/// What a driver says it has. Kernel: DRM_IOCTL_GET_CAP.
enum class capability : std::uint8_t {
  prime_import,      ///< A dma-buf becomes a GEM handle.
  prime_export,      ///< A GEM handle becomes a dma-buf.
  dumb_buffers,      ///< On a primary node, of a driver with mode setting; vgem has them, and does not say so.
  modifiers,         ///< Framebuffers with format modifiers, on a primary node.
  syncobj,           ///< Binary syncobjs.
  timeline_syncobj,  ///< Syncobjs with points.
};

/// A DRM device, opened. A counted reference: copies are the same open file, and so are devices adopted from dup'ed
/// descriptors, which share their GEM handles whether one likes it or not; a file of its own needs an open() of its
/// own. A forked child shares them, too: it opens its own, and what it drops of its parent's is not closed.
/// Thread-safety: const calls from any thread.
class device {
 public:
  /// Errors: those of open() (not_found, permission); bad_fd (not a DRM device); out_of_memory.
  [[nodiscard]] static result<device> open(const char* path) noexcept {
    PADDOCK_TRY(unique_fd fd, detail::open(path, O_RDWR, "open(DRM node)"));
    return adopt(std::move(fd));
  }
  /// Takes a descriptor that another library opened, or that logind gave. Errors: bad_fd, out_of_memory.
  [[nodiscard]] static result<device> adopt(unique_fd fd) noexcept;
  /// The first node of that type, of those in /dev/dri, whose driver has this name ("virtio_gpu", "amdgpu"). It opens
  /// one after the other; who opens a primary node that has no master is its master, until it is closed or says
  /// drmDropMaster(). Errors: not_found; the last error of a node that could not be opened.
  [[nodiscard]] static result<device> open_driver(std::string_view driver, node_type type) noexcept;

  /// For calls of other libraries; they must not close it, nor close GEM handles on it.
  [[nodiscard]] borrowed_fd fd() const noexcept { return file_->fd(); }
  [[nodiscard]] node_type type() const noexcept {
    return file_->about().is_primary ? node_type::primary : node_type::render;
  }
  /// As the driver calls itself; at most 31 bytes.
  [[nodiscard]] std::string_view driver() const noexcept { return file_->about().driver.data(); }
  [[nodiscard]] bool has(capability wanted) const noexcept {
    return (file_->about().capabilities & (1U << static_cast<unsigned>(wanted))) != 0;
  }

  /// Whether somebody has said, or a call has shown, that the device is gone.
  [[nodiscard]] bool is_lost() const noexcept { return file_->lost().is_signaled(); }
  /// The device is gone, says a udev event or the driver: waits that are under way end with no_device, and later ones
  /// do at once. For good.
  void mark_lost() const noexcept {
    file_->lost().signal();
    // A change, so that it is before or after guard()'s own: that one sees the mark, or this one its syncobj.
    if (std::uint32_t guard = file_->guard_handle.fetch_add(0); guard != 0) {
      static_cast<void>(::drmSyncobjSignal(fd().get(), &guard, 1));  // Fails where the kernel knows it, too.
    }
  }
  /// Completes when it is lost, in the thread that says or finds so; for who waits for something of it by other means.
  [[nodiscard]] const user_fence& lost() const noexcept { return file_->lost(); }

  /// Two of one open file.
  friend bool operator==(const device& a, const device& b) noexcept { return a.file_ == b.file_; }

  /// What libdrm answered, as paddock says it: below 0 with errno, as all its calls leave it. Notes a device that is
  /// gone.
  [[nodiscard]] result<void> check(int answer, const char* call) const noexcept {
    if (answer >= 0) [[likely]] {
      return {};
    }
    return failed(call);
  }
  /// An ioctl on its file, as libdrm makes them.
  [[nodiscard]] result<void> call(unsigned long request, void* argument, const char* name) const noexcept {
    return check(::drmIoctl(fd().get(), request, argument), name);
  }
  /// The same as check() of an error that a call left. Requires: no lock, since who waits for lost() is told.
  [[nodiscard]] [[gnu::cold]] error judge(const error& why) const noexcept {
    // Some calls also say so of a buffer that was taken back; of a device that is gone, all of them.
    std::uint64_t any = 0;
    if (why.sys_errno == ENODEV && ::drmGetCap(fd().get(), DRM_CAP_PRIME, &any) != 0 && errno == ENODEV) {
      mark_lost();
      return {errc::no_device, ENODEV, why.where};
    }
    return why;
  }
  /// A syncobj that is signaled when the device is lost, for whoever waits in the kernel. Errors: as syncobj::create().
  [[nodiscard]] result<std::uint32_t> guard() const noexcept {
    std::uint32_t guard = file_->guard_handle.load();
    if (guard == 0) {
      std::uint32_t made = 0;
      PADDOCK_TRY_VOID(check(::drmSyncobjCreate(fd().get(), 0, &made), "DRM_IOCTL_SYNCOBJ_CREATE"));
      if (file_->guard_handle.compare_exchange_strong(guard, made)) {
        guard = made;
      } else {
        static_cast<void>(::drmSyncobjDestroy(fd().get(), made));
      }
    }
    // Whoever marks it lost signals the guard that he sees; who has one that was made after that sees the mark.
    PADDOCK_TRY_VOID(check_there("syncobj::wait"));
    return guard;
  }
  /// no_device once it is lost.
  [[nodiscard]] result<void> check_there(const char* where) const noexcept {
    return is_lost() ? result<void>(fail(errc::no_device, where)) : result<void>();
  }

 private:
  // Out of line, so that what calls the kernel is small enough to be inlined.
  [[nodiscard]] [[gnu::cold]] [[gnu::noinline]] result<void> failed(const char* call) const noexcept {
    return fail(judge(last_error(call)));
  }

  friend class gem;
  friend class syncobj;

  device() noexcept = default;  // Of what is empty: the others' business.
  [[nodiscard]] static inline std::uint8_t read_capabilities(borrowed_fd fd, bool is_primary) noexcept;

  detail::drm_file_ptr file_;
};

inline result<device> device::adopt(unique_fd fd) noexcept {
  const int type = fd.valid() ? ::drmGetNodeTypeFromFd(fd.get()) : DRM_NODE_CONTROL;
  if (type < 0 && errno != EINVAL && errno != ENODEV) {  // That is what libdrm says of other files.
    return fail_errno("fstat");
  }
  if (type != DRM_NODE_PRIMARY && type != DRM_NODE_RENDER) {
    return fail(errc::bad_fd, "drm::device: not a DRM node");
  }
  drmVersion* const version = ::drmGetVersion(fd.get());
  if (version == nullptr) {
    return fail_errno("DRM_IOCTL_VERSION");
  }
  detail::drm_file::traits about{.is_primary = type == DRM_NODE_PRIMARY};
  std::strncpy(about.driver.data(), version->name, about.driver.size() - 1);
  ::drmFreeVersion(version);
  about.capabilities = read_capabilities(fd, about.is_primary);
  PADDOCK_TRY(detail::drm_file_registry* const registry, detail::drm_file_registry::here());
  device made;
  PADDOCK_TRY(made.file_, registry->find_or_make(std::move(fd), about));
  return made;
}

inline std::uint8_t device::read_capabilities(borrowed_fd fd, bool is_primary) noexcept {
  unsigned found = 0;
  const auto ask = [fd](std::uint64_t which) noexcept {
    std::uint64_t value = 0;
    return ::drmGetCap(fd.get(), which, &value) == 0 ? value : 0;
  };
  const auto note = [&found](capability which, bool is_there) noexcept {
    found |= is_there ? 1U << static_cast<unsigned>(which) : 0U;
  };
  const std::uint64_t prime = ask(DRM_CAP_PRIME);
  note(capability::prime_import, (prime & DRM_PRIME_CAP_IMPORT) != 0);
  note(capability::prime_export, (prime & DRM_PRIME_CAP_EXPORT) != 0);
  note(capability::dumb_buffers, is_primary && ask(DRM_CAP_DUMB_BUFFER) != 0);
  note(capability::modifiers, is_primary && ask(DRM_CAP_ADDFB2_MODIFIERS) != 0);
  note(capability::syncobj, ask(DRM_CAP_SYNCOBJ) != 0);
  note(capability::timeline_syncobj, ask(DRM_CAP_SYNCOBJ_TIMELINE) != 0);
  return static_cast<std::uint8_t>(found);
}

inline result<device> device::open_driver(std::string_view driver, node_type type) noexcept {
  // Not by drmGetDevices2, which leaves out devices on no bus that it knows (vgem).
  error why{errc::not_found, 0, "drm::device::open_driver"};
  for (int number = 0; number < 64; ++number) {
    std::array<char, 32> path{};
    static_cast<void>(std::snprintf(path.data(), path.size(),
                                    type == node_type::primary ? "/dev/dri/card%d" : "/dev/dri/renderD%d",
                                    type == node_type::primary ? number : 128 + number));
    auto opened = open(path.data());
    if (opened && opened->driver() == driver) {
      return opened;
    }
    if (!opened && opened.error() != errc::not_found) {
      why = opened.error();
    }
  }
  return fail(why);
}

}  // namespace PADDOCK_NAMESPACE::drm
