// SPDX-License-Identifier: BSL-1.0
// Our mirrors of DRM's interface against the headers of this machine, which may lack the newer fields at their ends.
#include <drm.h>

#include <cstddef>

#include <paddock/base/uapi/drm.hpp>

#include "catch.hpp"

namespace uapi = paddock::uapi;

#define SAME_FIELD(ours, theirs, ours_name, theirs_name)                                  \
  static_assert(offsetof(uapi::ours, ours_name) == offsetof(struct theirs, theirs_name)); \
  static_assert(sizeof(uapi::ours::ours_name) == sizeof(decltype(theirs::theirs_name)))

SAME_FIELD(drm_syncobj_handle, drm_syncobj_handle, handle, handle);
SAME_FIELD(drm_syncobj_handle, drm_syncobj_handle, flags, flags);
SAME_FIELD(drm_syncobj_handle, drm_syncobj_handle, fd, fd);
SAME_FIELD(drm_syncobj_wait, drm_syncobj_wait, handles, handles);
SAME_FIELD(drm_syncobj_wait, drm_syncobj_wait, timeout_ns, timeout_nsec);
SAME_FIELD(drm_syncobj_wait, drm_syncobj_wait, count, count_handles);
SAME_FIELD(drm_syncobj_wait, drm_syncobj_wait, flags, flags);
SAME_FIELD(drm_syncobj_wait, drm_syncobj_wait, first_signaled, first_signaled);
SAME_FIELD(drm_syncobj_timeline_wait, drm_syncobj_timeline_wait, points, points);
SAME_FIELD(drm_syncobj_timeline_wait, drm_syncobj_timeline_wait, timeout_ns, timeout_nsec);
SAME_FIELD(drm_syncobj_timeline_wait, drm_syncobj_timeline_wait, count, count_handles);
SAME_FIELD(drm_syncobj_timeline_wait, drm_syncobj_timeline_wait, flags, flags);
SAME_FIELD(drm_syncobj_timeline_wait, drm_syncobj_timeline_wait, first_signaled, first_signaled);
static_assert(uapi::drm_syncobj_export_sync_file == DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE);
static_assert(uapi::drm_syncobj_wait_all == DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL);
static_assert(uapi::drm_syncobj_wait_for_submit == DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT);
static_assert(uapi::drm_syncobj_wait_available == DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE);

TEST_CASE("the mirrors of DRM's interface have the sizes of Linux 7.2") {
  CHECK(sizeof(uapi::drm_syncobj_handle) == 24);
  CHECK(sizeof(uapi::drm_syncobj_wait) == 40);
  CHECK(sizeof(uapi::drm_syncobj_timeline_wait) == 48);
  CHECK(sizeof(uapi::drm_syncobj_eventfd) == 24);
}
