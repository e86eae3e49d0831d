// SPDX-License-Identifier: BSL-1.0
/// \file
/// `device`: a PCI function in userspace. It owns everything that takes its storage away (reset, hot reset, the memory
/// enable bit, power state, removal, close), and tells those who use the storage first.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/uapi/vfio.hpp>
#include <paddock/buffer/device.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/vfio/bar.hpp>
#include <paddock/vfio/config_space.hpp>
#include <paddock/vfio/device_state.hpp>
#include <paddock/vfio/ioas.hpp>
#include <paddock/vfio/irq.hpp>
#include <paddock/vfio/reach.hpp>
#include <paddock/vfio/region.hpp>
#include <paddock/vfio/revocation.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// Movable; closes the device when destroyed. Mappings of its BARs in any address space of this process are revoked
/// before the storage goes away, whoever asked for it, and so are buffers in its BARs: whoever resets, closes or
/// removes it, or writes its config space, holds no reservation meanwhile, since these buffers take theirs.
/// Thread-safety: any thread. A revocation waits for maps of this device's BARs that are under way, and they for it.
/// A forked child may drop what it inherited, and takes nothing away from its parent; it must not use it.
class [[nodiscard]] device {
 public:
  /// Opens a device that is bound to vfio-pci, with memory decoding on and bus mastering off, and attaches it to the
  /// address space: a container, with its whole group, or an iommufd.
  /// Errors: not_found, unsupported_by_platform (no IOMMU), not_bound, not_viable, busy (somebody else has the group,
  /// or the device is open already), permission; diagnose.hpp turns each into what to do about it.
  [[nodiscard]] static result<device> open(ioas space, const pci::address& address);

  device(device&&) noexcept = default;
  device& operator=(device&& other) noexcept {
    if (this != &other) {
      close();
      space_ = std::move(other.space_);
      state_ = std::move(other.state_);
      routes_ = other.routes_;
      highest_ = other.highest_;
    }
    return *this;
  }
  device(const device&) = delete;
  device& operator=(const device&) = delete;
  ~device() { close(); }

  [[nodiscard]] const pci::address& address() const noexcept { return state_->address; }
  /// Its address, for people.
  [[nodiscard]] std::string name() const { return to_string(address()); }
  /// The address space that this device's DMA goes through.
  [[nodiscard]] ioas& space() noexcept { return space_; }
  /// The regions by index: BAR0 to BAR5, ROM, config space, VGA. A region of size 0 does not exist.
  [[nodiscard]] const std::vector<region>& regions() const noexcept { return state_->regions; }
  [[nodiscard]] bool supports_reset() const noexcept { return state_->reset_supported; }

  /// Maps a BAR into this process; a BAR that is mapped already is shared.
  /// A BAR smaller than a page is mapped where the kernel gives it a page of its own. While memory decoding is off the
  /// window reads ones.
  /// Errors: not_found (no such BAR), not_mappable (an I/O BAR, or one that shares its page), no_device, out_of_memory.
  [[nodiscard]] result<bar> map_bar(bar_index index);

  /// Reads or writes a region through the FD: what the CPU cannot map, and small BARs.
  /// Errors: out_of_range, not_found, no_device, io. Not for config space: that goes through write_config().
  [[nodiscard]] result<void> read_region(std::uint32_t index, std::uint64_t offset, std::span<std::byte> to) const;
  [[nodiscard]] result<void> write_region(std::uint32_t index, std::uint64_t offset, std::span<const std::byte> from);

  /// A little-endian value of 8, 16 or 32 bits from config space.
  template <detail::config_value Integer>
  [[nodiscard]] result<Integer> read_config(std::uint16_t offset) const {
    return state_->with_fd([&](borrowed_fd fd) { return state_->config(fd).template read<Integer>(offset); });
  }
  /// The one way into config space. A write that takes the storage away revokes first; one that brings it back
  /// restores the CPU's windows (DMA mappings are made anew by those who want them).
  /// The width is named, `write_config<std::uint16_t>(offset, value)`: one that followed from the value's type would
  /// too easily be that of an int.
  template <detail::config_value Integer>
  [[nodiscard]] result<void> write_config(std::uint16_t offset, std::type_identity_t<Integer> value);

  /// PCI_COMMAND.MASTER: may the device issue DMA and message interrupts.
  [[nodiscard]] result<void> set_bus_master(bool on) { return change_command(pci_regs::command_bus_master, on); }
  /// PCI_COMMAND.MEMORY: does the device answer to its BARs. Switching it off revokes.
  [[nodiscard]] result<void> set_memory_enabled(bool on) { return change_command(pci_regs::command_memory, on); }

