// SPDX-License-Identifier: BSL-1.0
/// \file
/// What exporters of BAR memory have in common: a device that tells their buffer before the storage goes away, and
/// knows it weakly.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/bound_buffer.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/vfio/bar_slice.hpp>
#include <paddock/vfio/bar_window.hpp>
#include <paddock/vfio/revocation.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// Of buffers in a BAR.
struct bar_export_options {
  /// How long the device's reset, or whatever takes the storage away, waits for jobs, for accesses by CPU and for
  /// importers that unmap by themselves; then it goes on without them. See dma_buf::revoke().
  std::chrono::nanoseconds patience{std::chrono::seconds(1)};
};

namespace detail {

/// On a device's list for one buffer, which it does not keep alive: it goes with the buffer, and a buffer whose last
/// reference is gone when it is told is left alone. Whoever drops that reference then waits in the destructor until
/// this has returned, so that the buffer is there for as long.
class buffer_link final : public revocable {
 public:
  buffer_link(std::shared_ptr<revocation_list> list, std::chrono::nanoseconds patience) noexcept
      : list_(std::move(list)), patience_(patience) {}
  ~buffer_link() { list_->leave(*this); }

  /// Once.
  [[nodiscard]] result<void> join(const bound_buffer& buffer) noexcept {
    buffer_ = buffer;
    return list_->join(*this);
  }

  void on_revoke(revoke_reason why) noexcept override {
    const auto buffer = buffer_.get();  // With the last reference this object goes, too.
    if (!buffer) {
      return;
    }
    const bool for_good = why == revoke_reason::removed || why == revoke_reason::closed;
    report(for_good ? buffer.close(deadline::in(patience_)) : buffer.revoke(deadline::in(patience_)));
    // For the next time. When the driver has closed the device meanwhile there is none.
    if (!for_good && !list_->join(*this)) {
      report(buffer.close(deadline::in(patience_)));
    }
  }

 private:
  static void report(const result<void>& revoked) noexcept {
    if (!revoked) {
      report_lost_error(revoked.error());
    }
  }

  const std::shared_ptr<revocation_list> list_;
  const std::chrono::nanoseconds patience_;
  bound_buffer buffer_;
};

/// The part of a BAR that a buffer is in.
class exported_bar {
 public:
  static constexpr p2p_segments p2p = p2p_segments::always;
  static constexpr bool revokes = true;
  using residency = paddock::revocable;

  exported_bar(bar_slice where, const bar_export_options& options) noexcept
      : where_(std::move(where)), options_(options) {}

  /// Called by dma_buf::create(). Errors: as hold_storage(); out_of_memory.
  [[nodiscard]] result<void> bound(const bound_buffer& buffer) noexcept {
    PADDOCK_TRY(const auto stays, hold_storage());
    return join(buffer);
  }

  /// The device's memory answers, and goes on to do so while the returned lock is held. Called by dma_buf::restore().
  /// Requires: the thread holds no reservation. Errors: no_device (it is closed); revoked (it does not answer now, or
  /// is being taken away).
  [[nodiscard]] result<std::unique_lock<std::recursive_mutex>> hold_storage(place at = place::here()) const noexcept {
    auto stays = where_.listeners_->lock();
    PADDOCK_TRY_VOID(check_there());
    const checked_lock_section order(revocation_list::lock_name, where_.listeners_.get(), at);
    return stays;
  }
  /// The same for who may not wait, because it holds a reservation or another device's storage. Errors: also busy,
  /// while the device is being reset, or maps something.
  [[nodiscard]] result<std::unique_lock<std::recursive_mutex>> try_hold_storage() const noexcept {
    auto stays = where_.listeners_->try_lock();
    if (!stays.owns_lock()) {
      return fail(errc::busy, "bar_exporter: the device is being reset, or maps something");
    }
    PADDOCK_TRY_VOID(check_there());
    return stays;
  }

 protected:
  /// From here on the buffer is told when what is in that place of it goes. Errors: no_device, out_of_memory.
  [[nodiscard]] result<void> join(const bound_buffer& buffer) noexcept {
    link_.reset(new (std::nothrow) buffer_link(where_.listeners_, options_.patience));
    if (link_ == nullptr) {
      return fail(errc::out_of_memory, "bar_exporter");
    }
    return link_->join(buffer);
  }
  /// A part of it, counted from the start of the BAR. Errors: not_mappable (the CPU has no window on all of it).
  [[nodiscard]] result<segment> part(storage_kind kind, std::uint64_t offset, std::uint64_t length) const noexcept {
    if (!where_.window_->covers(offset, length)) {
      return fail(errc::not_mappable, "bar_exporter: a hole in the BAR's window");
    }
    segment made{.kind = kind, .length = length};
    made.address = where_.window_->base() + offset;
    made.offset = offset;
    made.provider = where_.provider();
    made.bar = where_.bar();
    made.exporter = where_.window_.get();
    return made;
  }
  [[nodiscard]] const bar_slice& where() const noexcept { return where_; }
  /// What keeps the addresses of the window.
  [[nodiscard]] const std::shared_ptr<bar_window>& window() const noexcept { return where_.window_; }

 private:
  /// Requires: the list is locked.
  [[nodiscard]] result<void> check_there() const noexcept {
    if (where_.listeners_->closed()) {
      return fail(errc::no_device, "bar_exporter: the device is closed");
    }
    if (!where_.window_->live() || where_.listeners_->is_revoking()) {
      return fail(errc::revoked, "bar_exporter: the device's memory does not answer now");
    }
    return {};
  }

  bar_slice where_;
  bar_export_options options_;
  std::unique_ptr<buffer_link> link_;
};

}  // namespace detail
}  // namespace PADDOCK_NAMESPACE::vfio
