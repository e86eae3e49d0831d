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
#include <span>
#include <utility>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/base/uapi/vfio.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/vfio/device_state.hpp>

namespace PADDOCK_NAMESPACE::vfio {

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
  std::uint32_t flags{0};  ///< VFIO_IRQ_INFO_*, as the kernel gives them.

  /// INTx: masked when it fires, until unmask().
  [[nodiscard]] bool automasked() const noexcept { return (flags & uapi::vfio_irq_info_automasked) != 0; }
  /// Vectors can be added without giving up those in use.
  [[nodiscard]] bool resizable() const noexcept { return (flags & uapi::vfio_irq_info_noresize) == 0; }
};

/// Enabled vectors of one kind, each with an eventfd that counts its interrupts. Disabled when destroyed, or before
/// something else is assigned. When the device is closed or removed every eventfd counts one more, so that whoever
/// waits for it wakes up. Thread-safety: any thread may wait on the eventfds; everything else by one thread at a time.
class [[nodiscard]] irq {
 public:
  irq(irq&& other) noexcept = default;
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
  /// Errors: invalid_argument (count 0), unsupported_by_device (fewer vectors than that), busy (this kind is enabled,
  /// or another of INTx, MSI and MSI-X, of which a device has one at a time), limit_reached (FDs), no_device. Kernel:
  /// VFIO_DEVICE_SET_IRQS.
  [[nodiscard]] static result<irq> enable(std::shared_ptr<detail::device_state> device, irq_kind kind,
                                          std::uint32_t count) {
    if (count == 0) {
      return fail(errc::invalid_argument, "irq::enable");
    }
    PADDOCK_TRY(const irq_info info, describe(*device, kind));
    if (info.count < count) {
      return fail(errc::unsupported_by_device, "irq::enable: too few vectors");
    }
    auto events = std::make_shared<detail::irq_events>();
    std::vector<std::int32_t> descriptors;
    for (std::uint32_t i = 0; i < count; ++i) {
      unique_fd event = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      if (!event.valid()) {
        return fail_errno("eventfd");
      }
      descriptors.push_back(event.get());
      events->push_back(std::move(event));
    }
    const auto one_at_a_time = device->listeners->lock();
    const auto is_line = [](std::size_t each) { return each <= uapi::vfio_pci_msix_irq_index; };
    const auto index = static_cast<std::size_t>(kind);
    for (std::size_t other = 0; other < device->events.size(); ++other) {
      if (!device->events[other].expired() && (other == index || (is_line(other) && is_line(index)))) {
        return fail(errc::busy, "irq::enable: interrupts are enabled already");
      }
    }
    PADDOCK_TRY_VOID(
        set(*device, kind, uapi::vfio_irq_set_data_eventfd | uapi::vfio_irq_set_action_trigger, 0, count, descriptors));
    device->events[index] = events;
    return irq(std::move(device), kind, std::move(events));
  }

  /// What the device has of a kind. Errors: unsupported_by_device, no_device.
  [[nodiscard]] static result<irq_info> describe(detail::device_state& device, irq_kind kind) {
    uapi::vfio_irq_info info;
    info.index = static_cast<std::uint32_t>(kind);
    const auto asked = device.with_fd([&](borrowed_fd fd) {
      return paddock::detail::ioctl_once(fd, uapi::vfio_device_get_irq_info, &info, "VFIO_DEVICE_GET_IRQ_INFO");
    });
    if (!asked) [[unlikely]] {
      // ERR exists on PCIe devices only: for others the kernel knows the index and refuses it.
      return asked.error() == errc::invalid_argument
                 ? fail(error{errc::unsupported_by_device, asked.error().sys_errno, asked.error().where})
                 : fail(asked.error());
    }
    return irq_info{info.count, info.flags};
  }

  [[nodiscard]] std::size_t count() const noexcept { return events_ ? events_->size() : 0; }
  [[nodiscard]] irq_kind kind() const noexcept { return kind_; }
  /// The eventfd of a vector, non-blocking, for poll(2) and event loops. Requires: vector < count().
  [[nodiscard]] borrowed_fd event(std::size_t vector) const noexcept { return (*events_)[vector]; }

