// SPDX-License-Identifier: BSL-1.0
/// \file
/// Hands out pages of memory that it never touches.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include <boost/interprocess/mem_algo/rbtree_best_fit.hpp>
#include <boost/interprocess/sync/mutex_family.hpp>

#include <paddock/base/result.hpp>

namespace PADDOCK_NAMESPACE::pci {

/// Boost.Interprocess's best fit, over a shadow of the memory: a device's memory is no place for an allocator's own
/// links. Each page has one cell of the shadow, and a block of the shadow, with the head that Boost puts before it, is
/// as many cells as the block of memory has pages. So where a block lies in the shadow says where it lies in memory.
/// Pages are numbered from 0. Thread-safety: none.
class page_allocator {
 public:
  /// For `pages` pages. Reserves 64 bytes of address space for each, and uses memory only for blocks that are in use.
  /// Errors: invalid_argument for none; limit_reached for more than 2^40; those of mmap.
  [[nodiscard]] static result<page_allocator> create(std::uint64_t pages) noexcept {
    if (pages == 0) {
      return fail(errc::invalid_argument, "page_allocator: no pages");
    }
    if (pages > most_pages) {
      return fail(errc::limit_reached, "page_allocator: pages");
    }
    const std::size_t size = sizeof(algorithm) + ends + pages * cell;
    void* const shadow =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (shadow == MAP_FAILED) {
      return fail_errno("mmap");
    }
    return page_allocator(shadow, size, pages);
  }

  page_allocator(page_allocator&& other) noexcept
      : shadow_(std::exchange(other.shadow_, nullptr)),
        size_(other.size_),
        pages_(other.pages_),
        free_(other.free_),
        first_(other.first_) {}
  page_allocator& operator=(page_allocator&& other) noexcept {
    page_allocator taken(std::move(other));
    std::swap(shadow_, taken.shadow_);
    std::swap(size_, taken.size_);
    std::swap(pages_, taken.pages_);
    std::swap(free_, taken.free_);
    std::swap(first_, taken.first_);
    return *this;
  }
  page_allocator(const page_allocator&) = delete;
  page_allocator& operator=(const page_allocator&) = delete;
  ~page_allocator() {
    if (shadow_ != nullptr) {
      ::munmap(shadow_, size_);  // Nothing in it owns anything else.
    }
  }

  [[nodiscard]] std::uint64_t pages() const noexcept { return pages_; }
  [[nodiscard]] std::uint64_t available() const noexcept { return free_; }

  /// The first of `count` pages in a row. Errors: invalid_argument for none; limit_reached when no gap is that long.
  [[nodiscard]] result<std::uint64_t> allocate(std::uint64_t count) noexcept {
    if (count == 0) {
      return fail(errc::invalid_argument, "page_allocator: no pages");
    }
    void* const block = count > free_ ? nullptr : shadow_->allocate(count * cell - algorithm::PayloadPerAllocation);
    if (block == nullptr) {
      return fail(errc::limit_reached, "page_allocator: no gap that is long enough");
    }
    free_ -= count;
    return static_cast<std::uint64_t>(static_cast<std::byte*>(block) - first_) / cell;
  }

  /// Requires: `first` and `count` are those of one allocate().
  void release(std::uint64_t first, std::uint64_t count) noexcept {
    shadow_->deallocate(first_ + first * cell);
    free_ += count;
  }

 private:
  using algorithm = boost::interprocess::rbtree_best_fit<boost::interprocess::null_mutex_family, void*>;

  static constexpr std::size_t cell = 64;  ///< At least the smallest block of the algorithm.
  static constexpr std::size_t ends = 32;  ///< What the algorithm keeps before the first block and after the last.
  static constexpr std::uint64_t most_pages = std::uint64_t{1} << 40;

  page_allocator(void* shadow, std::size_t size, std::uint64_t pages) noexcept
      : shadow_(new (shadow) algorithm(size, 0)), size_(size), pages_(pages), free_(pages) {
    void* const whole = shadow_->allocate(pages * cell - algorithm::PayloadPerAllocation);
    first_ = static_cast<std::byte*>(whole);
    shadow_->deallocate(whole);
  }

  algorithm* shadow_;
  std::size_t size_;
  std::uint64_t pages_;
  std::uint64_t free_;
  std::byte* first_{nullptr};
};

}  // namespace PADDOCK_NAMESPACE::pci
