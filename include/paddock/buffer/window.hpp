// SPDX-License-Identifier: BSL-1.0
/// \file
/// Registering memory takes whole pages, and people mean bytes: the pages around some bytes, and where in them the
/// bytes are.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/syscall.hpp>

namespace PADDOCK_NAMESPACE {

/// The whole pages around [first, first + size). All numbers have 64 bits: what is passed on to an interface with fewer
/// must be checked there. A value, made by around().
class registration_window {
 public:
  /// `first` is an address or an offset, as the registration wants it. The pages are those of this host unless said:
  /// an IOMMU's may be others (vfio::ioas::page_size()).
  /// Errors: invalid_argument (no bytes, a page size that is no power of two), out_of_range (the pages end beyond 64
  /// bits; so the very last page is refused, since its end is no number).
  [[nodiscard]] static constexpr result<registration_window> around(
      std::uint64_t first, std::uint64_t size, std::uint64_t page_size = ::paddock::detail::page_size()) noexcept {
    if (size == 0) {
      return fail(errc::invalid_argument, "registration_window: no bytes");
    }
    if (!std::has_single_bit(page_size)) {
      return fail(errc::invalid_argument, "registration_window: the page size is no power of two");
    }
    std::uint64_t end = 0;
    if (__builtin_add_overflow(first, size, &end) || __builtin_add_overflow(end, page_size - 1, &end)) {
      return fail(errc::out_of_range, "registration_window: the pages end beyond 64 bits");
    }
    const std::uint64_t base = first & ~(page_size - 1);
    return registration_window(base, (end & ~(page_size - 1)) - base, first - base, size, page_size);
  }

  /// The first byte of the first page.
  [[nodiscard]] constexpr std::uint64_t base() const noexcept { return base_; }
  /// Of all pages: a multiple of page_size(), never 0.
  [[nodiscard]] constexpr std::uint64_t length() const noexcept { return length_; }
  /// One behind the last byte of the last page.
  [[nodiscard]] constexpr std::uint64_t end() const noexcept { return base_ + length_; }
  /// How far behind base() the bytes begin: to be added to the address that the registration gave.
  [[nodiscard]] constexpr std::uint64_t interior() const noexcept { return interior_; }
  /// The first of the bytes, as it was given.
  [[nodiscard]] constexpr std::uint64_t first() const noexcept { return base_ + interior_; }
  /// How many bytes were asked for.
  [[nodiscard]] constexpr std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] constexpr std::uint64_t page_size() const noexcept { return page_size_; }

  /// Where in the window the bytes [offset, offset + bytes) are, counted from the first byte asked for.
  /// Errors: out_of_range (they are not among those asked for, though the pages may have them).
  [[nodiscard]] constexpr result<std::uint64_t> window_offset(std::uint64_t offset,
                                                              std::uint64_t bytes) const noexcept {
    if (!range_fits(offset, bytes, size_)) {
      return fail(errc::out_of_range, "registration_window::window_offset");
    }
    return interior_ + offset;
  }

  /// Does this window have all pages of `other`? Then its registration serves both.
  [[nodiscard]] constexpr bool contains(const registration_window& other) const noexcept {
    return base_ <= other.base_ && other.end() <= end();
  }

  /// One window for both, whose bytes reach from the first to the last of theirs.
  /// Errors: invalid_argument (pages between them that nobody asked for; different page sizes).
  [[nodiscard]] friend constexpr result<registration_window> merge(const registration_window& a,
                                                                   const registration_window& b) noexcept {
    if (a.page_size_ != b.page_size_) {
      return fail(errc::invalid_argument, "merge: windows of different page sizes");
    }
    if (a.end() < b.base_ || b.end() < a.base_) {
      return fail(errc::invalid_argument, "merge: windows with pages between them");
    }
    const std::uint64_t first = std::min(a.first(), b.first());
    return around(first, std::max(a.first() + a.size_, b.first() + b.size_) - first, a.page_size_);
  }

  friend constexpr bool operator==(const registration_window&, const registration_window&) noexcept = default;

 private:
  constexpr registration_window(std::uint64_t base, std::uint64_t length, std::uint64_t interior, std::uint64_t size,
                                std::uint64_t page_size) noexcept
      : base_(base), length_(length), interior_(interior), size_(size), page_size_(page_size) {}

  std::uint64_t base_;
  std::uint64_t length_;
  std::uint64_t interior_;
  std::uint64_t size_;
  std::uint64_t page_size_;
};

static_assert(std::is_trivially_copyable_v<registration_window>);

/// The whole pages of an exported buffer around some of its bytes, for what registers by FD: RDMA memory regions,
/// udmabuf, VFIO by file. Two are equal when buffer and window are: descriptor numbers are reused, so they are no key.
/// Requires: the descriptor stays open for as long as `fd` is used.
struct export_window {
  buffer_id buffer;
  borrowed_fd fd;
  registration_window pages;

  /// Errors: as registration_window::around; out_of_range also if the pages do not lie within `buffer_size`;
  /// invalid_argument also for a buffer without identity: its windows could not be told from another's.
  [[nodiscard]] static constexpr result<export_window> around(
      buffer_id buffer, borrowed_fd fd, std::uint64_t buffer_size, std::uint64_t first, std::uint64_t size,
      std::uint64_t page_size = ::paddock::detail::page_size()) noexcept {
    if (buffer == buffer_id{}) {
      return fail(errc::invalid_argument, "export_window: a buffer without identity");
    }
    PADDOCK_TRY(const auto pages, registration_window::around(first, size, page_size));
    if (pages.end() > buffer_size) {
      return fail(errc::out_of_range, "export_window: the pages reach beyond the buffer");
    }
    return export_window{buffer, fd, pages};
  }

  /// What a registration call takes, and what to add to the address that it gives.
  [[nodiscard]] constexpr std::uint64_t offset() const noexcept { return pages.base(); }
  [[nodiscard]] constexpr std::uint64_t length() const noexcept { return pages.length(); }
  [[nodiscard]] constexpr std::uint64_t interior() const noexcept { return pages.interior(); }

  /// Of the same buffer, and all pages of `other`.
  [[nodiscard]] constexpr bool contains(const export_window& other) const noexcept {
    return buffer == other.buffer && pages.contains(other.pages);
  }

  /// Through the descriptor of `a`. Errors: as that of registration_window; invalid_argument (two buffers).
  [[nodiscard]] friend constexpr result<export_window> merge(const export_window& a, const export_window& b) noexcept {
    if (a.buffer != b.buffer) {
      return fail(errc::invalid_argument, "merge: windows of two buffers");
    }
    PADDOCK_TRY(const auto both, merge(a.pages, b.pages));
    return export_window{a.buffer, a.fd, both};
  }

  friend constexpr bool operator==(const export_window& a, const export_window& b) noexcept {
    return a.buffer == b.buffer && a.pages == b.pages;
  }
};

static_assert(std::is_trivially_copyable_v<export_window>);

}  // namespace PADDOCK_NAMESPACE
