// SPDX-License-Identifier: BSL-1.0
/// \file
/// Copies to, from and between windows of device memory, by accesses of fixed width. memcpy may not be used there: it
/// chooses widths and overlaps accesses as it likes, which is slow on x86 and faults on aarch64.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <paddock/base/mmio.hpp>
#include <paddock/base/result.hpp>

namespace PADDOCK_NAMESPACE {
namespace detail {

/// Calls step(Word{}, offset) for naturally aligned accesses, at most as wide as Widest, that together touch each of
/// the `length` bytes at `address` once and nothing else. In order of address; narrower accesses only at ragged ends.
template <class Widest, class Step>
void for_each_access(std::uintptr_t address, std::size_t length, Step step) noexcept {
  std::size_t done = 0;
  const auto at_most_one = [&](auto word, bool is_needed) {
    if (is_needed && sizeof word <= length - done) {
      step(word, done);
      done += sizeof word;
    }
  };
  const auto up_to_alignment_of_twice = [&](auto word) {
    if constexpr (sizeof word < sizeof(Widest)) {
      at_most_one(word, ((address + done) & sizeof word) != 0);
    }
  };
  const auto rest = [&](auto word) {
    if constexpr (sizeof word < sizeof(Widest)) {
      at_most_one(word, true);
    }
  };
  up_to_alignment_of_twice(std::uint8_t{});
  up_to_alignment_of_twice(std::uint16_t{});
  up_to_alignment_of_twice(std::uint32_t{});
  for (; length - done >= sizeof(Widest); done += sizeof(Widest)) {
    step(Widest{}, done);
  }
  rest(std::uint32_t{});
  rest(std::uint16_t{});
  rest(std::uint8_t{});
}

template <class Word, class Window>
[[nodiscard]] Word read_relaxed(const Window& window, std::size_t offset) noexcept {
  if constexpr (sizeof(Word) == 8) {
    return window.read64_relaxed(offset);
  } else if constexpr (sizeof(Word) == 4) {
    return window.read32_relaxed(offset);
  } else if constexpr (sizeof(Word) == 2) {
    return window.read16_relaxed(offset);
  } else {
    return window.read8_relaxed(offset);
  }
}

template <class Word, class Window>
void write_relaxed(const Window& window, std::size_t offset, Word value) noexcept {
  if constexpr (sizeof(Word) == 8) {
    window.write64_relaxed(offset, value);
  } else if constexpr (sizeof(Word) == 4) {
    window.write32_relaxed(offset, value);
  } else if constexpr (sizeof(Word) == 2) {
    window.write16_relaxed(offset, value);
  } else {
    window.write8_relaxed(offset, value);
  }
}

/// Ordinary memory may lie at any address: it is the device's side that must be aligned.
template <class Window>
void copy_to_window(const Window& to, std::span<const std::byte> from) noexcept {
  for_each_access<std::uint64_t>(to.address(), from.size(), [&](auto word, std::size_t offset) {
    std::memcpy(&word, from.data() + offset, sizeof word);
    write_relaxed(to, offset, little_endian(word));
  });
}

template <class Window>
void copy_from_window(std::span<std::byte> to, const Window& from) noexcept {
  for_each_access<std::uint64_t>(from.address(), to.size(), [&](auto word, std::size_t offset) {
    word = little_endian(read_relaxed<decltype(word)>(from, offset));
    std::memcpy(to.data() + offset, &word, sizeof word);
  });
}

/// Here both sides must be aligned, so the width is what their addresses have in common.
template <class Window>
void copy_between_windows(const Window& to, const Window& from) noexcept {
  const auto copy = [&](auto widest) {
    for_each_access<decltype(widest)>(to.address(), to.size(), [&](auto word, std::size_t offset) {
      write_relaxed(to, offset, read_relaxed<decltype(word)>(from, offset));
    });
  };
  switch (std::countr_zero((to.address() ^ from.address()) | sizeof(std::uint64_t))) {
    case 0: return copy(std::uint8_t{});
    case 1: return copy(std::uint16_t{});
    case 2: return copy(std::uint32_t{});
    default: return copy(std::uint64_t{});
  }
}

}  // namespace detail

/// Writes `from` to device memory. On return the stores have left this CPU's write-combining buffers, so that a
/// doorbell written after it finds them. Every byte is written once, by accesses of 64 bits, narrower at ragged ends.
/// Requires: memory, not registers: these may want other widths. Errors: invalid_argument (sizes differ).
/// Thread-safety: as the device's memory.
[[nodiscard]] inline result<void> copy_to_device(const mmio_span& to, std::span<const std::byte> from) noexcept {
  if (to.size() != from.size()) {
    return fail(errc::invalid_argument, "copy_to_device: sizes differ");
  }
  detail::copy_to_window(to, from);
  flush_write_combining();
  return {};
}

/// Reads device memory into `to`: every byte once, by accesses of 64 bits, narrower at ragged ends. What this thread
/// reads from memory later is not older. Uncached reads wait for the bus one by one: a device's own DMA is far faster.
/// Requires, Errors, Thread-safety: as copy_to_device.
[[nodiscard]] inline result<void> copy_from_device(std::span<std::byte> to, const mmio_span& from) noexcept {
  if (to.size() != from.size()) {
    return fail(errc::invalid_argument, "copy_from_device: sizes differ");
  }
  detail::copy_from_window(to, from);
  dma_rmb();
  return {};
}

/// Copies device memory to device memory through this CPU, in accesses as wide as both addresses allow: 64 bits if they
/// are equal modulo 8. Ends as copy_to_device does.
/// Requires: as copy_to_device; no byte has two addresses in them. Errors: invalid_argument (sizes differ, or the
/// windows overlap). Thread-safety: as the device's memory.
[[nodiscard]] inline result<void> copy_device_to_device(const mmio_span& to, const mmio_span& from) noexcept {
  if (to.size() != from.size()) {
    return fail(errc::invalid_argument, "copy_device_to_device: sizes differ");
  }
  if (to.address() < from.address() + from.size() && from.address() < to.address() + to.size()) {
    return fail(errc::invalid_argument, "copy_device_to_device: the windows overlap");
  }
  detail::copy_between_windows(to, from);
  flush_write_combining();
  return {};
}

}  // namespace PADDOCK_NAMESPACE
