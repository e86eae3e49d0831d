// SPDX-License-Identifier: BSL-1.0
/// \file
/// `cpu_access`: the bracket around CPU access to a buffer that devices also touch. The direction is a type, the END
/// follows from the START, and there is no pointer without a START that succeeded.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <new>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>

#include <paddock/base/ids.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/resv/reservation.hpp>

namespace PADDOCK_NAMESPACE {

/// What a guard keeps of a buffer, to call START and END on: a small value that stays right when the object it came
/// from is moved. A call that was interrupted is retried by the model, not by the guard; id() of an unknown buffer is
/// {}. Model: kernel::dma_buf_ref.
template <class H>
concept cpu_sync_handle = std::is_trivially_copyable_v<H> && sizeof(H) <= 32 && alignof(H) <= alignof(void*) &&
                          requires(const H& handle, access what) {
  { handle.id() }
  noexcept->std::same_as<buffer_id>;
  { handle.sync_start(what) }
  noexcept->std::same_as<result<void>>;
  { handle.sync_end(what) }
  noexcept->std::same_as<result<void>>;
};

/// A buffer whose CPU accesses are bracketed. Models: kernel::dma_buf_fd, kernel::dma_buf_ref.
template <class B>
concept cpu_syncable = requires(const B& buffer) {
  { buffer.sync_handle() }
  noexcept->cpu_sync_handle;
};

/// A buffer, or a part of one, that is mapped for the CPU; permits() is what the page protection allows.
/// Model: kernel::dma_buf_mapping.
template <class M>
concept cpu_mapping = cpu_syncable<M> && requires(const M& mapping) {
  { mapping.permits() }
  noexcept->std::same_as<access>;
  { mapping.unsynchronized_bytes() }
  noexcept->std::same_as<std::span<std::byte>>;
};

/// A buffer whose bytes are where they are while an access is open: it may move at other times. Model: dma_buf.
template <class B>
concept cpu_buffer = cpu_syncable<B> && requires(const B& buffer, const resv_lock& held) {
  { buffer.sync_handle(held) }
  noexcept->cpu_sync_handle;
  { buffer.started_bytes() }
  noexcept->std::same_as<result<std::span<std::byte>>>;
};

namespace detail {

/// An open START that owes one END. The type of the handle is erased, so that a guard's type names the access alone.
template <access Access>
class open_bracket {
 public:
  open_bracket() noexcept = default;
  open_bracket(open_bracket&& other) noexcept : end_(std::exchange(other.end_, nullptr)), id_(other.id_) {
    handle_ = other.handle_;
  }
  open_bracket& operator=(open_bracket&& other) noexcept {
    if (this != &other) {
      end_or_report();
      handle_ = other.handle_;
      id_ = other.id_;
      end_ = std::exchange(other.end_, nullptr);
    }
    return *this;
  }
  ~open_bracket() { end_or_report(); }

  template <cpu_sync_handle H>
  [[nodiscard]] static result<open_bracket> start(const H& handle) noexcept {
    PADDOCK_TRY_VOID(handle.sync_start(Access));
    open_bracket opened;
    ::new (static_cast<void*>(opened.handle_.bytes)) H(handle);
    opened.id_ = handle.id();
    opened.end_ = [](const storage& bytes) noexcept {
      return std::launder(reinterpret_cast<const H*>(bytes.bytes))->sync_end(Access);
    };
    return opened;
  }

  [[nodiscard]] bool is_open() const noexcept { return end_ != nullptr; }
  [[nodiscard]] buffer_id id() const noexcept { return id_; }

  /// END, once: a second call does nothing, and one that failed is not tried again.
  [[nodiscard]] result<void> end() noexcept {
    const auto call = std::exchange(end_, nullptr);
    return call != nullptr ? call(handle_) : result<void>{};
  }

 private:
  struct storage {
    alignas(void*) std::byte bytes[32]{};
  };

  void end_or_report() noexcept {
    if (const auto ended = end(); !ended) {
      report_lost_error(ended.error());
    }
  }

