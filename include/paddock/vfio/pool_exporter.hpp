// SPDX-License-Identifier: BSL-1.0
/// \file
/// `pool_exporter`: a buffer in pages of a pool of BAR memory.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include <paddock/base/result.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/pci/pool.hpp>
#include <paddock/vfio/bar.hpp>
#include <paddock/vfio/exported_bar.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// Gives a buffer pages of a pool, which get back when the buffer and its last mapping are gone. The device tells the
/// buffer as that of a bar_exporter. A driver that revokes the pool first, when it is told, sees to it that nothing new
/// begins there: a buffer of a revoked pool is not created, nor does it come back by restore().
template <pci::divides_pages Allocator>
class basic_pool_exporter : public detail::exported_bar {
 public:
  /// `window` is the CPU's of the BAR that the pool is in.
  /// Errors: those of the pool's allocate(); invalid_argument (it is another BAR); those of bar::slice();
  /// out_of_memory.
  [[nodiscard]] static result<basic_pool_exporter> create(pci::basic_pool<Allocator>& pool, const bar& window,
                                                          std::uint64_t bytes, const bar_export_options& options = {}) {
    PADDOCK_TRY(auto pages, pool.allocate(bytes));
    const pci::bar_memory at = pages.where();
    PADDOCK_TRY(auto slice, window.slice(at.offset, at.size));
    if (slice.provider() != at.provider || slice.bar() != at.bar) {
      return fail(errc::invalid_argument, "pool_exporter: the window is another BAR's");
    }
    return basic_pool_exporter(std::make_shared<pci::basic_pool_memory<Allocator>>(std::move(pages)), std::move(slice),
                               options);
  }

  /// Errors: as that of bar_exporter.
  [[nodiscard]] result<storage_ptr> initial_storage() noexcept {
    PADDOCK_TRY(const segment all, part(storage_kind::device_memory, where().offset(), where().length()));
    return make_storage(std::pair(pages_, window()), all);
  }

  [[nodiscard]] result<void> bound(const bound_buffer& buffer) noexcept {
    PADDOCK_TRY_VOID(check());
    return exported_bar::bound(buffer);
  }
  [[nodiscard]] auto hold_storage() const noexcept -> decltype(exported_bar::hold_storage()) {
    PADDOCK_TRY_VOID(check());
    return exported_bar::hold_storage();
  }
  [[nodiscard]] auto try_hold_storage() const noexcept -> decltype(exported_bar::try_hold_storage()) {
    PADDOCK_TRY_VOID(check());
    return exported_bar::try_hold_storage();
  }

 private:
  using pages = std::shared_ptr<pci::basic_pool_memory<Allocator>>;

  basic_pool_exporter(pages held, bar_slice where, const bar_export_options& options) noexcept
      : exported_bar(std::move(where), options), pages_(std::move(held)) {}

  [[nodiscard]] result<void> check() const noexcept {
    return pages_->is_revoked() ? fail(errc::revoked, "pool_exporter") : result<void>();
  }

  pages pages_;
};

using pool_exporter = basic_pool_exporter<pci::page_allocator>;
static_assert(try_bound_exporter<pool_exporter>);

}  // namespace PADDOCK_NAMESPACE::vfio
