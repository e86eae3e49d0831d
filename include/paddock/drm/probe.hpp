// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a DRM device and its kernel can do with fences and buffers, asked by calls that must fail in a known way.
#pragma once

#include <xf86drm.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include <paddock/base/error.hpp>
#include <paddock/base/uapi/drm.hpp>
#include <paddock/drm/device.hpp>
#include <paddock/kernel/probe_answer.hpp>

namespace PADDOCK_NAMESPACE::drm {

enum class feature : std::uint8_t {
  prime_import,
  prime_export,
  syncobj,             ///< 4.13, and the driver.
  timeline_syncobj,    ///< 5.2, and the driver.
  syncobj_eventfd,     ///< syncobj::notify() (6.6).
  wait_with_deadline,  ///< syncobj_wait_options::wish (6.6).
  sync_file_at_point,  ///< One ioctl where export_sync_file(point) else takes four (6.16).
};

inline constexpr std::array all_features{
    feature::prime_import,    feature::prime_export,       feature::syncobj,           feature::timeline_syncobj,
    feature::syncobj_eventfd, feature::wait_with_deadline, feature::sync_file_at_point};

[[nodiscard]] constexpr const char* name(feature f) noexcept {
  switch (f) {
    case feature::prime_import: return "prime_import";
    case feature::prime_export: return "prime_export";
    case feature::syncobj: return "syncobj";
    case feature::timeline_syncobj: return "timeline_syncobj";
    case feature::syncobj_eventfd: return "syncobj_eventfd";
    case feature::wait_with_deadline: return "wait_with_deadline";
    case feature::sync_file_at_point: return "sync_file_at_point";
  }
  return "unknown";
}

/// Asks the device and the kernel; nothing is changed. The answer stays as long as the device does. Thread-safety: any
/// thread.
[[nodiscard]] inline kernel::probe_answer probe(const device& of, feature f) noexcept {
  using kernel::answer;
  const auto says = [](bool is_there, const char* where) noexcept {
    return is_there ? kernel::probe_answer{answer::yes, {}}
                    : kernel::probe_answer{answer::no, {errc::unsupported_by_device, 0, where}};
  };
  // About no syncobj at all: whoever knows the call, and the flag, does not find it.
  const auto knows = [&of](unsigned long call, void* argument, const char* where) noexcept {
    static_cast<void>(::drmIoctl(of.fd().get(), call, argument));
    const int got = errno;
    if (got == ENOENT) {
      return kernel::probe_answer{answer::yes, {}};
    }
    const errc why = got == EOPNOTSUPP ? errc::unsupported_by_device : errc::unsupported_by_kernel;
    const bool is_no = got == EINVAL || got == EOPNOTSUPP || got == ENOTTY;
    return kernel::probe_answer{is_no ? answer::no : answer::unknown,
                                is_no ? error{why, got, where} : error_from_errno(got, where)};
  };
  std::uint32_t no_handle = 0;
  switch (f) {
    case feature::prime_import: return says(of.has(capability::prime_import), "DRM_CAP_PRIME");
    case feature::prime_export: return says(of.has(capability::prime_export), "DRM_CAP_PRIME");
    case feature::syncobj: return says(of.has(capability::syncobj), "DRM_CAP_SYNCOBJ");
    case feature::timeline_syncobj: return says(of.has(capability::timeline_syncobj), "DRM_CAP_SYNCOBJ_TIMELINE");
    case feature::syncobj_eventfd: {
      uapi::drm_syncobj_eventfd ask{};
      return knows(uapi::drm_ioctl_syncobj_eventfd, &ask, "DRM_IOCTL_SYNCOBJ_EVENTFD");
    }
    case feature::wait_with_deadline: {
      uapi::drm_syncobj_wait ask{};
      ask.handles = reinterpret_cast<std::uintptr_t>(&no_handle);
      ask.count = 1;
      ask.flags = uapi::drm_syncobj_wait_deadline;
      return knows(uapi::drm_ioctl_syncobj_wait, &ask, "DRM_SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE");
    }
    case feature::sync_file_at_point: {
      uapi::drm_syncobj_handle ask{};
      ask.flags = uapi::drm_syncobj_export_sync_file | uapi::drm_syncobj_export_timeline;
      ask.point = 1;
      return knows(uapi::drm_ioctl_syncobj_handle_to_fd, &ask, "DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE");
    }
  }
  return {answer::unknown, error{errc::invalid_argument, 0, "drm::probe"}};
}

}  // namespace PADDOCK_NAMESPACE::drm
