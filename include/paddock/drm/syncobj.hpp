// SPDX-License-Identifier: BSL-1.0
/// \file
/// `drm::syncobj`: a box for a fence, or a timeline of points, that drivers and processes share.
/// Kernel: drivers/gpu/drm/drm_syncobj.c.
#pragma once

#include <xf86drm.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <new>
#include <utility>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/base/uapi/drm.hpp>
#include <paddock/drm/device.hpp>
#include <paddock/drm/wait_core.hpp>
#include <paddock/fence/timeline.hpp>
#include <paddock/kernel/sync_file.hpp>

namespace PADDOCK_NAMESPACE::drm {

/// A handle of a syncobj, valid in one open file.
using syncobj_handle = strong_id<struct syncobj_handle_tag, std::uint32_t>;

/// A syncobj. Without points it is binary: it holds no fence, or one, which signal(), reset(), import_sync_file() and
/// the driver replace. With points it is a timeline: each is *submitted* when a fence was added for it, and *signaled*
/// when that one and all before it are complete. Point 0 is the whole object, as binary. Which of the two it is, is its
/// users' agreement; the kernel has one kind. The error of a fence does not pass through it.
/// A counted reference, which keeps the device open. Thread-safety: const calls from any thread.
class syncobj {
 public:
  /// Errors: unsupported_by_device (no capability::syncobj); no_device; out_of_memory. Kernel:
  /// DRM_IOCTL_SYNCOBJ_CREATE.
  [[nodiscard]] static result<syncobj> create(const device& on, bool signaled = false) noexcept;
  /// One that export_() gave, in this or in another process or device. The kernel makes a new handle each time.
  /// Errors: bad_fd; as create(). Kernel: DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE.
  [[nodiscard]] static result<syncobj> import_(const device& into, borrowed_fd fd) noexcept;
  /// An opaque descriptor: nothing but an import takes it. Errors: limit_reached, no_device.
  [[nodiscard]] result<unique_fd> export_() const noexcept;

  /// For the driver's own ioctls (an execbuffer), on this device's file.
  [[nodiscard]] syncobj_handle handle() const noexcept { return syncobj_handle(state_->handle); }
  [[nodiscard]] const drm::device& device() const noexcept { return state_->device; }

  // Binary.

  /// Puts a signaled fence in. Errors: no_device. Kernel: DRM_IOCTL_SYNCOBJ_SIGNAL.
  [[nodiscard]] result<void> signal() const noexcept {
    ::drm_syncobj_array one{reinterpret_cast<std::uintptr_t>(&state_->handle), 1, 0};
    return device().call(DRM_IOCTL_SYNCOBJ_SIGNAL, &one, "DRM_IOCTL_SYNCOBJ_SIGNAL");
  }
  /// Takes the fence out, and all points: whoever waits for one that was there still does. Errors: no_device. Kernel:
  /// DRM_IOCTL_SYNCOBJ_RESET.
  [[nodiscard]] result<void> reset() const noexcept {
    ::drm_syncobj_array one{reinterpret_cast<std::uintptr_t>(&state_->handle), 1, 0};
    return device().call(DRM_IOCTL_SYNCOBJ_RESET, &one, "DRM_IOCTL_SYNCOBJ_RESET");
  }
  /// The fence, as a snapshot. Errors: not_submitted (there is none), limit_reached, no_device. Kernel:
  /// DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE.
  [[nodiscard]] result<kernel::sync_file> export_sync_file() const noexcept;
  /// Puts these fences in. Errors: bad_fd, no_device. Kernel: DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE.
  [[nodiscard]] result<void> import_sync_file(const kernel::sync_file& fences) const noexcept;

  // Points; the rest of the errors: unsupported_by_device (no capability::timeline_syncobj).

