// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a device, its BARs and its interrupts share: the FD, what the kernel told when it was opened, and the one place
/// where the storage is taken away and comes back.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/uapi/vfio.hpp>
#include <paddock/detail/process_id.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/vfio/bar_window.hpp>
#include <paddock/vfio/config_space.hpp>
#include <paddock/vfio/held_fd.hpp>
#include <paddock/vfio/region.hpp>
#include <paddock/vfio/revocation.hpp>

namespace PADDOCK_NAMESPACE::vfio::detail {

/// The eventfds of one enabled interrupt kind.
using irq_events = std::vector<unique_fd>;

/// Outlives the device object, so that a BAR or an interrupt that is still held finds a closed device, not freed
/// memory. The functions that revoke are called through a shared_ptr that the caller holds, since a driver may destroy
/// its device when it is told.
class device_state {
 public:
  explicit device_state(pci::address where) noexcept : address(where) {}

  /// Runs `use(borrowed_fd)` while nobody can close the FD. Errors: no_device once it is closed.
  template <class Use>
  auto with_fd(Use use) -> decltype(use(borrowed_fd{})) {
    return fd_.with("VFIO device is closed", std::move(use));
  }

  /// Before the device is used by anybody else.
  void adopt_fd(unique_fd fd) noexcept { fd_.open(std::move(fd)); }

  /// True in a forked child, which shares the FD but must not take anything away from its parent.
  [[nodiscard]] bool is_foreign_process() const noexcept { return paddock::detail::process_id() != owner_; }

  [[nodiscard]] config_space config(borrowed_fd fd) const noexcept {
    return {fd, regions[uapi::vfio_pci_config_region_index]};
  }

  /// The registers that decide whether the BARs answer.
  struct decode_state {
    std::uint16_t command{0};
    std::uint16_t power{0};

    [[nodiscard]] bool answers() const noexcept {
      return (command & pci_regs::command_memory) != 0 && (power & pci_regs::power_state_mask) == 0;
    }
  };
  [[nodiscard]] result<decode_state> read_decode_state() {
    return with_fd([&](borrowed_fd fd) -> result<decode_state> {
      decode_state now;
      PADDOCK_TRY(now.command, config(fd).read<std::uint16_t>(pci_regs::command));
      if (layout.power) {
        PADDOCK_TRY(now.power, config(fd).read<std::uint16_t>(
                                   static_cast<std::uint16_t>(*layout.power + pci_regs::power_control)));
      }
      return now;
    });
  }

  /// The one way into config space: `write` writes `bytes` at `offset`.
  template <class Write>
  [[nodiscard]] result<void> write_config(std::uint16_t offset, const std::uint8_t* bytes, std::size_t size,
                                          Write write) {
    const auto no_mapping_meanwhile = listeners->lock();
    PADDOCK_TRY(const auto before, read_decode_state());
    const auto effect = effect_of_write(layout, before.command, before.power, offset, bytes, size);
    if (effect) {
      listeners->revoke(*effect);
      if (*effect != revoke_reason::reset) {
        PADDOCK_TRY_VOID(poison_windows());  // Or a thread in the middle of an access gets a SIGBUS.
      }
    }
    PADDOCK_TRY_VOID(with_fd([&](borrowed_fd fd) { return write(config(fd)); }));
    return follow_decode_state();
  }
  /// Gives the CPU its windows back, if the device's memory answers. Requires: the lock of `listeners`.
  [[nodiscard]] result<void> follow_decode_state() {
    PADDOCK_TRY(const auto now, read_decode_state());
    return now.answers() ? restore_windows() : result<void>{};
  }

  [[nodiscard]] result<void> reset() {
    if (!reset_supported) {
      return fail(errc::unsupported_by_device, "VFIO_DEVICE_RESET");
    }
    const auto no_mapping_meanwhile = listeners->lock();
    listeners->revoke(revoke_reason::reset);
    PADDOCK_TRY_VOID(with_fd([](borrowed_fd fd) {
      return paddock::detail::ioctl_once(fd, uapi::vfio_device_reset, 0UL, "VFIO_DEVICE_RESET");
    }));
    return {};
  }

  /// A dma-buf of a range of a BAR. Kernel: VFIO_DEVICE_FEATURE_DMA_BUF.
  [[nodiscard]] result<unique_fd> export_range(std::uint32_t bar, std::uint64_t offset, std::uint64_t length) noexcept {
    struct {
      uapi::vfio_device_feature_header header;
      uapi::vfio_device_feature_dma_buf_head body;
      uapi::vfio_region_dma_range range;
    } request;
    request.header.argsz = sizeof request;
    request.header.flags = uapi::vfio_device_feature_get | uapi::vfio_device_feature_dma_buf;
    request.body.region_index = bar;
    request.body.open_flags = O_RDWR | O_CLOEXEC;
    request.body.nr_ranges = 1;
    request.range = {offset, length};
    PADDOCK_TRY(const int made, with_fd([&](borrowed_fd fd) {
                  return paddock::detail::ioctl_once(fd, uapi::vfio_device_feature, &request, "VFIO_DEVICE_FEATURE");
                }));
    return unique_fd::adopt(made);
  }

  /// Revokes, lets go of the BARs, wakes those who wait for interrupts, and closes.
  void shut(revoke_reason reason) noexcept {
    if (is_foreign_process()) {
      fd_.close_inherited();
      return;
    }
    const auto no_mapping_meanwhile = listeners->lock();
    listeners->close();
    listeners->revoke(reason);
    if (const auto poisoned = poison_windows(); !poisoned) {
      report_lost_error(poisoned.error());
    }
    fd_.close();
    for (const auto& weak : events) {
      if (const auto held = weak.lock()) {
        for (const unique_fd& event : *held) {
          const std::uint64_t one = 1;
          static_cast<void>(paddock::detail::retry<false>([&] { return ::write(event.get(), &one, sizeof one); }));
        }
      }
    }
  }

  const pci::address address;
  const std::shared_ptr<revocation_list> listeners = std::make_shared<revocation_list>();

  // Set once while the device is opened.
  bool reset_supported{false};
  std::vector<region> regions;
  config_layout layout;

  // Guarded by the lock of `listeners`.
  std::array<std::weak_ptr<bar_window>, bar_index::count> windows;  ///< One a BAR, shared by all who map it.
  std::array<std::weak_ptr<irq_events>, 5> events;                  ///< One an interrupt kind, of whoever enabled it.

 private:
  /// The device's memory does not answer from here on.
  [[nodiscard]] result<void> poison_windows() noexcept {
    result<void> all;
    for (auto& weak : windows) {
      if (const auto window = weak.lock(); window && window->holds_device()) {
        if (auto poisoned = window->poison(); !poisoned) {
          all = poisoned;
        }
      }
    }
    return all;
  }
  /// It answers again.
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

  const pid_t owner_{paddock::detail::process_id()};
  held_fd fd_;
};

inline result<unique_fd> bar_window::export_range(std::uint64_t offset, std::uint64_t length) const noexcept {
  const auto device = device_.lock();
  return device != nullptr ? device->export_range(info_.index, offset, length)
                           : fail(errc::no_device, "VFIO device is closed");
}

}  // namespace PADDOCK_NAMESPACE::vfio::detail
