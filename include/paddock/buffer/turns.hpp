// SPDX-License-Identifier: BSL-1.0
/// \file
/// Whose turn it is with a mapping's bytes: caches are looked after, and the copy that a device works on is brought up
/// to date, when it changes.
#pragma once

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/device.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/buffer/mapping.hpp>
#include <paddock/buffer/statistics.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// `asked`: by name, and so always.
template <class Buffer, device Device, class Policies>
struct turns {
  using record = mapping_record<Device>;
  static constexpr bool syncs_caches = Policies::cache::maintains && caching_exporter<typename Buffer::exporter_type>;

  [[nodiscard]] static result<void> begin_device(Buffer& of, record& r, direction dir, bool asked,
                                                 deadline until) noexcept {
    if (r.shadow != nullptr) {
      // Also for a device that only writes: what it leaves out comes back as it was.
      PADDOCK_TRY_VOID(of.core().copy_for_bounce(*r.shadow, *of.core().current(), until));
      if constexpr (syncs_caches) {
        of.core().statistics().count(buffer_statistics::what::syncs_for_device);
        return of.exporter().sync_for_device(*r.shadow, dir);
      }
      return {};
    }
    if constexpr (syncs_caches) {
      return of.sync_for_device(dir, asked);
    }
    return {};
  }

  [[nodiscard]] static result<void> begin_cpu(Buffer& of, record& r, direction dir, bool asked) noexcept {
    if (r.shadow != nullptr) {
      if (dir == direction::to_device) {
        return {};
      }
      if constexpr (syncs_caches) {
        of.core().statistics().count(buffer_statistics::what::syncs_for_cpu);
        PADDOCK_TRY_VOID(of.exporter().sync_for_cpu(*r.shadow, dir));
      }
      return of.core().copy_for_bounce(*of.core().current(), *r.shadow, deadline::never());
    }
    if constexpr (syncs_caches) {
      return of.sync_for_cpu(dir, asked);
    }
    return {};
  }

  /// Jobs that are not committed write unseen, as long as they have a mapping for it.
  static void count_writer([[maybe_unused]] Buffer& of, [[maybe_unused]] const record& r,
                           [[maybe_unused]] bool begins) noexcept {
    if constexpr (syncs_caches && Policies::cache::on_access && !Policies::fencing::waits) {
      if (r.dir != direction::to_device) {
        of.count_silent_writer(begins);
      }
    }
  }
};

}  // namespace PADDOCK_NAMESPACE::detail
