// SPDX-License-Identifier: BSL-1.0
/// \file
/// The CPU's window on a BAR: one contiguous range of addresses for the whole BAR, filled where VFIO lets it be mapped.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/vfio/region.hpp>

namespace PADDOCK_NAMESPACE::vfio::detail {

class device_state;

/// Not thread-safe by itself: the device's revocation list is locked around poison() and restore().
class bar_window final : public segment_exporter {
 public:
  ~bar_window() {
    if (::munmap(base_, size_) != 0) {
      report_lost_error(last_error("munmap"));
    }
  }

  /// Reserves addresses for the region and maps what can be mapped; poisoned when the device's memory does not answer
  /// now. `device` is used for this call only: the kernel's mapping holds the file by itself until it is replaced.
  [[nodiscard]] static result<std::shared_ptr<bar_window>> create(borrowed_fd device, const region& info,
                                                                  bool answers = true) {
    const std::size_t size = paddock::detail::round_up_to_page(static_cast<std::size_t>(info.size));
    void* base = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
      return fail_errno("mmap");
    }
    // make_shared cannot reach the private constructor.
    std::shared_ptr<bar_window> window(new bar_window(static_cast<std::byte*>(base), size, info));
    if (answers) {
      PADDOCK_TRY_VOID(window->restore(device));
    } else {
      PADDOCK_TRY_VOID(window->poison());
    }
    return window;
  }

  /// Whose it is. Once, before others see the window.
  void set_device(std::weak_ptr<device_state> device) noexcept { device_ = std::move(device); }
  /// Kernel: VFIO_DEVICE_FEATURE_DMA_BUF. Defined in device_state.hpp.
  [[nodiscard]] result<unique_fd> export_range(std::uint64_t offset, std::uint64_t length) const noexcept override;

  [[nodiscard]] std::byte* base() const noexcept { return base_; }
  [[nodiscard]] const region& info() const noexcept { return info_; }
  [[nodiscard]] bool live() const noexcept { return live_; }
  /// Whether the device's memory is in it, be it in a part: poison() has something to do.
  [[nodiscard]] bool holds_device() const noexcept { return holds_device_; }

  /// True when the CPU can reach every byte of the range.
  [[nodiscard]] bool covers(std::uint64_t offset, std::uint64_t length) const noexcept {
    for (const mappable_area& area : info_.areas) {
      if (offset >= area.offset && range_fits(offset - area.offset, length, area.size)) {
        return true;
      }
    }
    return false;
  }

  /// Replaces the device's memory by pages of ones, which is what a device that is gone reads as; of a larger window
  /// the first GiB, and zeroes behind it. Where the kernel would raise SIGBUS, a thread in the middle of an access now
  /// reads on, and its writes go nowhere. Also drops the mapping's hold on the device file.
  /// Errors: out_of_memory, and then the device's memory is still there.
  [[nodiscard]] result<void> poison() noexcept {
    // One mapping over all of it needs no more than the process has already, so it does not fail for want of mappings.
    if (::mmap(base_, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) ==
        MAP_FAILED) {
      return fail_errno("mmap(poison)");
    }
    live_ = false;
    holds_device_ = false;
    fill_with_ones();
    return {};
  }

  /// Maps the device's memory, first or again.
  [[nodiscard]] result<void> restore(borrowed_fd device) noexcept {
    const int protection = (info_.readable ? PROT_READ : 0) | (info_.writable ? PROT_WRITE : 0);
    for (const mappable_area& area : info_.areas) {
      void* mapped = ::mmap(base_ + area.offset, static_cast<std::size_t>(area.size), protection,
                            MAP_SHARED | MAP_FIXED, device.get(), static_cast<off_t>(info_.file_offset + area.offset));
      if (mapped == MAP_FAILED) {
        return fail_errno("mmap");
      }
      holds_device_ = true;
    }
    live_ = true;
    return {};
  }

 private:
  /// Zeroes are the second best.
  void fill_with_ones() noexcept {
    const std::size_t pattern_size = size_ < max_pattern ? size_ : max_pattern;
    const unique_fd pattern = unique_fd::adopt(::memfd_create("paddock-poison", MFD_CLOEXEC));
    if (!pattern.valid() || ::ftruncate(pattern.get(), static_cast<off_t>(pattern_size)) != 0) {
      return;
    }
    void* view = ::mmap(nullptr, pattern_size, PROT_READ | PROT_WRITE, MAP_SHARED, pattern.get(), 0);
    if (view == MAP_FAILED) {
      return;
    }
    std::memset(view, 0xff, pattern_size);
    ::munmap(view, pattern_size);
    for (std::size_t offset = 0; offset < size_ && offset < max_poisoned; offset += pattern_size) {
      const std::size_t rest = size_ - offset < pattern_size ? size_ - offset : pattern_size;
      if (::mmap(base_ + offset, rest, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, pattern.get(),
                 0) == MAP_FAILED) {
        return;
      }
    }
  }

  // Small enough to fill in no time; each piece is a mapping, of which a process has 65530.
  static constexpr std::size_t max_pattern = std::size_t{2} << 20U;
  static constexpr std::size_t max_poisoned = std::size_t{1} << 30U;

  bar_window(std::byte* base, std::size_t size, region info) noexcept
      : base_(base), size_(size), info_(std::move(info)) {}

  std::byte* base_;
  std::size_t size_;
  region info_;
  std::weak_ptr<device_state> device_;
  bool live_{false};
  bool holds_device_{false};
};

}  // namespace PADDOCK_NAMESPACE::vfio::detail
