// SPDX-License-Identifier: BSL-1.0
/// \file
/// An NVMe controller on VFIO: bring-up, identify, one I/O queue pair, the controller memory buffer, shutdown.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <paddock/base/mmio.hpp>
#include <paddock/base/result.hpp>
#include <paddock/fence/wait.hpp>
#include <paddock/vfio/coherent_buffer.hpp>
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/device.hpp>

#include "queue_pair.hpp"
#include "registers.hpp"

namespace nvme {

/// How completions are noticed: by the controller's interrupt, whose eventfd wakes a thread that walks the queue.
struct by_interrupt {
  static constexpr bool interrupts = true;
  using wait_policy = paddock::hybrid_wait;
};
/// Or by the waiter, who walks the queue itself.
struct by_polling {
  static constexpr bool interrupts = false;
  using wait_policy = paddock::polling_wait;
};

/// What the controller and its first namespace say of themselves.
struct identity {
  std::string model;
  std::string serial;
  std::uint64_t blocks{0};
  std::uint32_t block_bytes{0};
  std::uint64_t longest_transfer{0};  ///< Bytes in one command.
};

/// One controller, its admin queue and one I/O queue pair.
/// Thread-safety: read(), write(), flush(), walk() and lose() from any thread; the rest from one.
class controller final : private paddock::vfio::revocable {
 public:
  struct options {
    std::uint16_t queue_depth{32};
    bool interrupts{true};
    bool memory_only{false};  ///< Only its memory buffer is wanted: no namespace is needed, and no I/O queue made.
    std::chrono::milliseconds io_timeout{30'000};
  };
  static constexpr std::chrono::seconds admin_timeout{10};
  static constexpr std::chrono::seconds quiesce_timeout{2};

  /// Opens and enables the controller, and creates the I/O queues.
  /// Errors: those of vfio::device::open(), unsupported_by_device, timed_out, io.
  [[nodiscard]] static paddock::result<std::unique_ptr<controller>> open(paddock::vfio::container space,
                                                                         const paddock::pci::address& address,
                                                                         const options& wanted);
  ~controller();

  [[nodiscard]] const paddock::pci::address& address() const noexcept { return device_.address(); }
  [[nodiscard]] const nvme::identity& identity() const noexcept { return identity_; }
  [[nodiscard]] queue_pair& io() noexcept { return *io_; }
  /// Fires for I/O completions. Requires: options::interrupts, and not memory_only.
  [[nodiscard]] paddock::borrowed_fd interrupt() const noexcept { return msix_->event(io_vector_); }
  /// Fires when the kernel wants the device back: lose() is the answer.
  [[nodiscard]] const paddock::vfio::irq& removal_request() const noexcept { return *removal_; }

  /// The controller memory buffer, where the specification's way to use it for data is open. `owner` says what this
  /// drive is in the copy, which decides the rights that CMBSZ must give. Errors: not_found (there is none),
  /// unsupported_by_device (a right is missing), those of
  /// device::map_bar() and bar::slice().
  [[nodiscard]] paddock::result<paddock::vfio::bar_slice> find_memory_buffer(buffer_owner owner);
  /// From here on the controller takes these addresses for its own memory: they are those of the mapping, so that an
  /// address means the same memory whichever drive uses it, and are given to nothing else as long as the controller
  /// lives. Errors: unsupported_by_device (it refuses them).
  [[nodiscard]] paddock::result<void> place_memory_buffer(paddock::iova start);

  /// Reads or writes `blocks` blocks from `first` on. The fence fails with EIO where the controller reports an error.
  [[nodiscard]] paddock::result<paddock::fence_ptr> read(std::uint64_t first, std::uint32_t blocks, paddock::iova to) {
    return transfer(io_opcode::read, first, blocks, to);
  }
  [[nodiscard]] paddock::result<paddock::fence_ptr> write(std::uint64_t first, std::uint32_t blocks,
                                                          paddock::iova from) {
    return transfer(io_opcode::write, first, blocks, from);
  }
  /// Makes what was written durable.
  [[nodiscard]] paddock::result<paddock::fence_ptr> flush() {
    submission entry;
    entry.opcode = static_cast<std::uint8_t>(io_opcode::flush);
    entry.namespace_id = 1;
    return io_->submit(entry);
  }

