// SPDX-License-Identifier: BSL-1.0
/// \file
/// `pool_source`: pages of a pool of BAR memory, as one of the places of a buffer that moves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include <paddock/base/result.hpp>
#include <paddock/buffer/placement.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/pci/pool.hpp>
#include <paddock/vfio/bar.hpp>
#include <paddock/vfio/exported_bar.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// For placement_exporter: a buffer that is in these pages when their device is reset is revoked, and one that is
/// elsewhere only loses what is still mapped from before it moved. Meanwhile the pool has no room for anybody.
template <pci::divides_pages Allocator>
class basic_pool_source : detail::exported_bar {
 public:
  using exported_bar::p2p;
  using exported_bar::revokes;

  /// `window` is the CPU's of the BAR that the pool is in. Requires: the pool outlives the buffer.
  /// Errors: invalid_argument (it is another BAR); those of bar::slice().
  [[nodiscard]] static result<basic_pool_source> create(pci::basic_pool<Allocator>& pool, const bar& window,
                                                        const bar_export_options& options = {}) {
    const pci::bar_memory& at = pool.where();
    PADDOCK_TRY(auto slice, window.slice(at.offset, at.size));
    if (slice.provider() != at.provider || slice.bar() != at.bar) {
      return fail(errc::invalid_argument, "pool_source: the window is another BAR's");
    }
    return basic_pool_source(pool, std::move(slice), options);
  }

  [[nodiscard]] segment prototype() const noexcept {
    return {.kind = storage_kind::device_memory, .bar = where().bar(), .provider = where().provider()};
  }
  /// Errors: busy (the device is being reset, or maps something); revoked (its memory does not answer); no_device;
  /// those of the pool's allocate(); not_mappable; out_of_memory.
  [[nodiscard]] result<storage_ptr> allocate(std::uint64_t bytes) noexcept {
    PADDOCK_TRY(const auto stays, try_hold_storage());
    return allocate_there(bytes);
  }
  /// The same, when it is known whether the device's memory answers: not busy. Requires: the thread holds no
  /// reservation.
  [[nodiscard]] result<storage_ptr> wait_and_allocate(std::uint64_t bytes) noexcept {
    PADDOCK_TRY(const auto stays, hold_storage());
    return allocate_there(bytes);
  }
  [[nodiscard]] result<void> bound(const bound_buffer& buffer) noexcept {
    auto joined = join(buffer);
    // A device that is closed has nothing to give, and nothing to take.
    return !joined && joined.error() == errc::no_device ? result<void>() : joined;
  }

 private:
  basic_pool_source(pci::basic_pool<Allocator>& pool, bar_slice where, const bar_export_options& options) noexcept
      : exported_bar(std::move(where), options), pool_(&pool) {}

  /// Requires: the storage is held.
  [[nodiscard]] result<storage_ptr> allocate_there(std::uint64_t bytes) noexcept {
    PADDOCK_TRY(auto pages, pool_->allocate(bytes));
    const pci::bar_memory at = pages.where();
    PADDOCK_TRY(const segment all, part(storage_kind::device_memory, at.offset, at.size));
    using pool_pages = pci::basic_pool_memory<Allocator>;
    std::unique_ptr<pool_pages> kept(new (std::nothrow) pool_pages(std::move(pages)));
    if (kept == nullptr) {
      return fail(errc::out_of_memory, "pool_source");
    }
    return make_storage(std::pair(std::move(kept), window()), all);
  }

  pci::basic_pool<Allocator>* pool_;
};

using pool_source = basic_pool_source<pci::page_allocator>;
static_assert(bound_source<pool_source> && waiting_source<pool_source>);

}  // namespace PADDOCK_NAMESPACE::vfio
