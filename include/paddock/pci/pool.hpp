// SPDX-License-Identifier: BSL-1.0
/// \file
/// A pool of BAR memory: whoever drives the device gives the range, and others are handed pages of it.
#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstdint>
#include <mutex>
#include <new>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/brief_lock.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/pci/page_allocator.hpp>

namespace PADDOCK_NAMESPACE::pci {

/// A range of a BAR.
struct bar_memory {
  address provider;
  bar_index bar{0};
  std::uint64_t offset{0};  ///< Bytes from the start of the BAR.
  std::uint64_t size{0};    ///< Bytes.
};

/// What divides a pool: numbers of pages in, numbers of pages out. A provider may bring its own, which is called under
/// a lock that others spin for: it neither waits nor calls back.
template <class Allocator>
concept divides_pages = std::move_constructible<Allocator> && requires(Allocator& pages, std::uint64_t number) {
  { pages.allocate(number) } -> std::same_as<result<std::uint64_t>>;
  { pages.release(number, number) } -> std::same_as<void>;
  { pages.available() } -> std::convertible_to<std::uint64_t>;
};

/// How a pool is doing.
struct pool_statistics {
  std::uint64_t size{0};       ///< Bytes.
  std::uint64_t available{0};  ///< Bytes that are free, not necessarily in a row.
  std::uint64_t peak{0};       ///< The most bytes that were ever in use at once.
  std::uint64_t live{0};       ///< Allocations that are held now.
  std::uint64_t served{0};     ///< Allocations since the pool was made.
  std::uint64_t refused{0};    ///< Allocations that found no room, or the pool revoked.
  bool published{false};
  bool revoked{false};
};

template <divides_pages Allocator>
class basic_pool;

/// Pages of a pool; gives them back when it goes. Outlives the pool, whose state it keeps.
/// Thread-safety: none of its own; different ones of one pool in any thread.
template <divides_pages Allocator>
class [[nodiscard]] basic_pool_memory {
 public:
  basic_pool_memory(basic_pool_memory&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)), first_(other.first_), count_(other.count_) {}
  basic_pool_memory& operator=(basic_pool_memory&& other) noexcept {
    basic_pool_memory taken(std::move(other));
    std::swap(state_, taken.state_);
    std::swap(first_, taken.first_);
    std::swap(count_, taken.count_);
    return *this;
  }
  basic_pool_memory(const basic_pool_memory&) = delete;
  basic_pool_memory& operator=(const basic_pool_memory&) = delete;
  ~basic_pool_memory() {
    if (state_ != nullptr) {
      state_->give_back(first_, count_);
    }
  }

  /// Where it is. Requires: not moved from.
  [[nodiscard]] bar_memory where() const noexcept { return state_->part(first_, count_); }
  /// Whether the provider has taken the pool back: the range may be gone, or somebody else's.
  [[nodiscard]] bool is_revoked() const noexcept { return state_->statistics().revoked; }

 private:
  friend class basic_pool<Allocator>;
  using state = typename basic_pool<Allocator>::state;
  basic_pool_memory(state* of, std::uint64_t first, std::uint64_t count) noexcept
      : state_(of), first_(first), count_(count) {}

  state* state_;
  std::uint64_t first_;
  std::uint64_t count_;
};

/// Hands out pages of a BAR. It does not touch them: who maps them, and for whom, is the user's matter.
/// Thread-safety: all members, any thread.
template <divides_pages Allocator>
class [[nodiscard]] basic_pool {
 public:
  using memory = basic_pool_memory<Allocator>;

  /// A pool over `where`, divided by `pages`, which has where.size / page_size pages.
  /// Errors: misaligned when offset or size are no multiples of the page, or the page is no power of two;
  /// invalid_argument for no bytes; out_of_range when the range wraps; out_of_memory.
  [[nodiscard]] static result<basic_pool> create(const bar_memory& where, Allocator pages,
                                                 std::uint64_t page_size = ::paddock::detail::page_size(),
                                                 place at = place::here()) noexcept {
    might_alloc(at);
    PADDOCK_TRY_VOID(check(where, page_size));
    auto* const made = new (std::nothrow) state(where, std::move(pages), page_size);
    if (made == nullptr) {
      return fail(errc::out_of_memory, "pool::create");
    }
    return basic_pool(made);
  }

  /// The same with paddock's own allocator. Errors: also those of page_allocator::create().
  [[nodiscard]] static result<basic_pool> create(
      const bar_memory& where, std::uint64_t page_size = ::paddock::detail::page_size(),
      place at = place::here()) requires std::same_as<Allocator, page_allocator> {
    PADDOCK_TRY_VOID(check(where, page_size));
    PADDOCK_TRY(page_allocator pages, page_allocator::create(where.size / page_size));
    return create(where, std::move(pages), page_size, at);
  }