  /// The device goes back to the kernel, which waits for it: new commands are refused, those in flight have a moment to
  /// end, the rest fails with ENODEV, and nothing touches the device again.
  void lose() noexcept;
  [[nodiscard]] paddock::vfio::device& device() noexcept { return device_; }
  /// Ends in-flight work of a controller that does not answer: resets the function, so that no DMA is under way after.
  void give_up() noexcept;

 private:
  explicit controller(paddock::vfio::device device) : device_(std::move(device)) {}

  void on_revoke(paddock::vfio::revoke_reason reason) noexcept override;
  [[nodiscard]] paddock::result<void> start(const options& wanted);
  [[nodiscard]] paddock::result<void> wait_until_ready(bool ready);
  [[nodiscard]] paddock::result<void> learn_identity();
  [[nodiscard]] paddock::result<void> create_io_queues(const options& wanted);
  [[nodiscard]] paddock::result<std::uint32_t> admin(submission entry, paddock::iova data = {},
                                                     std::uint64_t bytes = 0);
  [[nodiscard]] paddock::result<paddock::fence_ptr> transfer(io_opcode opcode, std::uint64_t first,
                                                             std::uint32_t blocks, paddock::iova data);
  /// A memory buffer outlives a reset of the controller, and whoever enabled it: while it is on, the controller takes
  /// addresses for its own memory that now belong to something else, and the data silently go astray.
  void disable_memory_buffer() noexcept {
    if (capabilities_.cmb_needs_enable()) {
      registers_.write64(reg::cmbmsc, 0);
    }
  }
  void shut_down() noexcept;

