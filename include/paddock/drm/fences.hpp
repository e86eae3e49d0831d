// SPDX-License-Identifier: BSL-1.0
/// \file
/// Syncobjs and fences of this process, in both directions.
#pragma once

#include <sys/eventfd.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/drm/syncobj.hpp>
#include <paddock/fence/callback.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/fence/user_fence.hpp>
#include <paddock/kernel/bridged_event.hpp>
#include <paddock/kernel/fence_bridge.hpp>
#include <paddock/kernel/sync_file_fence.hpp>

namespace PADDOCK_NAMESPACE::drm {

/// A submitted point (0: all that is in the syncobj) as a fence: the kernel has promised it. A snapshot: what is put in
/// later does not count. Errors: not_submitted, limit_reached, no_device, out_of_memory.
[[nodiscard]] inline result<fence_ptr> import_fence(const kernel::fence_bridge& bridge, const syncobj& from,
                                                    timeline_point point = timeline_point(0)) noexcept {
  PADDOCK_TRY(kernel::sync_file fences, from.export_sync_file(point));
  return bridge.import_(std::move(fences));
}

/// A point that may not be submitted yet, as a completion that nobody has promised; bounded() makes a fence of it. It
/// fails with ENODEV when the device is lost, and with ECANCELED when this is dropped first; what the kernel keeps of
/// it goes with the syncobj. Thread-safety: as a value; the fence from any thread.
class watched_point {
 public:
  /// Errors: unsupported_by_kernel (before 6.6), no_device, limit_reached, out_of_memory.
  [[nodiscard]] static result<watched_point> watch(const kernel::fence_bridge& bridge, const syncobj& of,
                                                   timeline_point point,
                                                   point_stage stage = point_stage::signaled) noexcept {
    unique_fd event = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event.valid()) {
      return fail_errno("eventfd");
    }
    PADDOCK_TRY_VOID(of.device().check_there("watched_point::watch"));
    PADDOCK_TRY_VOID(of.notify(event, point, stage));
    PADDOCK_TRY(kernel::bridged_event watched, kernel::bridged_event::watch(bridge, std::move(event)));
    std::unique_ptr<loss> at_loss(new (std::nothrow) loss(std::move(watched)));
    if (at_loss == nullptr) {
      return fail(errc::out_of_memory, "watched_point::watch");
    }
    if (of.device().lost().add_callback(*at_loss) == add_outcome::already_signaled) {
      return fail(errc::no_device, "watched_point::watch");
    }
    return watched_point(of, std::move(at_loss));
  }
  watched_point(watched_point&& other) noexcept = default;
  watched_point& operator=(watched_point&& other) noexcept {
    if (this != &other) {
      drop();
      of_ = std::move(other.of_);
      at_loss_ = std::move(other.at_loss_);
    }
    return *this;
  }
  ~watched_point() { drop(); }

  /// Requires: not moved from.
  [[nodiscard]] const user_fence& fence() const noexcept { return at_loss_->watched.fence(); }

 private:
  struct loss final : fence_callback {
    explicit loss(kernel::bridged_event of) noexcept : fence_callback(&run), watched(std::move(of)) {}
    loss(const loss&) = delete;
    loss& operator=(const loss&) = delete;
    ~loss() { retire(); }
    static void run(fence_callback& node, const fence_outcome&) noexcept {
      static_cast<loss&>(node).watched.cancel(ENODEV);
    }
    kernel::bridged_event watched;
  };

  watched_point(syncobj of, std::unique_ptr<loss> at_loss) noexcept
      : of_(std::move(of)), at_loss_(std::move(at_loss)) {}
  void drop() noexcept {
    if (at_loss_ != nullptr) {
      static_cast<void>(of_.device().lost().remove_callback(*at_loss_));
      at_loss_.reset();
    }
  }

  syncobj of_;
  std::unique_ptr<loss> at_loss_;
};

}  // namespace PADDOCK_NAMESPACE::drm

namespace PADDOCK_NAMESPACE::detail {

/// Signals a syncobj when a fence completes, and goes.
class syncobj_signaler final : public fence_callback {
 public:
  syncobj_signaler(drm::syncobj to, timeline_point point) noexcept
      : fence_callback(&run), to_(std::move(to)), point_(point) {}
  syncobj_signaler(const syncobj_signaler&) = delete;
  syncobj_signaler& operator=(const syncobj_signaler&) = delete;
  ~syncobj_signaler() { retire(); }

  [[nodiscard]] result<void> signal() const noexcept { return point_.value() == 0 ? to_.signal() : to_.signal(point_); }

 private:
  static void run(fence_callback& node, const fence_outcome&) noexcept {
    const std::unique_ptr<syncobj_signaler> self(static_cast<syncobj_signaler*>(&node));
    if (const auto done = self->signal(); !done && done.error() != errc::no_device) {
      report_lost_error(done.error());
    }
  }

  drm::syncobj to_;
  timeline_point point_;
};

}  // namespace PADDOCK_NAMESPACE::detail

namespace PADDOCK_NAMESPACE::drm {

/// The point (0: the syncobj) is signaled when the fence completes. Where that is the kernel's, the kernel is given it
/// at once, and the point is submitted; else it is submitted and signaled when this process signals the fence, whose
/// error a syncobj cannot carry. Errors: as syncobj::import_sync_file(); out_of_memory.
[[nodiscard]] inline result<void> export_fence(const fence_ptr& done, const syncobj& to,
                                               timeline_point point = timeline_point(0),
                                               place at = place::here()) noexcept {
  const auto known = kernel::export_sync_file(done);
  if (known) {
    return point.value() == 0 ? to.import_sync_file(*known) : to.import_sync_file(*known, point);
  }
  if (known.error() != errc::not_exportable) {
    return fail(known.error());
  }
  might_alloc(at);
  std::unique_ptr<detail::syncobj_signaler> made(new (std::nothrow) detail::syncobj_signaler(to, point));
  if (made == nullptr) {
    return fail(errc::out_of_memory, "drm::export_fence");
  }
  if (done->add_callback(*made) == add_outcome::already_signaled) {
    return made->signal();
  }
  static_cast<void>(made.release());  // It goes when it has run.
  return {};
}

}  // namespace PADDOCK_NAMESPACE::drm
