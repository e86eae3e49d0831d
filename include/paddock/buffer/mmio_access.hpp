// SPDX-License-Identifier: BSL-1.0
/// \file
/// `mmio_access`: cpu_access for a buffer behind a BAR, which is no memory to the CPU.
#pragma once

#include <concepts>
#include <utility>

#include <paddock/base/ids.hpp>
#include <paddock/base/mmio.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/cpu_access.hpp>
#include <paddock/resv/reservation.hpp>

namespace PADDOCK_NAMESPACE {

/// A buffer that may be behind a BAR. Model: dma_buf.
template <class B>
concept mmio_buffer = cpu_syncable<B> && requires(const B& buffer, const resv_lock& held) {
  { buffer.sync_handle(held) }
  noexcept->cpu_sync_handle;
  { buffer.started_window() }
  noexcept->std::same_as<result<mmio_span>>;
};

/// One buffer, opened for the CPU to read, write or both through its BAR: device memory or registers. Until END the
/// buffer stays where it is, and this process's resets of the device wait for it, as long as their deadline lets them.
/// Requires: the buffer outlives it. Thread-safety: as an int; several of one buffer may overlap.
template <access Access>
class [[nodiscard]] mmio_access {
 public:
  /// It takes the reservation for a moment; who has it already says so. Errors: not_mappable (it is memory: cpu_access
  /// is for that, or not in a row); otherwise as cpu_access::begin().
  template <mmio_buffer B>
  [[nodiscard]] static result<mmio_access> begin(const B& buffer) noexcept {
    return begin_started(buffer, buffer.sync_handle());
  }
  template <mmio_buffer B>
  [[nodiscard]] static result<mmio_access> begin(const resv_lock& held, const B& buffer) noexcept {
    return begin_started(buffer, buffer.sync_handle(held));
  }

  mmio_access(mmio_access&& other) noexcept
      : bracket_(std::move(other.bracket_)), window_(std::exchange(other.window_, {})) {}
  mmio_access& operator=(mmio_access&& other) noexcept {
    bracket_ = std::move(other.bracket_);
    window_ = this != &other ? std::exchange(other.window_, {}) : window_;
    return *this;
  }
  /// END; an error goes to the lost-error handler. Call finish() to get it.
  ~mmio_access() = default;

  /// Empty once finished or moved from.
  [[nodiscard]] const mmio_span& window() const noexcept { return window_; }
  [[nodiscard]] bool is_open() const noexcept { return bracket_.is_open(); }
  /// END, and how it went; a second call does nothing and succeeds.
  [[nodiscard]] result<void> finish() noexcept {
    window_ = {};
    return bracket_.end();
  }

 private:
  mmio_access(detail::open_bracket<Access> bracket, const mmio_span& window) noexcept
      : bracket_(std::move(bracket)), window_(window) {}

  template <class B, cpu_sync_handle H>
  [[nodiscard]] static result<mmio_access> begin_started(const B& buffer, const H& handle) noexcept {
    PADDOCK_TRY(auto bracket, detail::open_bracket<Access>::start(handle));
    PADDOCK_TRY(const mmio_span window, buffer.started_window());  // Else the bracket is closed again.
    return mmio_access(std::move(bracket), window);
  }

  detail::open_bracket<Access> bracket_;
  mmio_span window_;
};

}  // namespace PADDOCK_NAMESPACE