  basic_pool(basic_pool&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  basic_pool& operator=(basic_pool&& other) noexcept {
    basic_pool taken(std::move(other));
    std::swap(state_, taken.state_);
    return *this;
  }
  basic_pool(const basic_pool&) = delete;
  basic_pool& operator=(const basic_pool&) = delete;
  /// Ends handing out; what was handed out stays with its holders.
  ~basic_pool() {
    if (state_ != nullptr) {
      state_->revoke();
      state_->drop();
    }
  }

  /// At least `bytes`, rounded up to pages, in a row.
  /// Errors: invalid_argument for 0; limit_reached when no gap is that long; revoked.
  [[nodiscard]] result<memory> allocate(std::uint64_t bytes) { return state_->take(bytes); }

  /// Lets find_provider() offer it. Not published at first.
  void publish(bool offer = true) noexcept { state_->publish(offer); }
  /// The range is being taken away: every later allocate() fails with `revoked`, and it is published no more. What was
  /// handed out is told by is_revoked().
  void revoke() noexcept { state_->revoke(); }

  [[nodiscard]] const bar_memory& where() const noexcept { return state_->where(); }
  [[nodiscard]] pool_statistics statistics() const noexcept { return state_->statistics(); }

  // A model of the concept `provider`.
  [[nodiscard]] address provider() const noexcept { return where().provider; }
  [[nodiscard]] std::uint64_t available() const noexcept { return statistics().available; }
  [[nodiscard]] bool is_published() const noexcept { return statistics().published; }

 private:
  friend class basic_pool_memory<Allocator>;

  /// Shared by the pool and what it handed out.
  class state {
   public:
    state(const bar_memory& where, Allocator pages, std::uint64_t page_size) noexcept
        : where_(where), page_bits_(static_cast<unsigned>(std::countr_zero(page_size))), pages_(std::move(pages)) {}

    [[nodiscard]] const bar_memory& where() const noexcept { return where_; }
    [[nodiscard]] bar_memory part(std::uint64_t first, std::uint64_t count) const noexcept {
      return {where_.provider, where_.bar, where_.offset + (first << page_bits_), count << page_bits_};
    }

    [[nodiscard]] result<memory> take(std::uint64_t bytes) {
      const std::lock_guard guard(lock_);
      if (bytes == 0) {
        return fail(errc::invalid_argument, "pool::allocate: no bytes");
      }
      if (revoked_) {
        ++refused_;
        return fail(errc::revoked, "pool::allocate");
      }
      const std::uint64_t count = ((bytes - 1) >> page_bits_) + 1;
      const auto first = pages_.allocate(count);
      if (!first) {
        ++refused_;
        return fail(first.error());
      }
      if (const std::uint64_t pages = where_.size >> page_bits_; *first >= pages || count > pages - *first) {
        ++refused_;
        return fail(errc::unexpected, "pool::allocate: the allocator's pages are not in the pool");
      }
      ++live_;
      ++served_;
      used_ += count << page_bits_;
      peak_ = std::max(peak_, used_);
      return memory(this, *first, count);
    }

    void give_back(std::uint64_t first, std::uint64_t count) noexcept {
      bool last = false;
      {
        const std::lock_guard guard(lock_);
        pages_.release(first, count);
        used_ -= count << page_bits_;
        last = --live_ == 0 && !owned_;
      }
      end_if(last);
    }
    /// The pool itself goes.
    void drop() noexcept {
      bool last = false;
      {
        const std::lock_guard guard(lock_);
        owned_ = false;
        last = live_ == 0;
      }
      end_if(last);
    }

    void publish(bool offer) noexcept {
      const std::lock_guard guard(lock_);
      published_ = offer && !revoked_;
    }
    void revoke() noexcept {
      const std::lock_guard guard(lock_);
      revoked_ = true;
      published_ = false;
    }
    [[nodiscard]] pool_statistics statistics() const noexcept {
      const std::lock_guard guard(lock_);
      return {where_.size, where_.size - used_, peak_, live_, served_, refused_, published_, revoked_};
    }

   private:
    void end_if(bool last) noexcept {
      if (last) {
#ifndef __clang_analyzer__  // It does not follow the counts, and takes each end for the last.
        delete this;
#endif
      }
    }

    const bar_memory where_;
    const unsigned page_bits_;
    mutable ::paddock::detail::brief_lock lock_;
    Allocator pages_;
    std::uint64_t used_{0};
    std::uint64_t peak_{0};
    std::uint64_t live_{0};
    std::uint64_t served_{0};
    std::uint64_t refused_{0};
    bool published_{false};
    bool revoked_{false};
    bool owned_{true};  ///< By the pool.
  };

  explicit basic_pool(state* made) noexcept : state_(made) {}

  [[nodiscard]] static result<void> check(const bar_memory& where, std::uint64_t page_size) noexcept {
    if (page_size == 0 || (page_size & (page_size - 1)) != 0 || where.offset % page_size != 0 ||
        where.size % page_size != 0) {
      return fail(errc::misaligned, "pool::create");
    }
    if (where.size == 0) {
      return fail(errc::invalid_argument, "pool::create: no bytes");
    }
    if (where.size > UINT64_MAX - where.offset) {
      return fail(errc::out_of_range, "pool::create");
    }
    return {};
  }

  state* state_;
};

using pool = basic_pool<page_allocator>;
using pool_memory = pool::memory;

}  // namespace PADDOCK_NAMESPACE::pci
