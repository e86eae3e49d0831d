// SPDX-License-Identifier: BSL-1.0
/// \file
/// `bar_exporter`: a buffer in a device's BAR, for other devices and the CPU; `doorbell_exporter`: registers, which
/// other devices may only ring.
#pragma once

#include <memory>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/vfio/exported_bar.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// Gives a buffer a slice of a BAR. The device knows the buffer weakly: before its memory goes away the buffer is
/// revoked, so that nobody reaches it any more when that happens; at close and removal it is dead for good, else
/// revoked. It comes back by dma_buf::restore() only, not by itself as in the kernel: after a reset the memory holds
/// nothing, and most devices want to be set up before it answers. restore() fails as long as memory decoding is off.
/// Whoever resets or closes the device holds no reservation meanwhile.
/// Kernel: drivers/vfio/pci/vfio_pci_dmabuf.c.
template <storage_kind Kind>
class basic_bar_exporter : public detail::exported_bar {
 public:
  static_assert(Kind != storage_kind::memory, "paddock: a BAR has device_memory or registers");
  /// Registers are never moved nor copied: their attachments are p2p_only.
  static constexpr bool has_registers = Kind == storage_kind::registers;

  /// `where` is made by bar::slice().
  explicit basic_bar_exporter(bar_slice where, const bar_export_options& options = {}) noexcept
      : exported_bar(std::move(where), options) {}

  /// Errors: not_mappable (the CPU has no window on all of it), out_of_memory.
  [[nodiscard]] result<storage_ptr> initial_storage() noexcept {
    PADDOCK_TRY(const segment all, part(Kind, where().offset(), where().length()));
    return make_storage(window(), all);
  }
};

/// Bytes that stay where they are put.
using bar_exporter = basic_bar_exporter<storage_kind::device_memory>;
/// Registers: a device that writes them rings the other one's doorbells. Whole pages, and so all that is in them.
using doorbell_exporter = basic_bar_exporter<storage_kind::registers>;
static_assert(try_bound_exporter<bar_exporter> && try_bound_exporter<doorbell_exporter>);

}  // namespace PADDOCK_NAMESPACE::vfio
