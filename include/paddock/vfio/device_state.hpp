// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a device, its BARs and its interrupts share: the FD, and what the kernel told when it was opened.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <utility>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/vfio/bar_window.hpp>
#include <paddock/vfio/config_space.hpp>
#include <paddock/vfio/ioas.hpp>
#include <paddock/vfio/region.hpp>
#include <paddock/vfio/revocation.hpp>

namespace paddock::vfio::detail {

/// Outlives the device object, so that a BAR or an interrupt that is still held finds a closed device, not freed
/// memory.
class device_state {
 public:
  device_state(pci::address where, unique_fd fd) noexcept : address(where), fd_(std::move(fd)) {}

  /// Runs `use(borrowed_fd)` while nobody can close the FD. Errors: no_device once it is closed.
  template <class Use>
  auto with_fd(Use use) -> decltype(use(borrowed_fd{})) {
    const std::shared_lock guard(fd_mutex_);
    if (!fd_.valid()) {
      return fail(errc::no_device, "VFIO device is closed");
    }
    return use(fd_.borrow());
  }

  void close_fd() noexcept {
    const std::unique_lock guard(fd_mutex_);
    fd_.reset();
  }

  /// The device's memory does not answer from here on. Requires: listeners locked.
  void poison_windows() noexcept {
    for (auto& weak : windows) {
      if (const auto window = weak.lock(); window && window->live()) {
        window->poison();
      }
    }
  }
  /// It answers again. Requires: listeners locked.
  [[nodiscard]] result<void> restore_windows() {
    return with_fd([&](borrowed_fd fd) -> result<void> {
      for (auto& weak : windows) {
        if (const auto window = weak.lock(); window && !window->live()) {
          PADDOCK_TRY_VOID(window->restore(fd));
        }
      }
      return {};
    });
  }

  const pci::address address;
  const std::shared_ptr<revocation_list> listeners = std::make_shared<revocation_list>();

  // Set once while the device is opened.
  bool reset_supported{false};
  std::vector<region> regions;
  config_layout layout;

  /// One window a BAR, shared by all who map it. Guarded by the lock of `listeners`.
  std::array<std::weak_ptr<bar_window>, bar_index::count> windows;

 private:
  std::shared_mutex fd_mutex_;
  unique_fd fd_;
};

}  // namespace paddock::vfio::detail