  /// Function reset. Revokes first. Errors: unsupported_by_device (and then nothing was revoked), busy (the kernel is
  /// taking the device away: answer its request by remove()), no_device.
  /// Kernel: VFIO_DEVICE_RESET.
  [[nodiscard]] result<void> reset() {
    const auto state = state_;  // The driver may destroy this object when it is told.
    return state->reset();
  }
  /// Resets the bus, and so every device on it. Revokes on those of this address space first.
  /// Errors: unsupported_by_device; busy when a device of the set is not in this address space.
  /// Kernel: VFIO_DEVICE_PCI_HOT_RESET.
  [[nodiscard]] result<void> hot_reset();

  [[nodiscard]] result<irq_info> describe_irq(irq_kind kind) const { return irq::describe(*state_, kind); }
  /// Enables the first `count` vectors of a kind, see irq::enable().
  [[nodiscard]] result<irq> enable_irq(irq_kind kind, std::uint32_t count = 1) {
    return irq::enable(state_, kind, count);
  }

  /// The driver asks to be told before the storage goes away, ahead of those who map it: it quiesces its queues and
  /// fails what is pending. Told once; join again afterwards. Leaves with leave().
  /// Errors: no_device (it is closed).
  [[nodiscard]] result<void> join(revocable& driver) { return state_->listeners->join_first(driver); }
  void leave(revocable& driver) noexcept { state_->listeners->leave(driver); }

  // --- an importer of buffers: a model of paddock::device. Requires: it stays where it is while it is attached.
  // -------

  using mapped = dma_mapping;
  using cache = coherent;                        ///< VFIO demands that of the IOMMU.
  static constexpr bool maps_by_address = true;  ///< And pins pages, which exporters must allow.
  /// The IOMMU takes the storage away from the device, so that the importer's hook only has to quiesce its queues.
  static constexpr bool unmaps_on_revoke = true;

  /// As ioas::map() of a storage.
  [[nodiscard]] result<mapped> map(const storage_ptr& what, direction dir) {
    return space_.map(what, {.dir = dir, .highest = highest_});
  }
  /// The addresses stay reserved until the mapping goes. Errors: as dma_mapping::unmap().
  [[nodiscard]] result<void> unmap(mapped& gone) noexcept { return gone.retire(); }

  /// System memory is reached. A BAR, also one of its own, is reached where the routes of the transactions that `dir`
  /// needs are certain for a process's DMA; without use_routes() nothing is known of them.
  [[nodiscard]] route_choice reach(const segment& where, direction dir) const noexcept {
    return routes_.reach(where, dir);
  }
  /// What decides about BARs from here on: the machine's routes, and quirks of your own, such as what pci::verify() has
  /// seen. Requires: both outlive the device, and stay where they are; nothing is being attached. Errors: not_found
  /// (the device is not in that topology).
  [[nodiscard]] result<void> use_routes(const pci::topology& machine, std::span<const pci::quirk> known = {}) noexcept {
    return routes_.use(machine, address(), known);
  }
  /// Takes every BAR for reached of which nothing is known: the program knows that this machine's root complex forwards
  /// what is issued, and that no redirect nor filter is on the way. Where it is wrong, writes are lost without a word,
  /// reads return ones, and on some machines the whole machine stops with an error. What routes say is lost or damaged
  /// stays so. pci::verify() is the way to find out. Requires: nothing is being attached.
  void trust_routes(bool on = true) noexcept { routes_.trust(on); }
  /// The last address that the device can issue: buffers are mapped at or below it. Requires: as above.
  void limit_addresses(iova highest) noexcept { highest_ = highest; }

  /// The answer to irq_kind::request: revokes, lets go of the BARs and closes, so that the kernel's removal goes on.
  void remove() noexcept { shut(revoke_reason::removed); }
  /// Revokes, lets go of the BARs and closes. Whatever is still held finds no_device.
  void close() noexcept { shut(revoke_reason::closed); }

  /// For what else is built on a device: exports, features.
  [[nodiscard]] const std::shared_ptr<detail::device_state>& state() const noexcept { return state_; }

 private:
  device(ioas space, std::shared_ptr<detail::device_state> state) noexcept
      : space_(std::move(space)), state_(std::move(state)) {}

  [[nodiscard]] result<void> learn();
  [[nodiscard]] result<void> change_command(std::uint16_t bit, bool on);
  [[nodiscard]] result<const region*> find_region(std::uint32_t index, std::uint64_t offset, std::size_t size) const;
  void shut(revoke_reason reason) noexcept {
    if (const auto state = state_) {
      state->shut(reason);
    }
  }

  ioas space_;
  std::shared_ptr<detail::device_state> state_;
  detail::route_knowledge routes_;
  iova highest_{map_options{}.highest};
};
static_assert(reaching_device<device>);

