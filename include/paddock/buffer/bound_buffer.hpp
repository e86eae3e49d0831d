// SPDX-License-Identifier: BSL-1.0
/// \file
/// `bound_buffer`: a buffer as its exporter knows it, to take the storage back.
#pragma once

#include <cstddef>
#include <utility>

#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/core.hpp>
#include <paddock/buffer/status.hpp>

namespace PADDOCK_NAMESPACE {

/// What bound_exporter::bound() and bound_source::bound() are given. It keeps nothing alive: the exporter goes with its
/// buffer, so that it is good until the exporter's destructor has returned. When somebody else (a device that is reset)
/// calls the exporter, its destructor waits until that call is over.
/// Copied freely. Thread-safety: any thread.
class bound_buffer {
 public:
  /// The buffer, if its last reference is not gone yet, kept until this goes; with it the buffer, and so the exporter,
  /// may go.
  class [[nodiscard]] reference {
   public:
    reference(reference&& other) noexcept : core_(std::exchange(other.core_, nullptr)), place_(other.place_) {}
    reference(const reference&) = delete;
    reference& operator=(const reference&) = delete;
    reference& operator=(reference&&) = delete;
    ~reference() {
      if (core_ != nullptr) {
        core_->put();
      }
    }
    explicit operator bool() const noexcept { return core_ != nullptr; }

    // The rest requires: it is not empty; the thread does not hold the buffer's reservation.

    /// As dma_buf::revoke(): before the storage goes away. A buffer that is in another place of its exporter only loses
    /// what is still mapped of this one.
    [[nodiscard]] result<void> revoke(deadline until) const noexcept {
      return core_->revoke_place(place_, until, buffer_status::revoked);
    }
    /// The same for good, as dma_buf::close().
    [[nodiscard]] result<void> close(deadline until) const noexcept {
      return core_->revoke_place(place_, until, buffer_status::dead);
    }

   private:
    friend class bound_buffer;
    reference(detail::buffer_core* core, std::size_t place) noexcept : core_(core), place_(place) {}

    detail::buffer_core* core_;
    std::size_t place_;
  };

  /// Of none.
  bound_buffer() noexcept = default;
  /// Made by dma_buf::create().
  explicit bound_buffer(detail::buffer_core& of) noexcept : core_(&of) {}
  /// As the one of an exporter's places that has this number, for who gives storage for that one.
  [[nodiscard]] bound_buffer at(std::size_t place) const noexcept {
    bound_buffer made = *this;
    made.place_ = place;
    return made;
  }

  /// Empty when the buffer's last reference is gone, or when this is of none.
  [[nodiscard]] reference get() const noexcept {
    // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDelete): the analyzer does not count references.
    return {core_ != nullptr && core_->try_get() ? core_ : nullptr, place_};
  }

 private:
  detail::buffer_core* core_{nullptr};
  std::size_t place_{0};
};

}  // namespace PADDOCK_NAMESPACE
