// SPDX-License-Identifier: BSL-1.0
/// \file
/// How a thread waits for syncobjs, so that it also comes back when the device goes.
#pragma once

#include <xf86drm.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/base/uapi/drm.hpp>
#include <paddock/drm/device.hpp>
#include <paddock/fence/wait.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// One call of the kernel. `handles` and `points` have one length; without points it is the binary call, which drivers
/// without timelines have.
class syncobj_wait {
 public:
  syncobj_wait(const drm::device& on, std::span<std::uint32_t> handles, std::span<std::uint64_t> points) noexcept
      : on_(on), handles_(handles), points_(points) {}

  /// Returns signaled or timed_out. Errors: not_submitted, no_device, out_of_memory.
  /// `flags`: DRM_SYNCOBJ_WAIT_FLAGS_*. `hint`: when completion is wished for.
  [[nodiscard]] result<wait_any_outcome> wait(std::uint32_t flags, deadline until, deadline hint) noexcept {
    note_wait(until, place::here());
    PADDOCK_TRY_VOID(on_.check_there("syncobj::wait"));
    PADDOCK_TRY(const wait_any_outcome looked, look(flags, hint));
    if (looked.status == wait_status::signaled || until.passed()) {
      return looked;
    }
    PADDOCK_TRY(const std::uint32_t guard, on_.guard());
    if ((flags & DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL) == 0) {
      return sleep(handles_, points_, guard, flags, until);
    }
    // The guard would be one of all: so one after the other.
    flags &= ~static_cast<std::uint32_t>(DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL);
    wait_any_outcome last;
    for (std::size_t i = 0; i < handles_.size(); ++i) {
      const auto point = points_.empty() ? points_ : points_.subspan(i, 1);
      PADDOCK_TRY(last, sleep(handles_.subspan(i, 1), point, guard, flags, until));
      if (last.status == wait_status::timed_out) {
        return last;
      }
    }
    return wait_any_outcome{wait_status::signaled, 0};
  }

 private:
  /// Without waiting; also says what is not submitted.
  [[nodiscard]] result<wait_any_outcome> look(std::uint32_t flags, deadline hint) const noexcept {
    if (!hint.is_never()) {
      // Not by libdrm, whose structure has no room for it; a kernel before 6.6 refuses the flag.
      const auto ask = [&](auto wanted, unsigned long call) noexcept {
        wanted.handles = reinterpret_cast<std::uintptr_t>(handles_.data());
        wanted.count = static_cast<std::uint32_t>(handles_.size());
        wanted.flags = flags | uapi::drm_syncobj_wait_deadline;
        wanted.deadline_ns = static_cast<std::uint64_t>(hint.nanoseconds());
        if constexpr (requires { wanted.points; }) {
          wanted.points = reinterpret_cast<std::uintptr_t>(points_.data());
        }
        static_cast<void>(::drmIoctl(on_.fd().get(), call, &wanted));
      };
      if (points_.empty()) {
        ask(uapi::drm_syncobj_wait{}, uapi::drm_ioctl_syncobj_wait);
      } else {
        ask(uapi::drm_syncobj_timeline_wait{}, uapi::drm_ioctl_syncobj_timeline_wait);
      }
    }
    return call(handles_, points_, flags, 0);
  }

  /// Waits for one of them, in turns, so that a device that was unplugged is noticed by itself as well.
  [[nodiscard]] result<wait_any_outcome> sleep(std::span<const std::uint32_t> handles,
                                               std::span<const std::uint64_t> points, std::uint32_t guard,
                                               std::uint32_t flags, deadline until) const noexcept {
    constexpr std::size_t usual = 16;
    const std::size_t count = handles.size() + 1;
    std::array<std::uint32_t, usual> few_handles{};
    std::array<std::uint64_t, usual> few_points{};
    std::unique_ptr<std::uint32_t[]> many_handles(count > usual ? new (std::nothrow) std::uint32_t[count] : nullptr);
    std::unique_ptr<std::uint64_t[]> many_points(count > usual ? new (std::nothrow) std::uint64_t[count] : nullptr);
    if (count > usual && (many_handles == nullptr || many_points == nullptr)) {
      return fail(errc::out_of_memory, "syncobj::wait");
    }
    const std::span all_handles(count > usual ? many_handles.get() : few_handles.data(), count);
    const std::span all_points(count > usual ? many_points.get() : few_points.data(), count);
    std::ranges::copy(handles, all_handles.begin());
    std::ranges::copy(points, all_points.begin());
    all_handles.back() = guard;
    all_points.back() = 0;
    for (;;) {
      const deadline turn = deadline::in(std::chrono::seconds(1));
      const deadline end = std::min(until, turn, [](deadline a, deadline b) { return a.time() < b.time(); });
      // The guard is not submitted until the device is lost; what is waited for is, or may be meanwhile.
      auto woken = call(all_handles, points.empty() ? std::span<std::uint64_t>() : all_points,
                        flags | DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT, end.nanoseconds());
      PADDOCK_TRY_VOID(on_.check_there("syncobj::wait"));
      if (!woken || woken->status == wait_status::signaled || until.passed()) {
        return woken;
      }
    }
  }

  [[nodiscard]] result<wait_any_outcome> call(std::span<std::uint32_t> handles, std::span<std::uint64_t> points,
                                              std::uint32_t flags, std::int64_t timeout) const noexcept {
    std::uint32_t first = 0;
    const auto count = static_cast<std::uint32_t>(handles.size());
    const bool is_binary = points.empty();
    const int answer = is_binary ? ::drmSyncobjWait(on_.fd().get(), handles.data(), count, timeout, flags, &first)
                                 : ::drmSyncobjTimelineWait(on_.fd().get(), handles.data(), points.data(), count,
                                                            timeout, flags, &first);
    if (answer < 0 && errno == ETIME) {
      return wait_any_outcome{};
    }
    PADDOCK_TRY_VOID(on_.check(answer, is_binary ? "DRM_IOCTL_SYNCOBJ_WAIT" : "DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT"));
    return wait_any_outcome{wait_status::signaled, first};
  }

  const drm::device& on_;
  std::span<std::uint32_t> handles_;
  std::span<std::uint64_t> points_;
};

}  // namespace PADDOCK_NAMESPACE::detail
