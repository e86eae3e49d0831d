// SPDX-License-Identifier: BSL-1.0
/// \file
/// `memory_exporter`: a buffer in this process's own memory; the reference for all exporters.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/detail/syscall.hpp>

namespace PADDOCK_NAMESPACE {

namespace detail {

/// Anonymous pages of this process. A forked child does not get them, so that copy-on-write cannot part the CPU from
/// devices.
class anonymous_pages {
 public:
  [[nodiscard]] static result<anonymous_pages> create(std::size_t bytes) noexcept {
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      return fail_errno("mmap");
    }
    anonymous_pages made(static_cast<std::byte*>(memory), bytes);
    if (::madvise(memory, bytes, MADV_DONTFORK) != 0) {
      return fail_errno("madvise(MADV_DONTFORK)");
    }
    return made;
  }
  anonymous_pages(anonymous_pages&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)), bytes_(other.bytes_) {}
  anonymous_pages& operator=(anonymous_pages&&) = delete;
  ~anonymous_pages() {
    if (memory_ != nullptr && ::munmap(memory_, bytes_) != 0) {
      report_lost_error(last_error("munmap"));
    }
  }

  [[nodiscard]] std::byte* address() const noexcept { return memory_; }

 private:
  anonymous_pages(std::byte* memory, std::size_t bytes) noexcept : memory_(memory), bytes_(bytes) {}

  std::byte* memory_;
  std::size_t bytes_;
};

}  // namespace detail

/// Zeroed pages of this process, at least `bytes`, rounded up to whole pages.
/// Errors: invalid_argument (0), out_of_range (no such size), out_of_memory.
[[nodiscard]] inline result<storage_ptr> allocate_memory(std::uint64_t bytes) noexcept {
  if (bytes == 0 || bytes > SIZE_MAX / 2) {
    return fail(bytes == 0 ? errc::invalid_argument : errc::out_of_range, "allocate_memory");
  }
  const std::size_t whole = detail::round_up_to_page(static_cast<std::size_t>(bytes));
  PADDOCK_TRY(auto pages, detail::anonymous_pages::create(whole));
  const segment all{.kind = storage_kind::memory, .length = whole, .address = pages.address()};
  return make_storage(std::move(pages), all);
}

/// Gives a buffer memory of this process.
class memory_exporter {
 public:
  static constexpr p2p_segments p2p = p2p_segments::never;
  static constexpr bool revokes = false;

  /// `bytes` are rounded up to whole pages.
  explicit memory_exporter(std::uint64_t bytes) noexcept : bytes_(bytes) {}

  /// Errors: as allocate_memory().
  [[nodiscard]] result<storage_ptr> initial_storage() noexcept { return allocate_memory(bytes_); }

 private:
  std::uint64_t bytes_;
};
static_assert(exporter<memory_exporter>);

}  // namespace PADDOCK_NAMESPACE