  /// The host signals the point; it takes effect when all before it are signaled. Errors: invalid_argument (point 0),
  /// no_device, out_of_memory. Kernel: DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL.
  [[nodiscard]] result<void> signal(timeline_point point) const noexcept;
  /// The highest point signaled; 0 when none is, and for a binary one. Errors: no_device. Kernel:
  /// DRM_IOCTL_SYNCOBJ_QUERY.
  [[nodiscard]] result<timeline_point> signaled() const noexcept { return query(0); }
  /// The highest point submitted or signaled. Kernel: DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED.
  [[nodiscard]] result<timeline_point> submitted() const noexcept {
    return query(DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED);
  }
  /// The point as a snapshot. Errors: not_submitted, limit_reached, no_device.
  [[nodiscard]] result<kernel::sync_file> export_sync_file(timeline_point point) const noexcept;
  /// These fences will signal the point. Errors: invalid_argument (point 0), bad_fd, no_device, out_of_memory.
  [[nodiscard]] result<void> import_sync_file(const kernel::sync_file& fences, timeline_point point) const noexcept;

  /// Gives `to` what this one has at `from` (0: all of it), which may be of another kind: a point becomes a binary
  /// one's fence, and the other way round. Both are of one device. Errors: not_submitted; invalid_argument (two
  /// devices); no_device; out_of_memory. Kernel: DRM_IOCTL_SYNCOBJ_TRANSFER.
  [[nodiscard]] result<void> transfer(timeline_point from, const syncobj& to, timeline_point to_point) const noexcept;
  /// The same, of a point that may not be submitted yet: waits for that. Errors: also timed_out. Not by the kernel's
  /// flag, whose 5 s begin anew with each signal, and whom nobody tells that the device is lost.
  [[nodiscard]] result<void> transfer_for_submit(timeline_point from, const syncobj& to, timeline_point to_point,
                                                 deadline until = deadline::in(std::chrono::seconds(5))) const noexcept;

  // Waiting; see also wait.hpp for several at once. Returns signaled or timed_out; how its fences ended is not
  // told. Errors: no_device, as soon as the device is known to be lost.

  /// Waits for a fence that is there. Point 0: for the whole object. Errors: also not_submitted. Kernel:
  /// DRM_IOCTL_SYNCOBJ_WAIT, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT.
  [[nodiscard]] result<wait_status> wait(timeline_point point, deadline until) const noexcept {
    return wait(point, until, 0);
  }
  [[nodiscard]] result<wait_status> wait(deadline until) const noexcept { return wait(timeline_point(0), until); }
  /// Waits also until there is one.
  [[nodiscard]] result<wait_status> wait_for_submit(timeline_point point, deadline until) const noexcept {
    return wait(point, until, DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT);
  }
  [[nodiscard]] result<wait_status> wait_for_submit(deadline until) const noexcept {
    return wait_for_submit(timeline_point(0), until);
  }
  /// Waits only until there is one.
  [[nodiscard]] result<wait_status> wait_submitted(timeline_point point, deadline until) const noexcept {
    return wait(point, until, DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE);
  }

  /// Adds one to the eventfd when the point reaches that stage, at once if it has. There is no taking back: it goes
  /// with the syncobj. Errors: bad_fd (not an eventfd), unsupported_by_kernel (before 6.6), no_device. Kernel:
  /// DRM_IOCTL_SYNCOBJ_EVENTFD.
  [[nodiscard]] result<void> notify(borrowed_fd event, timeline_point point,
                                    point_stage stage = point_stage::signaled) const noexcept;

  /// One handle; two imports of one object are not told to be that.
  friend bool operator==(const syncobj& a, const syncobj& b) noexcept { return a.state_ == b.state_; }

 private:
  struct state {
    state(drm::device of, std::uint32_t made) noexcept : device(std::move(of)), handle(made) {}
    state(const state&) = delete;
    state& operator=(const state&) = delete;
    ~state() {
      if (!device.file_->is_of_this_process()) {
        return;
      }
      ::drm_syncobj_destroy argument{handle, 0};
      const auto gone = device.call(DRM_IOCTL_SYNCOBJ_DESTROY, &argument, "DRM_IOCTL_SYNCOBJ_DESTROY");
      if (!gone && gone.error() != errc::no_device) {  // With a device go its handles.
        report_lost_error(gone.error());
      }
    }
    friend void intrusive_ptr_add_ref(state* held) noexcept { held->references.fetch_add(1); }
    friend void intrusive_ptr_release(state* held) noexcept {
      if (held->references.fetch_sub(1) == 1) {
        delete held;
      }
    }