  storage handle_;
  result<void> (*end_)(const storage&) noexcept {nullptr};
  buffer_id id_;
};

template <access Access>
using accessed_byte = std::conditional_t<writes(Access), std::byte, const std::byte>;

/// Refuses what the page protection would answer with SIGSEGV, before START.
template <access Access, cpu_mapping M>
[[nodiscard]] result<std::span<accessed_byte<Access>>> permitted_bytes(const M& mapping) noexcept {
  if ((writes(Access) && !writes(mapping.permits())) || (reads(Access) && !reads(mapping.permits()))) {
    return fail(errc::permission, "cpu_access of a mapping made for another access");
  }
  return std::span<accessed_byte<Access>>(mapping.unsynchronized_bytes());
}

}  // namespace detail

/// One buffer, opened for the CPU to read, write or both. `cpu_access<access::read>` yields `span<const std::byte>`,
/// the others a writable one. Moving it moves the obligation to END; assigning over it ends the old bracket first.
/// Requires: the mapping (or, for begin(buffer, bytes), the FD) outlives the guard.
/// Thread-safety: as an int; guards of one buffer may overlap.
template <access Access>
class [[nodiscard]] cpu_access {
 public:
  /// const for access::read: the type says which bytes may be written.
  using byte_type = detail::accessed_byte<Access>;

  /// START over a mapping. It may block on the fences that the kernel makes such an access wait for.
  /// Errors: permission (the mapping was made for less), as the buffer's START.
  template <cpu_mapping M>
  [[nodiscard]] static result<cpu_access> begin(const M& mapping) noexcept {
    PADDOCK_TRY(const auto bytes, detail::permitted_bytes<Access>(mapping));
    return begin(mapping, bytes);
  }
  /// A mapping that ends with the expression would leave the guard without memory.
  template <cpu_mapping M>
  static result<cpu_access> begin(const M&& mapping) = delete;
  /// START on `buffer`, for bytes of it that the caller mapped: through a udmabuf's memfd, or a borrowed FD.
  template <cpu_syncable B>
  [[nodiscard]] static result<cpu_access> begin(const B& buffer, std::span<byte_type> bytes) noexcept {
    PADDOCK_TRY(auto bracket, detail::open_bracket<Access>::start(buffer.sync_handle()));
    return cpu_access(std::move(bracket), bytes);
  }

  /// START on a buffer itself, which stays where it is until END. It takes the reservation for a moment; who has it
  /// already says so. Errors: not_mappable (it is behind a BAR: mmio_access is for that, or not in a row); revoked;
  /// busy (an importer works on a copy); wrong_lock; deadlock (this thread has the reservation, and did not say so).
  template <cpu_buffer B>
  [[nodiscard]] static result<cpu_access> begin(const B& buffer) noexcept {
    return begin_started(buffer, buffer.sync_handle());
  }
  template <cpu_buffer B>
  [[nodiscard]] static result<cpu_access> begin(const resv_lock& held, const B& buffer) noexcept {
    return begin_started(buffer, buffer.sync_handle(held));
  }

  cpu_access(cpu_access&& other) noexcept
      : bracket_(std::move(other.bracket_)), bytes_(std::exchange(other.bytes_, {})) {}
  cpu_access& operator=(cpu_access&& other) noexcept {
    bracket_ = std::move(other.bracket_);
    bytes_ = this != &other ? std::exchange(other.bytes_, {}) : bytes_;
    return *this;
  }
  /// END; an error goes to the lost-error handler. Call finish() to get it.
  ~cpu_access() = default;

  /// The bytes; none once finished or moved from. The span must not be used after that either.
  [[nodiscard]] std::span<byte_type> bytes() const noexcept { return bytes_; }
  [[nodiscard]] bool is_open() const noexcept { return bracket_.is_open(); }

  /// END, and how it went. The bracket is closed whatever the answer; a second call does nothing and succeeds.
  [[nodiscard]] result<void> finish() noexcept {
    bytes_ = {};
    return bracket_.end();
  }

 private:
  template <class B, cpu_sync_handle H>
  [[nodiscard]] static result<cpu_access> begin_started(const B& buffer, const H& handle) noexcept {
    PADDOCK_TRY(auto bracket, detail::open_bracket<Access>::start(handle));
    PADDOCK_TRY(const auto bytes, buffer.started_bytes());  // Else the bracket is closed again.
    return cpu_access(std::move(bracket), bytes);
  }

  cpu_access(detail::open_bracket<Access> bracket, std::span<byte_type> bytes) noexcept
      : bracket_(std::move(bracket)), bytes_(bytes) {}

