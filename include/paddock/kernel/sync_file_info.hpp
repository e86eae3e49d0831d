// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a sync_file says about itself: its name, how it stands, and each fence inside.
#pragma once

#include <cstddef>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include <paddock/base/time.hpp>
#include <paddock/base/uapi/sync_file.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// How a kernel fence stands at one moment.
enum class sync_status : std::uint8_t {
  pending,   ///< Submitted, not completed.
  signaled,  ///< Completed, without error.
  failed,    ///< Completed, with an error.
};

/// The kernel's s32: 0 is active, positive is done, negative is done with that errno.
[[nodiscard]] constexpr sync_status to_sync_status(std::int32_t status) noexcept {
  return status == 0 ? sync_status::pending : status > 0 ? sync_status::signaled : sync_status::failed;
}

/// One fence inside a sync_file.
class fence_info {
 public:
  fence_info() noexcept = default;
  explicit fence_info(const uapi::sync_fence_info& raw) noexcept : raw_(raw) {}

  /// Name of the timeline, as its driver chose it. At most 31 bytes.
  [[nodiscard]] std::string_view timeline() const noexcept { return text(raw_.obj_name); }
  /// Name of the driver. At most 31 bytes.
  [[nodiscard]] std::string_view driver() const noexcept { return text(raw_.driver_name); }
  [[nodiscard]] sync_status status() const noexcept { return to_sync_status(raw_.status); }
  /// The errno of a failed fence, positive; 0 otherwise.
  [[nodiscard]] int sys_errno() const noexcept { return raw_.status < 0 ? -raw_.status : 0; }
  /// When it completed, on CLOCK_MONOTONIC; nothing while it is pending.
  [[nodiscard]] std::optional<monotonic_clock::time_point> timestamp() const noexcept {
    if (raw_.status == 0) {
      return std::nullopt;
    }
    return monotonic_clock::time_point(std::chrono::nanoseconds(static_cast<std::int64_t>(raw_.timestamp_ns)));
  }

  /// The characters of a field of fixed size, which need not be terminated.
  template <std::size_t Size>
  [[nodiscard]] static std::string_view text(const char (&field)[Size]) noexcept {
    return {field, ::strnlen(field, Size)};
  }

 private:
  uapi::sync_fence_info raw_{};
};

/// A snapshot of a sync_file. Fences that complete later do not change it.
class sync_file_info {
 public:
  sync_file_info(const uapi::sync_file_info& raw, std::vector<fence_info> fences) noexcept
      : raw_(raw), fences_(std::move(fences)) {}

  [[nodiscard]] std::string_view name() const noexcept { return fence_info::text(raw_.name); }
  /// Of the whole: pending while one fence is, failed when one failed.
  [[nodiscard]] sync_status status() const noexcept { return to_sync_status(raw_.status); }
  /// The errno when failed, positive; 0 otherwise.
  [[nodiscard]] int sys_errno() const noexcept { return raw_.status < 0 ? -raw_.status : 0; }
  /// The fences inside, containers taken apart; at most one a context.
  [[nodiscard]] const std::vector<fence_info>& fences() const noexcept { return fences_; }

 private:
  uapi::sync_file_info raw_;
  std::vector<fence_info> fences_;
};

}  // namespace PADDOCK_NAMESPACE::kernel
