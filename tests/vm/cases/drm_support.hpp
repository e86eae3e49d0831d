// SPDX-License-Identifier: BSL-1.0
/// \file
/// The DRM devices of the guest, as drm/ opens them, and objects that tests start from.
#pragma once

#include <paddock/drm/device.hpp>
#include <paddock/drm/syncobj.hpp>

#include "kernel_support.hpp"

namespace paddock::drm {

/// virtio-gpu, which has syncobjs with points.
inline device open_gpu(node_type type = node_type::render) {
  auto opened = device::open_driver("virtio_gpu", type);
  if (!opened) {
    test::skip("no virtio-gpu device");
  }
  return *std::move(opened);
}
/// vgem, which has none, but dumb buffers.
inline device open_vgem() {
  auto opened = device::open_driver("vgem", node_type::primary);
  if (!opened) {
    test::skip("no vgem device");
  }
  return *std::move(opened);
}

template <class T>
errc code_of(const result<T>& answer) {
  return answer ? errc{} : answer.error().code;
}

}  // namespace paddock::drm
