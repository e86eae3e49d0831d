// SPDX-License-Identifier: BSL-1.0
/// \file
/// Interrupts as eventfds. An interrupt is not a fence: it wakes whoever walks the completion queue.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/base/uapi/vfio.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/vfio/device_state.hpp>

namespace paddock::vfio {

/// The interrupts of a PCI device, as VFIO indexes them.
enum class irq_kind : std::uint32_t {
  intx = uapi::vfio_pci_intx_irq_index,
  msi = uapi::vfio_pci_msi_irq_index,
  msix = uapi::vfio_pci_msix_irq_index,
  error = uapi::vfio_pci_err_irq_index,    ///< An uncorrectable PCIe error.
  request = uapi::vfio_pci_req_irq_index,  ///< The kernel wants the device back: call device::remove().
};

/// What the kernel tells of one kind.
struct irq_info {
  std::uint32_t count{0};  ///< Vectors; 0 where the device has none of this kind.
  bool automasked{false};  ///< INTx: masked when it fires, until unmask().
  bool resizable{true};    ///< Vectors can be added without giving up those in use.
};

/// Enabled vectors of one kind, each with an eventfd that counts its interrupts. Disabled when destroyed.
/// Thread-safety: any thread may wait on the eventfds; everything else by one thread at a time.
class [[nodiscard]] irq {
 public:
  irq(irq&&) noexcept = default;
  irq& operator=(irq&& other) noexcept {
    if (this != &other) {
      disable_or_report();
      device_ = std::move(other.device_);
      kind_ = other.kind_;
      events_ = std::move(other.events_);
    }
    return *this;
  }
  irq(const irq&) = delete;
  irq& operator=(const irq&) = delete;
  ~irq() { disable_or_report(); }

  /// Enables `count` vectors, the first ones. Used by device::enable_irq().
  /// Errors: invalid_argument (count 0), unsupported_by_device (fewer vectors than that), limit_reached (FDs),
  /// no_device. Kernel: VFIO_DEVICE_SET_IRQS.
  [[nodiscard]] static result<irq> enable(std::shared_ptr<detail::device_state> device, irq_kind kind,
                                          std::uint32_t count) {
    if (count == 0) {
      return fail(errc::invalid_argument, "irq::enable");
    }
    PADDOCK_TRY(const irq_info info, describe(*device, kind));
    if (info.count < count) {
      return fail(errc::unsupported_by_device, "irq::enable: too few vectors");
    }
    irq made(std::move(device), kind);
    std::vector<std::int32_t> descriptors;
    for (std::uint32_t i = 0; i < count; ++i) {
      unique_fd event = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      if (!event.valid()) {
        made.device_.reset();  // Nothing is enabled yet.
        return fail_errno("eventfd");
      }
      descriptors.push_back(event.get());
      made.events_.push_back(std::move(event));
    }
    if (auto set = made.set(uapi::vfio_irq_set_data_eventfd | uapi::vfio_irq_set_action_trigger, count, descriptors);
        !set) {
      made.device_.reset();
      return fail(set.error());
    }
    return made;
  }

  /// What the device has of a kind. Errors: unsupported_by_device, no_device.
  [[nodiscard]] static result<irq_info> describe(detail::device_state& device, irq_kind kind) {
    uapi::vfio_irq_info info;
    info.index = static_cast<std::uint32_t>(kind);
    const auto asked = device.with_fd([&](borrowed_fd fd) {
      return paddock::detail::ioctl(fd, uapi::vfio_device_get_irq_info, &info, "VFIO_DEVICE_GET_IRQ_INFO");
    });
    if (!asked) {
      // ERR exists on PCIe devices only: for others the kernel knows the index and refuses it.
      return asked.error() == errc::invalid_argument
                 ? fail(error{errc::unsupported_by_device, asked.error().sys_errno, asked.error().where})
                 : fail(asked.error());
    }
    return irq_info{info.count, (info.flags & uapi::vfio_irq_info_automasked) != 0,
                    (info.flags & uapi::vfio_irq_info_noresize) == 0};
  }

  [[nodiscard]] std::size_t count() const noexcept { return events_.size(); }
  [[nodiscard]] irq_kind kind() const noexcept { return kind_; }
  /// The eventfd of a vector, non-blocking, for poll(2) and event loops. Requires: vector < count().
  [[nodiscard]] borrowed_fd event(std::size_t vector) const noexcept { return events_[vector]; }

  /// How many times the vector fired since the last call; 0: not at all. Does not block.
  [[nodiscard]] result<std::uint64_t> take(std::size_t vector) const noexcept {
    std::uint64_t fired = 0;
    const auto got = paddock::detail::retry<false>([&] { return ::read(events_[vector].get(), &fired, sizeof fired); });
    if (got < 0 && errno != EAGAIN) {
      return fail_errno("read(eventfd)");
    }
    return got < 0 ? 0 : fired;
  }

  /// Lets an automasked INTx fire again.
  [[nodiscard]] result<void> unmask() {
    return set(uapi::vfio_irq_set_data_none | uapi::vfio_irq_set_action_unmask, 1, {});
  }
  /// Makes the vector fire as if the device had: for tests, and to wake the one who waits.
  [[nodiscard]] result<void> trigger(std::uint32_t vector) {
    return set(uapi::vfio_irq_set_data_none | uapi::vfio_irq_set_action_trigger, 1, {}, vector);
  }

  /// Disables the vectors and closes the eventfds. Errors: as the ioctl. A closed device has disabled them already.
  [[nodiscard]] result<void> disable() {
    if (!device_) {
      return {};
    }
    auto done = set(uapi::vfio_irq_set_data_none | uapi::vfio_irq_set_action_trigger, 0, {});
    device_.reset();
    events_.clear();
    if (!done && done.error() != errc::no_device) {
      return done;
    }
    return {};
  }

 private:
  irq(std::shared_ptr<detail::device_state> device, irq_kind kind) noexcept : device_(std::move(device)), kind_(kind) {}

  [[nodiscard]] result<void> set(std::uint32_t flags, std::uint32_t count, const std::vector<std::int32_t>& data,
                                 std::uint32_t start = 0) {
    if (!device_) {
      return fail(errc::no_device, "VFIO_DEVICE_SET_IRQS");
    }
    std::vector<std::byte> request(sizeof(uapi::vfio_irq_set) + data.size() * sizeof(std::int32_t));
    uapi::vfio_irq_set head;
    head.argsz = static_cast<std::uint32_t>(request.size());
    head.flags = flags;
    head.index = static_cast<std::uint32_t>(kind_);
    head.start = start;
    head.count = count;
    std::memcpy(request.data(), &head, sizeof head);
    if (!data.empty()) {
      std::memcpy(request.data() + sizeof head, data.data(), data.size() * sizeof(std::int32_t));
    }
    PADDOCK_TRY_VOID(device_->with_fd([&](borrowed_fd fd) {
      return paddock::detail::ioctl(fd, uapi::vfio_device_set_irqs, request.data(), "VFIO_DEVICE_SET_IRQS");
    }));
    return {};
  }

  void disable_or_report() noexcept {
    if (auto done = disable(); !done) {
      report_lost_error(done.error());
    }
  }

  std::shared_ptr<detail::device_state> device_;
  irq_kind kind_;
  std::vector<unique_fd> events_;
};

}  // namespace paddock::vfio