inline result<device> device::open(ioas space, const pci::address& address) {
  auto state = std::make_shared<detail::device_state>(address);
  PADDOCK_TRY(unique_fd fd, space.open_device(address, state->listeners));
  state->adopt_fd(std::move(fd));
  device opened(std::move(space), std::move(state));
  PADDOCK_TRY_VOID(opened.learn());
  PADDOCK_TRY_VOID(opened.set_memory_enabled(true));
  PADDOCK_TRY_VOID(opened.set_bus_master(false));
  return opened;
}

inline result<void> device::learn() {
  return state_->with_fd([&](borrowed_fd fd) -> result<void> {
    uapi::vfio_device_info info;
    PADDOCK_TRY_VOID(paddock::detail::ioctl_once(fd, uapi::vfio_device_get_info, &info, "VFIO_DEVICE_GET_INFO"));
    if ((info.flags & uapi::vfio_device_flags_pci) == 0 || info.num_regions <= uapi::vfio_pci_config_region_index) {
      return fail(errc::unsupported_by_device, "VFIO_DEVICE_GET_INFO: not a PCI device");
    }
    state_->reset_supported = (info.flags & uapi::vfio_device_flags_reset) != 0;
    for (std::uint32_t i = 0; i < info.num_regions; ++i) {
      uapi::vfio_region_info question;
      question.index = i;
      auto answer =
          detail::complete_answer(fd, uapi::vfio_device_get_region_info, question, "VFIO_DEVICE_GET_REGION_INFO");
      if (!answer) {
        if (answer.error() != errc::invalid_argument || i <= uapi::vfio_pci_config_region_index) {
          return fail(answer.error());
        }
        // The VGA region: the kernel counts it, and refuses it on devices that are not VGA.
        state_->regions.push_back(region{.index = i});
        continue;
      }
      PADDOCK_TRY(auto parsed, parse_region(*answer));
      state_->regions.push_back(std::move(parsed));
    }
    const detail::config_space space = state_->config(fd);
    PADDOCK_TRY(state_->layout.power, space.find_capability(pci_regs::capability_power));
    PADDOCK_TRY(state_->layout.express, space.find_capability(pci_regs::capability_express));
    PADDOCK_TRY(state_->layout.advanced_features, space.find_capability(pci_regs::capability_advanced_features));

    // Kernels before 4.16 do not let the page of the MSI-X table be mapped, and not all of them say so by sparse areas.
    PADDOCK_TRY(const auto msix, space.find_capability(pci_regs::capability_msix));
    if (msix) {
      PADDOCK_TRY(const auto table,
                  space.read<std::uint32_t>(static_cast<std::uint16_t>(*msix + pci_regs::msix_table)));
      PADDOCK_TRY(const auto control,
                  space.read<std::uint16_t>(static_cast<std::uint16_t>(*msix + pci_regs::msix_control)));
      const std::uint32_t table_bar = table & 7U;
      const std::uint64_t entries = (control & 0x7ffU) + 1U;
      if (table_bar < bar_index::count && !state_->regions[table_bar].msix_mappable) {
        state_->regions[table_bar].carve_out(table & ~7U, entries * 16, paddock::detail::page_size());
      }
    }
    return {};
  });
}

inline result<bar> device::map_bar(bar_index index) {
  if (index.value() >= bar_index::count || state_->regions[index.value()].size == 0) {
    return fail(errc::not_found, "device::map_bar");
  }
  const region& info = state_->regions[index.value()];
  if (info.areas.empty()) {
    return fail(errc::not_mappable, "device::map_bar");
  }
  const auto no_revocation = state_->listeners->lock();
  PADDOCK_TRY(const auto decode, state_->read_decode_state());
  return state_->with_fd([&](borrowed_fd fd) -> result<bar> {
    std::shared_ptr<detail::bar_window> window = state_->windows[index.value()].lock();
    if (!window) {
      PADDOCK_TRY(window, detail::bar_window::create(fd, info, decode.answers()));
      window->set_device(state_);
      state_->windows[index.value()] = window;
    }
    return bar(index, state_, std::move(window));
  });
}

inline result<const region*> device::find_region(std::uint32_t index, std::uint64_t offset, std::size_t size) const {
  if (index >= state_->regions.size() || index == uapi::vfio_pci_config_region_index) {
    return fail(errc::not_found, "VFIO region");
  }
  const region& info = state_->regions[index];
  if (!range_fits(offset, size, info.size)) {
    return fail(errc::out_of_range, "VFIO region");
  }
  return &info;
}

inline result<void> device::read_region(std::uint32_t index, std::uint64_t offset, std::span<std::byte> to) const {
  PADDOCK_TRY(const region* const info, find_region(index, offset, to.size()));
  return state_->with_fd([&](borrowed_fd fd) {
    return paddock::detail::pread_exactly(fd, to.data(), to.size(), info->file_offset + offset, "pread(VFIO region)");
  });
}