    drm::device device;
    std::uint32_t handle;
    std::atomic<std::uint32_t> references{0};
  };

  explicit syncobj(state* made) noexcept : state_(made) {}
  /// Takes over a handle; it is destroyed where there is no memory for its state.
  [[nodiscard]] static result<syncobj> adopt(const drm::device& of, std::uint32_t handle) noexcept {
    auto* const made = new (std::nothrow) state(of, handle);
    if (made == nullptr) {
      static_cast<void>(::drmSyncobjDestroy(of.fd().get(), handle));
      return fail(errc::out_of_memory, "syncobj");
    }
    return syncobj(made);
  }
  [[nodiscard]] int fd() const noexcept { return device().fd().get(); }
  /// This one alone, and a point of it that the call reads or writes.
  [[nodiscard]] ::drm_syncobj_timeline_array with(std::uint64_t& point, std::uint32_t flags = 0) const noexcept {
    return {reinterpret_cast<std::uintptr_t>(&state_->handle), reinterpret_cast<std::uintptr_t>(&point), 1, flags};
  }
  [[nodiscard]] result<timeline_point> query(std::uint32_t flags) const noexcept {
    std::uint64_t point = 0;
    auto argument = with(point, flags);
    PADDOCK_TRY_VOID(device().call(DRM_IOCTL_SYNCOBJ_QUERY, &argument, "DRM_IOCTL_SYNCOBJ_QUERY"));
    return timeline_point(point);
  }
  [[nodiscard]] result<wait_status> wait(timeline_point point, deadline until, std::uint32_t flags) const noexcept {
    std::uint64_t value = point.value();
    const bool is_binary = value == 0 && flags != DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE;
    PADDOCK_TRY(const wait_any_outcome ended,
                detail::syncobj_wait(device(), {&state_->handle, 1}, {&value, is_binary ? 0U : 1U})
                    .wait(flags, until, deadline::never()));
    return ended.status;
  }

