// SPDX-License-Identifier: BSL-1.0
/// \file
/// Waiting for several syncobjs, or points of them, at once.
/// Kernel: drm_syncobj_array_wait_timeout in drivers/gpu/drm/drm_syncobj.c.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/drm/syncobj.hpp>
#include <paddock/drm/wait_core.hpp>
#include <paddock/fence/wait.hpp>

namespace PADDOCK_NAMESPACE::drm {

/// What is waited for: a point of a syncobj, or, with point 0, all that is in it.
struct syncobj_point {
  const syncobj* of{nullptr};
  timeline_point point;
};

/// How it is waited for.
struct syncobj_wait_options {
  bool for_submit{false};  ///< Also until there is a fence; else that is errc::not_submitted.
  bool submitted{false};   ///< Only until there is a fence.
  /// When completion is wished for: a hint for the drivers of fences that are there already, since 6.6.
  deadline wish{deadline::never()};
};

}  // namespace PADDOCK_NAMESPACE::drm

namespace PADDOCK_NAMESPACE::detail {

[[nodiscard]] inline result<wait_any_outcome> wait_points(std::span<const drm::syncobj_point> all, std::uint32_t flags,
                                                          deadline until,
                                                          const drm::syncobj_wait_options& how) noexcept {
  constexpr std::size_t usual = 16;
  std::array<std::uint32_t, usual> few_handles{};
  std::array<std::uint64_t, usual> few_points{};
  const bool are_many = all.size() > usual;
  std::unique_ptr<std::uint32_t[]> many_handles(are_many ? new (std::nothrow) std::uint32_t[all.size()] : nullptr);
  std::unique_ptr<std::uint64_t[]> many_points(are_many ? new (std::nothrow) std::uint64_t[all.size()] : nullptr);
  if (are_many && (many_handles == nullptr || many_points == nullptr)) {
    return fail(errc::out_of_memory, "drm::wait");
  }
  const std::span handles(are_many ? many_handles.get() : few_handles.data(), all.size());
  std::span points(are_many ? many_points.get() : few_points.data(), all.size());
  bool is_timeline = how.submitted;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].of == nullptr || all[i].of->device() != all[0].of->device()) {
      return fail(errc::invalid_argument, "drm::wait: no syncobj, or of two devices");
    }
    handles[i] = all[i].of->handle().value();
    points[i] = all[i].point.value();
    is_timeline = is_timeline || points[i] != 0;
  }
  flags |= how.for_submit ? static_cast<std::uint32_t>(DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT) : 0U;
  flags |= how.submitted ? static_cast<std::uint32_t>(DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE) : 0U;
  return syncobj_wait(all[0].of->device(), handles, is_timeline ? points : points.first(0))
      .wait(flags, until, how.wish);
}

}  // namespace PADDOCK_NAMESPACE::detail

namespace PADDOCK_NAMESPACE::drm {

/// Waits for all of them; none at all are done at once. Returns signaled or timed_out. Errors: not_submitted (one has
/// no fence, and `how` does not wait for that); invalid_argument (two devices); no_device, as soon as the device is
/// known to be lost; unsupported_by_device (points, without capability::timeline_syncobj); out_of_memory.
[[nodiscard]] inline result<wait_status> wait_all(std::span<const syncobj_point> all, deadline until,
                                                  const syncobj_wait_options& how = {}) noexcept {
  if (all.empty()) {
    return wait_status::signaled;
  }
  PADDOCK_TRY(const wait_any_outcome ended, detail::wait_points(all, DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL, until, how));
  return ended.status;
}

/// Waits for one of them, and says which; one that has no fence is an error even where another is done. None at all
/// time out at once. Errors: as wait_all().
[[nodiscard]] inline result<wait_any_outcome> wait_any(std::span<const syncobj_point> all, deadline until,
                                                       const syncobj_wait_options& how = {}) noexcept {
  if (all.empty()) {
    return wait_any_outcome{};
  }
  return detail::wait_points(all, 0, until, how);
}

}  // namespace PADDOCK_NAMESPACE::drm