  detail::open_bracket<Access> bracket_;
  std::span<byte_type> bytes_;
};

/// Several planes of one picture, all opened or none. Planes of one buffer (NV12 in one dma-buf, exported as two FDs)
/// share one bracket. ENDs come in the opposite order of the STARTs.
/// Requires: the mappings outlive the guard.
template <access Access>
class [[nodiscard]] cpu_access_planes {
 public:
  using byte_type = detail::accessed_byte<Access>;
  /// V4L2's most (VIDEO_MAX_PLANES); DRM has 4.
  static constexpr std::size_t max_planes = 8;

  /// START on each buffer in order. When one fails, those before it get END (an error of which goes to the lost-error
  /// handler), and the error is returned. Errors: invalid_argument (none, or more than max_planes), as
  /// cpu_access::begin.
  template <class... M>
  requires(sizeof...(M) > 0 && sizeof...(M) <= max_planes && (cpu_mapping<M> && ...))
      [[nodiscard]] static result<cpu_access_planes> begin(M&... planes) noexcept {
    cpu_access_planes opened;
    result<void> answer;
    static_cast<void>(((answer = opened.add(planes)).has_value() && ...));
    PADDOCK_TRY_VOID(answer);
    return opened;
  }
  /// The same for an array, vector or span of mappings.
  template <std::ranges::contiguous_range Planes>
  requires cpu_mapping<std::ranges::range_value_t<Planes>> &&
      (std::is_lvalue_reference_v<Planes> || std::ranges::borrowed_range<Planes>)
          [[nodiscard]] static result<cpu_access_planes> begin(Planes&& planes) noexcept {
    if (std::ranges::empty(planes) || std::ranges::size(planes) > max_planes) {
      return fail(errc::invalid_argument, "cpu_access_planes (1 to 8)");
    }
    cpu_access_planes opened;
    for (const auto& plane : planes) {
      PADDOCK_TRY_VOID(opened.add(plane));
    }
    return opened;
  }

  cpu_access_planes(cpu_access_planes&& other) noexcept
      : brackets_(std::move(other.brackets_)), planes_(other.planes_), count_(std::exchange(other.count_, 0)) {}
  cpu_access_planes& operator=(cpu_access_planes&& other) noexcept {
    if (this != &other) {
      end_or_report();
      brackets_ = std::move(other.brackets_);
      planes_ = other.planes_;
      count_ = std::exchange(other.count_, 0);
    }
    return *this;
  }
  ~cpu_access_planes() { end_or_report(); }

  /// How many planes are open; 0 once finished or moved from.
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  /// The bytes of a plane, in the order of begin(); none for an index beyond size().
  [[nodiscard]] std::span<byte_type> plane(std::size_t index) const noexcept {
    return index < count_ ? planes_[index] : std::span<byte_type>{};
  }

  /// END on every buffer, also after one fails. Returns the first error; further ones go to the lost-error handler.
  [[nodiscard]] result<void> finish() noexcept {
    result<void> first;
    count_ = 0;
    for (std::size_t i = max_planes; i-- > 0;) {
      const auto ended = brackets_[i].end();
      if (!ended && first) {
        first = ended;
      } else if (!ended) {
        report_lost_error(ended.error());
      }
    }
    return first;
  }

 private:
  cpu_access_planes() noexcept = default;

  template <cpu_mapping M>
  [[nodiscard]] result<void> add(const M& mapping) noexcept {
    PADDOCK_TRY(const auto bytes, detail::permitted_bytes<Access>(mapping));
    const auto handle = mapping.sync_handle();
    if (!is_bracketed(handle.id())) {
      PADDOCK_TRY(brackets_[count_], detail::open_bracket<Access>::start(handle));
    }
    planes_[count_++] = bytes;
    return {};
  }

  /// A buffer without identity is taken for one of its own.
  [[nodiscard]] bool is_bracketed(buffer_id id) const noexcept {
    for (const auto& bracket : brackets_) {
      if (bracket.is_open() && bracket.id() == id && id != buffer_id{}) {
        return true;
      }
    }
    return false;
  }

  void end_or_report() noexcept {
    if (const auto ended = finish(); !ended) {
      report_lost_error(ended.error());
    }
  }

  std::array<detail::open_bracket<Access>, max_planes> brackets_;
  std::array<std::span<byte_type>, max_planes> planes_;
  std::size_t count_{0};
};

}  // namespace PADDOCK_NAMESPACE