  boost::intrusive_ptr<state> state_;
};

inline result<syncobj> syncobj::create(const drm::device& on, bool signaled) noexcept {
  PADDOCK_TRY_VOID(on.check_there("syncobj::create"));
  ::drm_syncobj_create argument{0, signaled ? DRM_SYNCOBJ_CREATE_SIGNALED : 0U};
  PADDOCK_TRY_VOID(on.call(DRM_IOCTL_SYNCOBJ_CREATE, &argument, "DRM_IOCTL_SYNCOBJ_CREATE"));
  return adopt(on, argument.handle);
}

inline result<syncobj> syncobj::import_(const drm::device& into, borrowed_fd fd) noexcept {
  PADDOCK_TRY_VOID(into.check_there("syncobj::import_"));
  ::drm_syncobj_handle argument{0, 0, fd.get(), 0};
  PADDOCK_TRY_VOID(into.call(DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &argument, "DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE"));
  return adopt(into, argument.handle);
}

inline result<unique_fd> syncobj::export_() const noexcept {
  ::drm_syncobj_handle argument{state_->handle, 0, -1, 0};
  PADDOCK_TRY_VOID(device().call(DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &argument, "DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD"));
  return unique_fd::adopt(argument.fd);
}

inline result<kernel::sync_file> syncobj::export_sync_file() const noexcept {
  ::drm_syncobj_handle argument{state_->handle, DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE, -1, 0};
  PADDOCK_TRY_VOID(
      device().call(DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &argument, "DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD(EXPORT_SYNC_FILE)"));
  return kernel::sync_file::adopt_new(unique_fd::adopt(argument.fd));
}

inline result<void> syncobj::import_sync_file(const kernel::sync_file& fences) const noexcept {
  if (fences.is_already_signaled()) [[unlikely]] {
    return signal();
  }
  ::drm_syncobj_handle argument{state_->handle, DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE, fences.fd().get(), 0};
  return device().call(DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &argument, "DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE(IMPORT_SYNC_FILE)");
}

inline result<void> syncobj::signal(timeline_point point) const noexcept {
  if (point.value() == 0) {
    return fail(errc::invalid_argument, "syncobj::signal: point 0");
  }
  std::uint64_t value = point.value();
  auto argument = with(value);
  return device().call(DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, &argument, "DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL");
}

inline result<kernel::sync_file> syncobj::export_sync_file(timeline_point point) const noexcept {
  if (point.value() == 0) {
    return export_sync_file();
  }
  uapi::drm_syncobj_handle ask{};
  ask.handle = state_->handle;
  ask.flags = uapi::drm_syncobj_export_sync_file | uapi::drm_syncobj_export_timeline;
  ask.point = point.value();
  if (::drmIoctl(fd(), uapi::drm_ioctl_syncobj_handle_to_fd, &ask) == 0) {
    return kernel::sync_file::adopt_new(unique_fd::adopt(ask.fd));
  }
  // A kernel before 6.16 does not know the flag, and answers as if the point were not submitted.
  const result<void> refused = device().check(-1, "DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD(EXPORT_SYNC_FILE)");
  if (refused.error().sys_errno != EINVAL) {
    return fail(refused.error());
  }
  PADDOCK_TRY(const syncobj carrier, create(device()));
  PADDOCK_TRY_VOID(transfer(point, carrier, timeline_point(0)));
  return carrier.export_sync_file();
}

inline result<void> syncobj::import_sync_file(const kernel::sync_file& fences, timeline_point point) const noexcept {
  if (point.value() == 0) {
    return fail(errc::invalid_argument, "syncobj::import_sync_file: point 0");
  }
  if (fences.is_already_signaled()) {
    return signal(point);
  }
  // Not by the flag of 6.16, which puts a chain that is in the sync_file into the chain as it is; a transfer does not.
  PADDOCK_TRY(const syncobj carrier, create(device()));
  PADDOCK_TRY_VOID(carrier.import_sync_file(fences));
  return carrier.transfer(timeline_point(0), *this, point);
}

inline result<void> syncobj::transfer(timeline_point from, const syncobj& to, timeline_point to_point) const noexcept {
  if (device() != to.device()) {
    return fail(errc::invalid_argument, "syncobj::transfer: two devices");
  }
  ::drm_syncobj_transfer argument{};
  argument.src_handle = state_->handle;
  argument.dst_handle = to.state_->handle;
  argument.src_point = from.value();
  argument.dst_point = to_point.value();
  return device().call(DRM_IOCTL_SYNCOBJ_TRANSFER, &argument, "DRM_IOCTL_SYNCOBJ_TRANSFER");
}
inline result<void> syncobj::transfer_for_submit(timeline_point from, const syncobj& to, timeline_point to_point,
                                                 deadline until) const noexcept {
  PADDOCK_TRY(const wait_status ended, wait_submitted(from, until));
  return ended == wait_status::signaled ? transfer(from, to, to_point)
                                        : fail(errc::timed_out, "syncobj::transfer_for_submit");
}

inline result<void> syncobj::notify(borrowed_fd event, timeline_point point, point_stage stage) const noexcept {
  const auto ask = [&](std::uint32_t handle) noexcept {
    uapi::drm_syncobj_eventfd wanted{};
    wanted.handle = handle;
    wanted.flags = stage == point_stage::submitted ? uapi::drm_syncobj_wait_available : 0U;
    wanted.point = point.value();
    wanted.fd = event.get();
    return device().call(uapi::drm_ioctl_syncobj_eventfd, &wanted, "DRM_IOCTL_SYNCOBJ_EVENTFD");
  };
  const result<void> asked = ask(state_->handle);
  // A kernel without the call says what one with it says of a descriptor that is no eventfd; asked about no syncobj at
  // all, they differ.
  if (!asked && asked.error().sys_errno == EINVAL && ask(0).error().sys_errno == EINVAL) {
    return fail({errc::unsupported_by_kernel, EINVAL, "DRM_IOCTL_SYNCOBJ_EVENTFD"});
  }
  return asked;
}

}  // namespace PADDOCK_NAMESPACE::drm