  paddock::vfio::device device_;
  std::optional<paddock::vfio::bar> bar0_;
  paddock::mmio_span registers_;
  capabilities capabilities_;
  std::optional<paddock::vfio::irq> msix_;
  std::uint32_t io_vector_{0};
  std::optional<paddock::vfio::irq> removal_;
  std::unique_ptr<queue_pair> admin_;
  std::unique_ptr<queue_pair> io_;
  nvme::identity identity_;
};

inline paddock::result<std::unique_ptr<controller>> controller::open(paddock::vfio::container space,
                                                                     const paddock::pci::address& address,
                                                                     const options& wanted) {
  PADDOCK_TRY(auto device, paddock::vfio::device::open(std::move(space), address));
  std::unique_ptr<controller> made(new controller(std::move(device)));
  PADDOCK_TRY_VOID(made->start(wanted));
  return made;
}

inline controller::~controller() {
  shut_down();
  device_.leave(*this);
}

inline paddock::result<void> controller::start(const options& wanted) {
  // A process that was killed may have left the controller in the middle of anything.
  if (device_.supports_reset()) {
    PADDOCK_TRY_VOID(device_.reset());
  }
  PADDOCK_TRY(bar0_, device_.map_bar(paddock::bar_index(0)));
  if (bar0_->size() < reg::doorbells + 16) {
    return paddock::fail(paddock::errc::unsupported_by_device, "NVMe BAR0 is too small");
  }
  PADDOCK_TRY(registers_, bar0_->mmio());
  capabilities_.raw = registers_.read64(reg::cap);
  if (capabilities_.raw == UINT64_MAX || !capabilities_.nvm_command_set() || capabilities_.min_page_shift() > 12) {
    return paddock::fail(paddock::errc::unsupported_by_device, "not an NVMe controller with 4 KiB pages");
  }
  registers_.write32(reg::cc, 0);
  PADDOCK_TRY_VOID(wait_until_ready(false));
  disable_memory_buffer();
  PADDOCK_TRY_VOID(device_.set_bus_master(true));

  constexpr std::uint16_t admin_entries = 16;
  PADDOCK_TRY(admin_, queue_pair::create(device_.space(), registers_, capabilities_.doorbell_stride(), 0, admin_entries,
                                         admin_timeout));
  PADDOCK_TRY_VOID(device_.join(*this));
  registers_.write32(reg::aqa, (admin_entries - 1U) | ((admin_entries - 1U) << 16U));
  registers_.write64(reg::asq, admin_->sq_address().value());
  registers_.write64(reg::acq, admin_->cq_address().value());
  registers_.write32(reg::cc, cc_entry_sizes | cc_enable);
  PADDOCK_TRY_VOID(wait_until_ready(true));

  PADDOCK_TRY(removal_, device_.enable_irq(paddock::vfio::irq_kind::request));
  if (wanted.memory_only) {
    return {};
  }
  PADDOCK_TRY_VOID(learn_identity());
  return create_io_queues(wanted);
}

inline paddock::result<void> controller::wait_until_ready(bool ready) {
  const auto until =
      paddock::deadline::in(std::chrono::milliseconds(std::max<std::uint32_t>(capabilities_.timeout_ms(), 500)));
  for (;;) {
    const std::uint32_t csts = registers_.read32(reg::csts);
    if (csts == UINT32_MAX) {
      return paddock::fail(paddock::errc::no_device, "NVMe controller");
    }
    if (ready && (csts & csts_fatal) != 0) {
      return paddock::fail(paddock::errc::io, "NVMe controller reports a fatal status");
    }
    if (((csts & csts_ready) != 0) == ready) {
      return {};
    }
    if (until.passed()) {
      return paddock::fail(paddock::errc::timed_out, "NVMe controller does not become ready");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

inline paddock::result<std::uint32_t> controller::admin(submission entry, paddock::iova data, std::uint64_t bytes) {
  PADDOCK_TRY(const auto done, admin_->submit(entry, data, bytes));
  // Admin commands are few and come before any interrupt is set up: poll.
  PADDOCK_TRY(const auto outcome, paddock::wait(*done, paddock::deadline::in(admin_timeout), paddock::polling_wait{}));
  if (outcome == paddock::wait_status::timed_out) {
    return paddock::fail(paddock::errc::timed_out, "NVMe admin command");
  }
  if (outcome == paddock::wait_status::failed) {
    return paddock::fail(paddock::error{done->error().code, done->sys_errno(), "NVMe admin command"});
  }
  return static_cast<const command&>(*done).result();
}

inline paddock::result<void> controller::learn_identity() {
  PADDOCK_TRY(const auto page, paddock::vfio::coherent_buffer::create(device_.space(), queue_pair::page));
  const auto text = [&](std::size_t offset, std::size_t length) {
    std::string value(page.at<const char>(offset), length);
    value.erase(value.find_last_not_of(' ') + 1);
    return value;
  };
  submission ask;
  ask.opcode = static_cast<std::uint8_t>(admin_opcode::identify);
  ask.dword10_to_15[0] = identify::cns_controller;
  PADDOCK_TRY_VOID(admin(ask, page.iova(), queue_pair::page));
  identity_.serial = text(identify::serial, identify::serial_length);
  identity_.model = text(identify::model, identify::model_length);
  const auto mdts = static_cast<unsigned>(*page.at<const std::uint8_t>(identify::mdts));
  identity_.longest_transfer = queue_pair::longest_transfer;
  if (mdts != 0 && mdts < 20) {
    identity_.longest_transfer =
        std::min<std::uint64_t>(identity_.longest_transfer, std::uint64_t{queue_pair::page} << mdts);
  }

  ask.namespace_id = 1;
  ask.dword10_to_15[0] = identify::cns_namespace;
  PADDOCK_TRY_VOID(admin(ask, page.iova(), queue_pair::page));
  identity_.blocks = *page.at<const std::uint64_t>(identify::ns_size);
  const unsigned format = *page.at<const std::uint8_t>(identify::ns_flbas) & 0xfU;
  const auto lbaf = *page.at<const std::uint32_t>(identify::ns_lbaf + 4 * format);
  const unsigned shift = (lbaf >> 16U) & 0xffU;
  if (identity_.blocks == 0 || (lbaf & 0xffffU) != 0 || shift < 9 || shift > 12) {
    return paddock::fail(paddock::errc::unsupported_by_device,
                         "NVMe namespace 1: missing, with metadata, or with blocks other than 512 to 4096 bytes");
  }
  identity_.block_bytes = 1U << shift;
  return {};
}

inline paddock::result<void> controller::create_io_queues(const options& wanted) {
  const std::uint32_t most = std::min<std::uint32_t>(capabilities_.max_queue_entries(), queue_pair::most_entries);
  const auto entries = static_cast<std::uint16_t>(std::clamp<std::uint32_t>(wanted.queue_depth + 1U, 3, most));
  PADDOCK_TRY(io_, queue_pair::create(device_.space(), registers_, capabilities_.doorbell_stride(), 1, entries,
                                      wanted.io_timeout));
  if (wanted.interrupts) {
    // Vector 0 is the admin queue's, which is polled; a controller with one vector has to share it.
    PADDOCK_TRY(const auto vectors, device_.describe_irq(paddock::vfio::irq_kind::msix));
    io_vector_ = vectors.count >= 2 ? 1 : 0;
    PADDOCK_TRY(msix_, device_.enable_irq(paddock::vfio::irq_kind::msix, io_vector_ + 1));
  }
  submission number_of_queues;  // One of each; the fields are zero-based.
  number_of_queues.opcode = static_cast<std::uint8_t>(admin_opcode::set_features);
  number_of_queues.dword10_to_15[0] = feature_number_of_queues;
  PADDOCK_TRY_VOID(admin(number_of_queues));
  constexpr std::uint32_t physically_contiguous = 1;
  constexpr std::uint32_t interrupts_enabled = 2;
  submission cq;
  cq.opcode = static_cast<std::uint8_t>(admin_opcode::create_cq);
  cq.prp1 = io_->cq_address().value();
  cq.dword10_to_15[0] = io_->id() | ((entries - 1U) << 16U);
  cq.dword10_to_15[1] = physically_contiguous | (wanted.interrupts ? interrupts_enabled | (io_vector_ << 16U) : 0U);
  PADDOCK_TRY_VOID(admin(cq));
  submission sq;
  sq.opcode = static_cast<std::uint8_t>(admin_opcode::create_sq);
  sq.prp1 = io_->sq_address().value();
  sq.dword10_to_15[0] = io_->id() | ((entries - 1U) << 16U);
  sq.dword10_to_15[1] = physically_contiguous | (static_cast<std::uint32_t>(io_->id()) << 16U);
  PADDOCK_TRY_VOID(admin(sq));
  return {};
}

inline paddock::result<paddock::vfio::bar_slice> controller::find_memory_buffer(buffer_owner owner) {
  if (capabilities_.cmb_needs_enable()) {
    // Without this the registers that describe the buffer read as zero.
    registers_.write64(reg::cmbmsc, cmbmsc_capabilities_enable);
  }
  const memory_buffer_registers found{registers_.read32(reg::cmbsz), registers_.read32(reg::cmbloc)};
  if (found.cmbsz == UINT32_MAX) {
    return paddock::fail(paddock::errc::no_device, "NVMe controller");
  }
  if (found.size() == 0) {
    return paddock::fail(paddock::errc::not_found, "no controller memory buffer (CMB)");
  }
  if (const char* why = refusal(found, owner); why != nullptr) {
    return paddock::fail(paddock::errc::unsupported_by_device, why);
  }
  if (!capabilities_.cmb_needs_enable() && owner != buffer_owner::neither) {
    // Before NVMe 1.4 a controller knows its memory by its address on the bus, which behind an IOMMU nobody uses.
    return paddock::fail(paddock::errc::unsupported_by_device,
                         "CAP.CMBS is 0: the controller's own commands cannot be told where its memory buffer is");
  }
  PADDOCK_TRY(const auto bar, device_.map_bar(paddock::bar_index(found.bar())));
  // The specification lets the buffer be larger than the BAR; what is outside cannot be reached. One that lies outside
  // as a whole is no slice.
  return bar.slice(found.offset(), std::min(found.size(), bar.size() - found.offset()));
}

inline paddock::result<void> controller::place_memory_buffer(paddock::iova start) {
  if (capabilities_.cmb_needs_enable()) {
    registers_.write64(reg::cmbmsc, start.value() | cmbmsc_capabilities_enable | cmbmsc_memory_enable);
    if ((registers_.read32(reg::cmbsts) & cmbsts_address_invalid) != 0) {
      registers_.write64(reg::cmbmsc, cmbmsc_capabilities_enable);
      return paddock::fail(paddock::errc::unsupported_by_device,
                           "NVMe controller refuses the address of its memory buffer");
    }
  }
  return {};
}

inline paddock::result<paddock::fence_ptr> controller::transfer(io_opcode opcode, std::uint64_t first,
                                                                std::uint32_t blocks, paddock::iova data) {
  if (blocks == 0 || blocks > 0x10000 || !paddock::range_fits(first, blocks, identity_.blocks)) {
    return paddock::fail(paddock::errc::out_of_range, "NVMe blocks");
  }
  submission entry;
  entry.opcode = static_cast<std::uint8_t>(opcode);
  entry.namespace_id = 1;
  entry.dword10_to_15[0] = static_cast<std::uint32_t>(first);
  entry.dword10_to_15[1] = static_cast<std::uint32_t>(first >> 32U);
  entry.dword10_to_15[2] = blocks - 1;
  return io_->submit(entry, data, std::uint64_t{blocks} * identity_.block_bytes);
}

inline void controller::on_revoke(paddock::vfio::revoke_reason reason) noexcept {
  const auto why = reason == paddock::vfio::revoke_reason::removed ? paddock::errc::no_device : paddock::errc::canceled;
  if (io_) {
    io_->stop(why);
  }
  if (admin_) {
    admin_->stop(why);
  }
}

inline void controller::lose() noexcept {
  if (io_) {
    io_->refuse(paddock::errc::no_device);
    const auto until = paddock::deadline::in(quiesce_timeout);
    // A controller that is gone already reads as ones.
    while (!io_->idle() && !until.passed() && registers_.read32(reg::csts) != UINT32_MAX) {
      if (io_->walk() == 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  }
  device_.remove();
}

inline void controller::give_up() noexcept {
  if (auto done = device_.reset(); !done && done.error() != paddock::errc::no_device) {
    paddock::report_lost_error(done.error());
    device_.remove();  // The kernel resets it by other means when it is closed; what is in flight ends here.
  }
}

inline void controller::shut_down() noexcept {
  const bool enabled = admin_ && (registers_.read32(reg::cc) & cc_enable) != 0;
  const std::uint32_t csts = registers_.empty() ? UINT32_MAX : registers_.read32(reg::csts);
  if (!enabled || csts == UINT32_MAX) {
    return;
  }
  registers_.write32(reg::cc, (registers_.read32(reg::cc) & ~cc_shutdown_mask) | cc_shutdown_normal);
  const auto until = paddock::deadline::in(std::chrono::seconds(5));
  while ((registers_.read32(reg::csts) & csts_shutdown_mask) != csts_shutdown_complete && !until.passed()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  registers_.write32(reg::cc, 0);
  static_cast<void>(wait_until_ready(false));
  disable_memory_buffer();
}

}  // namespace nvme
