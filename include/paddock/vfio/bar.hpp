// SPDX-License-Identifier: BSL-1.0
/// \file
/// `bar`: a device's BAR as this process sees it, and its slices as other devices do.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include <paddock/base/ids.hpp>
#include <paddock/base/mmio.hpp>
#include <paddock/base/result.hpp>
#include <paddock/vfio/bar_slice.hpp>
#include <paddock/vfio/device_state.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// Made by device::map_bar(). Holds the window: an mmio_span of it is valid while a bar or a slice lives. After the
/// device is gone the window reads as ones (a large one as zeroes beyond its first GiB) and takes writes without
/// effect, so a thread in the middle of an access never gets a SIGBUS. Thread-safety: as a value; the registers behind
/// it are the driver's concern.
class bar {
 public:
  bar(bar_index index, std::shared_ptr<detail::device_state> device,
      std::shared_ptr<detail::bar_window> window) noexcept
      : index_(index), device_(std::move(device)), window_(std::move(window)) {}

  [[nodiscard]] bar_index index() const noexcept { return index_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return window_->info().size; }
  /// What the CPU can map of it: all, or what lies around an MSI-X table on kernels that guard it.
  [[nodiscard]] const region& info() const noexcept { return window_->info(); }

  /// The registers or memory in [offset, offset + length).
  /// Errors: out_of_range; not_mappable where a hole is in between: device::read_region() reaches those bytes.
  [[nodiscard]] result<mmio_span> mmio(std::uint64_t offset, std::uint64_t length) const& noexcept {
    if (!range_fits(offset, length, size())) {
      return fail(errc::out_of_range, "bar::mmio");
    }
    if (!window_->covers(offset, length)) {
      return fail(errc::not_mappable, "bar::mmio");
    }
    return mmio_span(window_->base() + offset, static_cast<std::size_t>(length));
  }
  /// The whole BAR. Errors: not_mappable.
  [[nodiscard]] result<mmio_span> mmio() const& noexcept { return mmio(0, size()); }
  /// A bar that ends with the expression would leave the span without memory.
  result<mmio_span> mmio(std::uint64_t offset, std::uint64_t length) const&& = delete;
  result<mmio_span> mmio() const&& = delete;

  /// A part of the BAR for other devices to map, see ioas::map(). Whole pages, as every IOMMU demands.
  /// Errors: out_of_range, misaligned, invalid_argument (length 0).
  [[nodiscard]] result<bar_slice> slice(std::uint64_t offset, std::uint64_t length) const noexcept {
    if (length == 0) {
      return fail(errc::invalid_argument, "bar::slice");
    }
    if (!range_fits(offset, length, size())) {
      return fail(errc::out_of_range, "bar::slice");
    }
    if (offset % paddock::detail::page_size() != 0 || length % paddock::detail::page_size() != 0) {
      return fail(errc::misaligned, "bar::slice");
    }
    return bar_slice(device_->address, index_, offset, length, window_, device_->listeners);
  }

 private:
  bar_index index_;
  std::shared_ptr<detail::device_state> device_;
  std::shared_ptr<detail::bar_window> window_;
};

}  // namespace PADDOCK_NAMESPACE::vfio
