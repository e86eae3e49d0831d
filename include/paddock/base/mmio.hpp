// SPDX-License-Identifier: BSL-1.0
/// \file
/// Device memory is not RAM: access by fixed widths, little-endian, with the barriers that a device needs.
/// Right on x86-64 and aarch64.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>

namespace PADDOCK_NAMESPACE {

/// Orders earlier writes to memory that the device reads (queue entries) before later ones (the doorbell).
inline void dma_wmb() noexcept {
#if defined(__aarch64__)
  asm volatile("dmb oshst" ::: "memory");
#else
  // x86 keeps the order of stores; only the compiler has to.
  asm volatile("" ::: "memory");
#endif
}

/// Orders a read that saw the device's mark (a phase bit) before later reads of what it marks.
inline void dma_rmb() noexcept {
#if defined(__aarch64__)
  asm volatile("dmb oshld" ::: "memory");
#else
  asm volatile("" ::: "memory");
#endif
}

/// Drains write-combining buffers, so that stores to a write-combined mapping reach the device in time.
inline void flush_write_combining() noexcept {
#if defined(__x86_64__)
  asm volatile("sfence" ::: "memory");
#elif defined(__aarch64__)
  asm volatile("dsb st" ::: "memory");
#else
  asm volatile("" ::: "memory");
#endif
}

namespace detail {

/// From the host's order to the device's, or back.
template <class Integer>
[[nodiscard]] constexpr Integer little_endian(Integer value) noexcept {
  if constexpr (std::endian::native == std::endian::big && sizeof(Integer) > 1) {
    Integer swapped = 0;
    for (std::size_t byte = 0; byte < sizeof(Integer); ++byte) {
      swapped = static_cast<Integer>((swapped << 8U) | ((value >> (8U * byte)) & 0xffU));
    }
    return swapped;
  }
  return value;
}

}  // namespace detail

/// A window of device memory in this process. Never a std::span: memcpy on a BAR is slow on x86 and faults on aarch64.
/// Every access is one bus access of exactly its width, at an offset that is a multiple of it. Values are the host's;
/// the device is little-endian.
/// Requires: offset + width <= size() and natural alignment; drivers know their register maps, so this is not checked
/// at each access. subspan() is. Thread-safety: as the device's registers; the span itself is a value.
class mmio_span {
 public:
  constexpr mmio_span() noexcept = default;
  mmio_span(void* base, std::size_t size) noexcept : base_(static_cast<volatile std::byte*>(base)), size_(size) {}

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// Where the window begins in this process: for what depends on alignment. Not for access.
  [[nodiscard]] std::uintptr_t address() const noexcept { return reinterpret_cast<std::uintptr_t>(base_); }

  /// Ordered: what the device wrote to memory before it changed this register is seen after the read.
  [[nodiscard]] std::uint8_t read8(std::size_t offset) const noexcept { return read<std::uint8_t>(offset); }
  [[nodiscard]] std::uint16_t read16(std::size_t offset) const noexcept { return read<std::uint16_t>(offset); }
  [[nodiscard]] std::uint32_t read32(std::size_t offset) const noexcept { return read<std::uint32_t>(offset); }
  [[nodiscard]] std::uint64_t read64(std::size_t offset) const noexcept { return read<std::uint64_t>(offset); }

  /// Ordered: everything this thread wrote to memory before is seen by the device when it sees this.
  void write8(std::size_t offset, std::uint8_t value) const noexcept { write(offset, value); }
  void write16(std::size_t offset, std::uint16_t value) const noexcept { write(offset, value); }
  void write32(std::size_t offset, std::uint32_t value) const noexcept { write(offset, value); }
  void write64(std::size_t offset, std::uint64_t value) const noexcept { write(offset, value); }

  /// Not ordered against memory: for runs of stores that one barrier or one ordered access ends.
  [[nodiscard]] std::uint8_t read8_relaxed(std::size_t offset) const noexcept { return load<std::uint8_t>(offset); }
  [[nodiscard]] std::uint16_t read16_relaxed(std::size_t offset) const noexcept { return load<std::uint16_t>(offset); }
  [[nodiscard]] std::uint32_t read32_relaxed(std::size_t offset) const noexcept { return load<std::uint32_t>(offset); }
  [[nodiscard]] std::uint64_t read64_relaxed(std::size_t offset) const noexcept { return load<std::uint64_t>(offset); }
  void write8_relaxed(std::size_t offset, std::uint8_t value) const noexcept { store(offset, value); }
  void write16_relaxed(std::size_t offset, std::uint16_t value) const noexcept { store(offset, value); }
  void write32_relaxed(std::size_t offset, std::uint32_t value) const noexcept { store(offset, value); }
  void write64_relaxed(std::size_t offset, std::uint64_t value) const noexcept { store(offset, value); }

  /// A part of the window. Errors: out_of_range.
  [[nodiscard]] result<mmio_span> subspan(std::uint64_t offset, std::uint64_t length) const noexcept {
    if (!range_fits(offset, length, size_)) {
      return fail(errc::out_of_range, "mmio_span::subspan");
    }
    mmio_span part;
    part.base_ = base_ + offset;
    part.size_ = static_cast<std::size_t>(length);
    return part;
  }

 private:
  template <class Integer>
  [[nodiscard]] Integer load(std::size_t offset) const noexcept {
    return detail::little_endian(*reinterpret_cast<const volatile Integer*>(base_ + offset));
  }
  template <class Integer>
  void store(std::size_t offset, Integer value) const noexcept {
    *reinterpret_cast<volatile Integer*>(base_ + offset) = detail::little_endian(value);
  }
  template <class Integer>
  [[nodiscard]] Integer read(std::size_t offset) const noexcept {
    const Integer value = load<Integer>(offset);
    dma_rmb();
    return value;
  }
  template <class Integer>
  void write(std::size_t offset, Integer value) const noexcept {
    dma_wmb();
    store(offset, value);
  }

  volatile std::byte* base_{nullptr};
  std::size_t size_{0};
};

}  // namespace PADDOCK_NAMESPACE
