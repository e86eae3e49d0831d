// SPDX-License-Identifier: BSL-1.0
/// \file
/// `storage`: what a buffer lives in at a time, as a list of segments that is held by all who use it. A buffer that is
/// moved gets another one; the old one stays until its last mapping is gone.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <paddock/base/checking.hpp>
#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/segment.hpp>

namespace PADDOCK_NAMESPACE {

/// Segments, one after the other, and what keeps them there. Never changes.
/// Thread-safety: any thread.
class storage {
 public:
  storage(const storage&) = delete;
  storage& operator=(const storage&) = delete;

  [[nodiscard]] std::span<const segment> segments() const noexcept { return {more_ ? more_.get() : &first_, count_}; }
  /// Bytes, of all segments.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Whether a part of it is of that kind.
  [[nodiscard]] bool has(storage_kind kind) const noexcept {
    return std::ranges::any_of(segments(), [kind](const segment& each) { return each.kind == kind; });
  }
  /// Where the CPU sees the first byte, if it sees all of them in a row; else null.
  [[nodiscard]] std::byte* contiguous_address() const noexcept {
    std::byte* const first = first_.address;
    std::uint64_t offset = 0;
    for (const segment& each : segments()) {
      if (each.address == nullptr || each.address != first + offset) {
        return nullptr;
      }
      offset += each.length;
    }
    return first;
  }
  /// How many references there are. A snapshot.
  [[nodiscard]] std::uint32_t use_count() const noexcept { return references_.load(); }
  /// The kernel's dma-buf of all of it, for drivers that import one; not open when there is none. Lent by the storage.
  [[nodiscard]] borrowed_fd dma_buf() const noexcept { return dma_buf_; }
  /// Half a bracket around CPU access to that dma-buf, and the other half; of any other storage nothing. Errors: those
  /// of DMA_BUF_IOCTL_SYNC.
  [[nodiscard]] virtual result<void> begin_cpu_access(access) const noexcept { return {}; }
  [[nodiscard]] virtual result<void> end_cpu_access(access) const noexcept { return {}; }
  /// Whether somebody beside this storage holds that dma-buf: another descriptor, mapping or importer, of this process
  /// or of another. A snapshot. Errors: not_exportable (there is none); those of who answers.
  [[nodiscard]] virtual result<bool> is_held_elsewhere() const noexcept {
    return fail(errc::not_exportable, "storage without a dma-buf");
  }

 protected:
  storage() noexcept = default;
  virtual ~storage() = default;

  /// Once, before anybody else sees it.
  [[nodiscard]] result<void> set(std::span<const segment> segments, borrowed_fd dma_buf) noexcept {
    if (segments.empty()) {
      return fail(errc::invalid_argument, "storage of no segments");
    }
    for (const segment& each : segments) {
      if (each.length == 0 || each.length > UINT64_MAX - size_) {
        return fail(each.length == 0 ? errc::invalid_argument : errc::out_of_range, "storage: a segment's length");
      }
      size_ += each.length;
    }
    if (segments.size() > 1) {
      more_.reset(new (std::nothrow) segment[segments.size()]);
      if (more_ == nullptr) {
        return fail(errc::out_of_memory, "storage");
      }
      std::ranges::copy(segments, more_.get());
    }
    first_ = segments.front();
    count_ = segments.size();
    dma_buf_ = dma_buf;
    return {};
  }

 private:
  friend void intrusive_ptr_add_ref(const storage* held) noexcept {
    // order: relaxed: who adds a reference has one.
    held->references_.fetch_add(1, std::memory_order_relaxed);
  }
  friend void intrusive_ptr_release(const storage* held) noexcept {
    // order: acq_rel: what was done under a reference comes before the end, in whoever drops the last one.
    if (held->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      delete held;
    }
  }

  mutable std::atomic<std::uint32_t> references_{0};
  borrowed_fd dma_buf_;
  segment first_;
  std::unique_ptr<segment[]> more_;  ///< All of them, when there is more than one.
  std::size_t count_{0};
  std::uint64_t size_{0};
};

/// A counted reference; may be empty.
using storage_ptr = boost::intrusive_ptr<const storage>;

namespace detail {

/// Kept alive by an object of any kind: pages, a descriptor, a piece of a pool.
template <class Owner>
class owned_storage final : public storage {
 public:
  [[nodiscard]] static result<storage_ptr> make(Owner owner, std::span<const segment> segments) noexcept {
    auto* const made = new (std::nothrow) owned_storage(std::move(owner));
    if (made == nullptr) {
      return fail(errc::out_of_memory, "make_storage");
    }
    storage_ptr held(made);
    borrowed_fd dma_buf;
    if constexpr (requires { made->owner_.dma_buf(); }) {
      dma_buf = made->owner_.dma_buf();
    }
    PADDOCK_TRY_VOID(made->set(segments, dma_buf));
    return held;
  }

  [[nodiscard]] result<void> begin_cpu_access(access what) const noexcept override {
    if constexpr (requires { owner_.begin_cpu_access(what); }) {
      return owner_.begin_cpu_access(what);
    } else {
      return storage::begin_cpu_access(what);
    }
  }
  [[nodiscard]] result<void> end_cpu_access(access what) const noexcept override {
    if constexpr (requires { owner_.end_cpu_access(what); }) {
      return owner_.end_cpu_access(what);
    } else {
      return storage::end_cpu_access(what);
    }
  }
  [[nodiscard]] result<bool> is_held_elsewhere() const noexcept override {
    if constexpr (requires { owner_.is_held_elsewhere(); }) {
      return owner_.is_held_elsewhere();
    } else {
      return storage::is_held_elsewhere();
    }
  }

 private:
  explicit owned_storage(Owner owner) noexcept : owner_(std::move(owner)) {}

  [[no_unique_address]] Owner owner_;
};

}  // namespace detail

/// Storage in these segments, which are there as long as `owner`, which it takes over, is. An owner with
/// `borrowed_fd dma_buf() const` says that all of it is that dma-buf, one with `result<bool> is_held_elsewhere() const`
/// whether somebody else holds it, and with begin_cpu_access() and end_cpu_access() it brackets CPU access to it.
/// Errors: invalid_argument (no segments, or an empty one), out_of_range (more than 64 bits), out_of_memory.
template <class Owner>
[[nodiscard]] result<storage_ptr> make_storage(Owner owner, std::span<const segment> segments,
                                               place at = place::here()) noexcept {
  might_alloc(at);
  return detail::owned_storage<Owner>::make(std::move(owner), segments);
}
template <class Owner>
[[nodiscard]] result<storage_ptr> make_storage(Owner owner, const segment& only, place at = place::here()) noexcept {
  return make_storage(std::move(owner), std::span(&only, 1), at);
}

}  // namespace PADDOCK_NAMESPACE
