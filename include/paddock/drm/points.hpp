// SPDX-License-Identifier: BSL-1.0
/// \file
/// `acquire_point` and `release_point`: the two ends of handing a buffer over by a syncobj timeline, as compositors and
/// their clients do (linux-drm-syncobj-v1).
#pragma once

#include <optional>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/drm/syncobj.hpp>
#include <paddock/kernel/sync_file.hpp>

namespace PADDOCK_NAMESPACE::drm {

/// What has to be reached before the buffer is used; whoever submits that work may do so later.
/// Thread-safety: const calls from any thread.
class acquire_point {
 public:
  /// Requires: point > 0.
  acquire_point(syncobj timeline, timeline_point point) noexcept : timeline_(std::move(timeline)), point_(point) {}

  [[nodiscard]] const syncobj& timeline() const noexcept { return timeline_; }
  [[nodiscard]] timeline_point point() const noexcept { return point_; }
  /// By CPU, submitted or not yet. Errors: as syncobj::wait_for_submit().
  [[nodiscard]] result<wait_status> wait(deadline until) const noexcept {
    return timeline_.wait_for_submit(point_, until);
  }
  /// By an event loop: adds one to the eventfd when it is reached, or, before it goes to a driver that waits by itself,
  /// when it is submitted. Errors: as syncobj::notify().
  [[nodiscard]] result<void> notify(borrowed_fd event, point_stage stage = point_stage::signaled) const noexcept {
    return timeline_.notify(event, point_, stage);
  }
  /// For a driver that takes sync_files. Errors: not_submitted; as syncobj::export_sync_file().
  [[nodiscard]] result<kernel::sync_file> export_sync_file() const noexcept {
    return timeline_.export_sync_file(point_);
  }

 private:
  syncobj timeline_;
  timeline_point point_;
};

/// What the other side waits for before it uses the buffer again. It is owed: one that is dropped signals itself, so
/// that no path forgets it. Thread-safety: as a value.
class release_point {
 public:
  /// Requires: point > 0.
  release_point(syncobj timeline, timeline_point point) noexcept : timeline_(std::move(timeline)), point_(point) {}
  release_point(release_point&& other) noexcept : timeline_(std::exchange(other.timeline_, {})), point_(other.point_) {}
  release_point& operator=(release_point&& other) noexcept {
    if (this != &other) {
      drop();
      timeline_ = std::exchange(other.timeline_, {});
      point_ = other.point_;
    }
    return *this;
  }
  ~release_point() { drop(); }

  /// Whether it is still owed: not signaled, submitted or moved from.
  [[nodiscard]] bool is_owed() const noexcept { return timeline_.has_value(); }
  [[nodiscard]] timeline_point point() const noexcept { return point_; }
  /// Nobody uses the buffer any more. Errors: invalid_argument (it is owed no more); as syncobj::signal(), and then it
  /// is still owed.
  [[nodiscard]] result<void> signal() noexcept {
    return settle([this](const syncobj& timeline) noexcept { return timeline.signal(point_); });
  }
  /// Nobody uses the buffer any more when this work is done. Errors: as above, and as syncobj::import_sync_file().
  [[nodiscard]] result<void> submit(const kernel::sync_file& work) noexcept {
    return settle([&](const syncobj& timeline) noexcept { return timeline.import_sync_file(work, point_); });
  }

 private:
  template <class Settle>
  [[nodiscard]] result<void> settle(Settle by) noexcept {
    if (!timeline_) {
      return fail(errc::invalid_argument, "release_point: it is owed no more");
    }
    PADDOCK_TRY_VOID(by(*timeline_));
    timeline_.reset();
    return {};
  }
  void drop() noexcept {
    if (is_owed()) {
      if (const auto late = signal(); !late && late.error() != errc::no_device) {  // With a device go its waiters.
        report_lost_error(late.error());
      }
    }
  }

  std::optional<syncobj> timeline_;
  timeline_point point_;
};

}  // namespace PADDOCK_NAMESPACE::drm