inline result<void> device::write_region(std::uint32_t index, std::uint64_t offset, std::span<const std::byte> from) {
  PADDOCK_TRY(const region* const info, find_region(index, offset, from.size()));
  return state_->with_fd([&](borrowed_fd fd) {
    return paddock::detail::pwrite_exactly(fd, from.data(), from.size(), info->file_offset + offset,
                                           "pwrite(VFIO region)");
  });
}

template <detail::config_value Integer>
result<void> device::write_config(std::uint16_t offset, std::type_identity_t<Integer> value) {
  std::uint8_t bytes[sizeof(Integer)]{};
  for (std::size_t i = 0; i < sizeof bytes; ++i) {
    bytes[i] = static_cast<std::uint8_t>(value >> (8U * i));
  }
  const auto state = state_;  // The driver may destroy this object when it is told.
  return state->write_config(offset, bytes, sizeof bytes,
                             [&](const detail::config_space& space) { return space.write<Integer>(offset, value); });
}

inline result<void> device::change_command(std::uint16_t bit, bool on) {
  const auto state = state_;
  const auto one_change_at_a_time = state->listeners->lock();
  PADDOCK_TRY(const auto old_value, read_config<std::uint16_t>(pci_regs::command));
  const auto value = static_cast<std::uint16_t>(on ? old_value | bit : old_value & ~bit);
  // Where an earlier change failed half-way the register may have been written, and the windows not have followed.
  return value == old_value ? state->follow_decode_state() : write_config<std::uint16_t>(pci_regs::command, value);
}

inline result<void> device::hot_reset() {
  const auto state = state_;  // The driver may destroy this object when it is told.
  PADDOCK_TRY(const auto answer, state->with_fd([](borrowed_fd fd) -> result<std::vector<std::byte>> {
    // The first answer is ENOSPC with the count; a bus has at most 256 functions.
    std::vector<std::byte> room(sizeof(uapi::vfio_pci_hot_reset_info) + 256 * sizeof(uapi::vfio_pci_dependent_device));
    uapi::vfio_pci_hot_reset_info head;
    head.argsz = static_cast<std::uint32_t>(room.size());
    std::memcpy(room.data(), &head, sizeof head);
    auto asked = paddock::detail::ioctl_once(fd, uapi::vfio_device_get_pci_hot_reset_info, room.data(),
                                             "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO");
    if (!asked) {
      return asked.error() == errc::no_device
                 ? fail(error{errc::unsupported_by_device, asked.error().sys_errno, asked.error().where})
                 : fail(asked.error());
    }
    return room;
  }));
  PADDOCK_TRY(const auto head, detail::read_structure<uapi::vfio_pci_hot_reset_info>(answer, 0, "hot reset info"));
  std::vector<pci::address> affected;
  std::vector<std::uint32_t> owners;
  for (std::uint32_t i = 0; i < head.count; ++i) {
    PADDOCK_TRY(const auto each,
                detail::read_structure<uapi::vfio_pci_dependent_device>(
                    answer, sizeof head + i * sizeof(uapi::vfio_pci_dependent_device), "hot reset info"));
    affected.push_back({each.segment, each.bus, static_cast<std::uint8_t>(each.devfn >> 3U),
                        static_cast<std::uint8_t>(each.devfn & 7U)});
    owners.push_back(each.group_id);
  }
  PADDOCK_TRY(const std::vector<std::int32_t> descriptors, space_.proofs_for_hot_reset(owners));

  // Always in the order of addresses, so that two hot resets cannot wait for each other.
  std::sort(affected.begin(), affected.end());
  std::vector<std::shared_ptr<revocation_list>> lists;
  std::vector<std::unique_lock<std::recursive_mutex>> locks;
  for (const pci::address& each : affected) {
    if (auto list = space_.listeners_of(each)) {
      locks.push_back(list->lock());
      lists.push_back(std::move(list));
    }
  }
  for (const auto& list : lists) {
    list->revoke(revoke_reason::reset);
  }

  std::vector<std::byte> request(sizeof(uapi::vfio_pci_hot_reset) + descriptors.size() * sizeof(std::int32_t));
  uapi::vfio_pci_hot_reset question;
  question.argsz = static_cast<std::uint32_t>(request.size());
  question.count = static_cast<std::uint32_t>(descriptors.size());
  std::memcpy(request.data(), &question, sizeof question);
  std::memcpy(request.data() + sizeof question, descriptors.data(), descriptors.size() * sizeof(std::int32_t));
  auto done = state->with_fd([&](borrowed_fd fd) {
    return paddock::detail::ioctl_once(fd, uapi::vfio_device_pci_hot_reset, request.data(),
                                       "VFIO_DEVICE_PCI_HOT_RESET");
  });
  // Unlock before the lists may go.
  locks.clear();
  PADDOCK_TRY_VOID(done);
  return {};
}

}  // namespace PADDOCK_NAMESPACE::vfio