  /// How many times the vector fired since the last call; 0: not at all. Does not block.
  [[nodiscard]] result<std::uint64_t> take(std::size_t vector) const noexcept {
    std::uint64_t fired = 0;
    const auto got =
        paddock::detail::retry<false>([&] { return ::read((*events_)[vector].get(), &fired, sizeof fired); });
    if (got < 0 && errno != EAGAIN) {
      return fail_errno("read(eventfd)");
    }
    return got < 0 ? 0 : fired;
  }

  /// Lets an automasked INTx fire again.
  [[nodiscard]] result<void> unmask() {
    return set_own(uapi::vfio_irq_set_data_none | uapi::vfio_irq_set_action_unmask, 0, 1);
  }
  /// Makes the vector fire as if the device had. Errors: out_of_range, no_device.
  [[nodiscard]] result<void> trigger(std::uint32_t vector) {
    if (vector >= count()) {
      return fail(errc::out_of_range, "irq::trigger");
    }
    return set_own(uapi::vfio_irq_set_data_none | uapi::vfio_irq_set_action_trigger, vector, 1);
  }

  /// Disables the vectors and closes the eventfds. Errors: as the ioctl. A closed device has disabled them already.
  [[nodiscard]] result<void> disable() {
    if (!device_) {
      return {};
    }
    const auto device = std::move(device_);
    const auto one_at_a_time = device->listeners->lock();
    const auto done = device->is_foreign_process()
                          ? result<void>{}
                          : set(*device, kind_, uapi::vfio_irq_set_data_none | uapi::vfio_irq_set_action_trigger, 0, 0);
    events_.reset();
    return !done && done.error() == errc::no_device ? result<void>{} : done;
  }

 private:
  irq(std::shared_ptr<detail::device_state> device, irq_kind kind, std::shared_ptr<detail::irq_events> events) noexcept
      : device_(std::move(device)), kind_(kind), events_(std::move(events)) {}

  /// VFIO_DEVICE_SET_IRQS with at most the descriptors behind the head; allocates only when there are any.
  [[nodiscard]] static result<void> set(detail::device_state& device, irq_kind kind, std::uint32_t flags,
                                        std::uint32_t start, std::uint32_t count,
                                        std::span<const std::int32_t> descriptors = {}) {
    uapi::vfio_irq_set head;
    const std::size_t data = descriptors.size_bytes();
    head.argsz = static_cast<std::uint32_t>(sizeof head + data);
    head.flags = flags;
    head.index = static_cast<std::uint32_t>(kind);
    head.start = start;
    head.count = count;
    const auto call = [&](void* request) {
      return device.with_fd([&](borrowed_fd fd) {
        return paddock::detail::ioctl_once(fd, uapi::vfio_device_set_irqs, request, "VFIO_DEVICE_SET_IRQS");
      });
    };
    if (descriptors.empty()) {
      PADDOCK_TRY_VOID(call(&head));
      return {};
    }
    std::vector<std::byte> request(sizeof head + data);
    std::memcpy(request.data(), &head, sizeof head);
    std::memcpy(request.data() + sizeof head, descriptors.data(), data);
    PADDOCK_TRY_VOID(call(request.data()));
    return {};
  }
  [[nodiscard]] result<void> set_own(std::uint32_t flags, std::uint32_t start, std::uint32_t count) {
    if (!device_) {
      return fail(errc::no_device, "VFIO_DEVICE_SET_IRQS");
    }
    return set(*device_, kind_, flags, start, count);
  }

  void disable_or_report() noexcept {
    if (auto done = disable(); !done) {
      report_lost_error(done.error());
    }
  }

  std::shared_ptr<detail::device_state> device_;
  irq_kind kind_;
  std::shared_ptr<detail::irq_events> events_;
};

}  // namespace PADDOCK_NAMESPACE::vfio
