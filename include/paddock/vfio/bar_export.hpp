// SPDX-License-Identifier: BSL-1.0
/// \file
/// A slice of a BAR as a kernel dma-buf, for importers that the kernel drives (iommufd, RDMA, GPUs).
#pragma once

#include <fcntl.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/uapi/vfio.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/kernel/dma_buf_fd.hpp>
#include <paddock/kernel/probe_answer.hpp>
#include <paddock/vfio/device.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// Does this kernel export BARs of this device as dma-bufs? Asked at run time, whatever the headers said.
/// Kernel: VFIO_DEVICE_FEATURE_PROBE of VFIO_DEVICE_FEATURE_DMA_BUF, Linux 6.19 and later.
[[nodiscard]] inline kernel::probe_answer probe_bar_export(const device& exporter) {
  uapi::vfio_device_feature_header question;
  question.flags = uapi::vfio_device_feature_probe | uapi::vfio_device_feature_get | uapi::vfio_device_feature_dma_buf;
  const auto asked = exporter.state()->with_fd([&](borrowed_fd fd) {
    return paddock::detail::ioctl_once(fd, uapi::vfio_device_feature, &question, "VFIO_DEVICE_FEATURE");
  });
  if (asked) {
    return {kernel::answer::yes, {}};
  }
  const int got = asked.error().sys_errno;
  const bool is_no = got == ENOTTY || got == EINVAL || got == ENODEV || got == EOPNOTSUPP;
  return {is_no ? kernel::answer::no : kernel::answer::unknown, asked.error()};
}

/// Exports one range of a BAR. The dma-buf has no CPU mapping of its own, and does not keep the device open: when the
/// device is reset, loses its memory or is closed, the kernel revokes it, and every import of it is dead for good.
/// Requires: whole pages. One range, since that is all that importers take.
/// Errors: misaligned, out_of_range, invalid_argument (length 0), not_found (no such memory BAR),
/// unsupported_by_kernel, unsupported_by_device (the variant driver does not), limit_reached, no_device. Kernel:
/// VFIO_DEVICE_FEATURE_DMA_BUF (drivers/vfio/pci/vfio_pci_dmabuf.c).
[[nodiscard]] inline result<kernel::dma_buf_fd> export_bar(device& exporter, bar_index index, std::uint64_t offset,
                                                           std::uint64_t length) {
  if (index.value() >= bar_index::count || exporter.regions()[index.value()].size == 0) {
    return fail(errc::not_found, "export_bar");
  }
  if (length == 0) {
    return fail(errc::invalid_argument, "export_bar");
  }
  if (!range_fits(offset, length, exporter.regions()[index.value()].size)) {
    return fail(errc::out_of_range, "export_bar");
  }
  if (offset % paddock::detail::page_size() != 0 || length % paddock::detail::page_size() != 0) {
    return fail(errc::misaligned, "export_bar");
  }
  PADDOCK_TRY(unique_fd made, exporter.state()->export_range(index.value(), offset, length));
  return kernel::dma_buf_fd::adopt(std::move(made));
}
[[nodiscard]] inline result<kernel::dma_buf_fd> export_bar(device& exporter, const bar_slice& slice) {
  if (slice.provider() != exporter.address()) {
    return fail(errc::invalid_argument, "export_bar: the slice is another device's");
  }
  return export_bar(exporter, slice.bar(), slice.offset(), slice.length());
}

}  // namespace PADDOCK_NAMESPACE::vfio
