// SPDX-License-Identifier: BSL-1.0
// Every system call of vfio/ fails in every way, over a container and over an iommufd. What costs much in the guest, a
// reset, is in a scenario of its own.
#include <sys/mman.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>

#include <paddock/buffer/storage.hpp>
#include <paddock/kernel/memfd.hpp>
#include <paddock/pci/memory_windows.hpp>
#include <paddock/vfio/bar_export.hpp>
#include <paddock/vfio/coherent_buffer.hpp>
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/device.hpp>
#include <paddock/vfio/iommufd.hpp>

#include "edu.hpp"
#include "fault_runs.hpp"
#include "guest.hpp"

using namespace paddock;
using namespace paddock::test;

namespace {

constexpr std::uint32_t edu_id = 0x010000ed;

result<void> use_registers(vfio::device& device) {
  for (const bool on : {true, false}) {
    PADDOCK_TRY_VOID(device.set_bus_master(on));
    PADDOCK_TRY(const auto command, device.read_config<std::uint16_t>(vfio::pci_regs::command));
    REQUIRE(((command & vfio::pci_regs::command_bus_master) != 0) == on);
  }
  PADDOCK_TRY(const auto bar, device.map_bar(bar_index(0)));
  PADDOCK_TRY(const mmio_span registers, bar.mmio());
  REQUIRE(registers.read32(0) == edu_id);
  std::array<std::byte, 4> word{std::byte{1}};
  PADDOCK_TRY_VOID(device.write_region(0, 4, word));
  PADDOCK_TRY_VOID(device.read_region(0, 4, word));
  REQUIRE(word[0] == std::byte{0xfe});
  PADDOCK_TRY_VOID(device.set_memory_enabled(false));
  const std::uint32_t off = registers.read32(0);  // Where there is no page of ones to be had, zeroes.
  REQUIRE((off == 0xffffffff || off == 0));
  PADDOCK_TRY_VOID(device.set_memory_enabled(true));
  REQUIRE(registers.read32(0) == edu_id);
  return {};
}

result<void> use_interrupts(vfio::device& device) {
  {
    PADDOCK_TRY(auto msi, device.enable_irq(vfio::irq_kind::msi));
    PADDOCK_TRY_VOID(msi.trigger(0));
    std::uint64_t fired = 0;
    for (int i = 0; i < 2; ++i) {  // Nothing there yet, is what EAGAIN says.
      PADDOCK_TRY(const std::uint64_t more, msi.take(0));
      fired += more;
    }
    REQUIRE(fired == 1);
    PADDOCK_TRY_VOID(msi.disable());
  }
  PADDOCK_TRY(auto intx, device.enable_irq(vfio::irq_kind::intx));
  PADDOCK_TRY_VOID(intx.unmask());
  PADDOCK_TRY(const auto request, device.enable_irq(vfio::irq_kind::request));
  return {};
}

/// By address, shared, and as a storage.
result<void> map_memory(vfio::ioas& space) {
  PADDOCK_TRY(auto queue, vfio::coherent_buffer::create(space, 8192));
  PADDOCK_TRY(auto mapped, space.map(queue.bytes().first(4096), {.dir = direction::to_device}));
  auto shared = mapped.share();
  PADDOCK_TRY_VOID(mapped.unmap());
  PADDOCK_TRY_VOID(shared.retire());
  PADDOCK_TRY(auto storage,
              make_storage(std::monostate{},
                           segment{.kind = storage_kind::memory, .length = 4096, .address = queue.bytes().data()}));
  PADDOCK_TRY(auto whole, space.map(storage));
  return whole.unmap();
}

result<void> map_peer(vfio::ioas& space, vfio::device& peer) {
  PADDOCK_TRY(const auto memory, peer.map_bar(bar_index(2)));
  PADDOCK_TRY(const auto slice, memory.slice(0, 4096));
  PADDOCK_TRY(auto first, space.map(slice));
  PADDOCK_TRY(auto second, space.map(slice));
  PADDOCK_TRY_VOID(first.unmap());
  PADDOCK_TRY_VOID(peer.set_memory_enabled(false));
  REQUIRE(second.status() == vfio::mapping_status::revoked);
  PADDOCK_TRY_VOID(peer.set_memory_enabled(true));
  PADDOCK_TRY(auto anew, space.map(slice));
  if (const auto known = vfio::probe_bar_export(peer); known.is_yes()) {
    PADDOCK_TRY_VOID(vfio::export_bar(peer, slice));
  } else if (known.value == kernel::answer::unknown) {
    return fail(known.reason);
  }
  return {};
}

/// Whatever failed, the device is what it was: its memory answers to who has it mapped, and interrupts can be enabled.
class as_before {
 public:
  explicit as_before(vfio::device& device) : device_(device), registers_(unwrap(device.map_bar(bar_index(0)))) {}
  void operator()(const result<void>&) const {
    unwrap(device_.set_memory_enabled(true));
    REQUIRE(unwrap(registers_.mmio()).read32(0) == edu_id);
    // Where the kernel did not hear that they are disabled, it hears it now.
    for (const auto each : {vfio::irq_kind::msi, vfio::irq_kind::intx, vfio::irq_kind::request}) {
      if (auto again = device_.enable_irq(each); again) {
        unwrap(again->disable());
      }
    }
  }

 private:
  vfio::device& device_;
  vfio::bar registers_;
};

/// Whatever failed, no mapping stays; in the kernel, unless it refused to take one away, which was told.
class no_mapping_more {
 public:
  explicit no_mapping_more(vfio::ioas& space) : space_(space), available_(space.available_mappings()) {}
  void operator()(const result<void>& answered) {
    REQUIRE(space_.mapping_count() == 0);
    if (available_) {
      const auto now = unwrap(space_.available_mappings());
      const bool was_told = lost_errors::count() != lost_ ||
                            (!answered && answered.error().where == std::string_view("VFIO_IOMMU_UNMAP_DMA"));
      REQUIRE((now == *available_ || was_told));
      available_ = now;
    }
    lost_ = lost_errors::count();
  }

 private:
  vfio::ioas& space_;
  result<std::uint32_t> available_;
  int lost_{0};
};

/// All of it, and a device that goes in the middle of it.
void run(const scenario& what) {
  fail_each_call(what);
  fail_each_call(what, {{ENODEV, INT_MAX, true}});
}

vfio::iommufd open_iommufd() {
  auto made = vfio::iommufd::create();
  if (!made && made.error() == errc::unsupported_by_kernel) {
    skip("this kernel has no iommufd");
  }
  return unwrap(std::move(made));
}

}  // namespace

TEST_CASE("faults: a device is opened in a container") {
  const pci::address edu = role("EDU");
  const auto windows = unwrap(pci::host_bridge_windows(edu));
  REQUIRE_FALSE(windows.empty());
  alignas(4096) static std::array<std::byte, 4096> page{};
  run({.name = "open",
       .run = [&]() -> result<void> {
         PADDOCK_TRY(auto space, vfio::container::create());
         PADDOCK_TRY(const auto device, vfio::device::open(space, edu));
         // What was not read of the machine must not be taken for free: such an address may hit a neighbour's BAR.
         for (const pci::address_window& each : windows) {
           const auto neighbour = space.map(page, {.at = iova(each.first / 4096 * 4096)});
           REQUIRE_FALSE(neighbour);
           REQUIRE(neighbour.error().sys_errno == 0);
         }
         PADDOCK_TRY_VOID(space.available_mappings());
         return {};
       },
       .least = 40});
}

TEST_CASE("faults: registers and config space") {
  auto space = unwrap(vfio::container::create());
  auto device = unwrap(vfio::device::open(space, role("EDU")));
  const as_before check(device);
  run({.name = "registers", .run = [&] { return use_registers(device); }, .least = 25, .check = check});
}

TEST_CASE("faults: interrupts") {
  auto space = unwrap(vfio::container::create());
  auto device = unwrap(vfio::device::open(space, role("EDU")));
  const as_before check(device);
  run({.name = "interrupts", .run = [&] { return use_interrupts(device); }, .least = 15, .check = check});
}

TEST_CASE("faults: memory for a device") {
  auto space = unwrap(vfio::container::create());
  auto device = unwrap(vfio::device::open(space, role("EDU")));
  run({.name = "memory", .run = [&] { return map_memory(space); }, .least = 8, .check = no_mapping_more(space)});
}

TEST_CASE("faults: a peer's BAR") {
  auto space = unwrap(vfio::container::create());
  auto device = unwrap(vfio::device::open(space, role("EDU")));
  auto peer = unwrap(vfio::device::open(space, role("IVSHMEM")));
  run({.name = "peer",
       .run = [&] { return map_peer(space, peer); },
       .least = 20,
       .check =
           [&, none = no_mapping_more(space)](const result<void>& answered) mutable {
             unwrap(peer.set_memory_enabled(true));
             none(answered);
           }});
}

TEST_CASE("faults: resets") {
  auto space = unwrap(vfio::container::create());
  auto drive = unwrap(vfio::device::open(space, role("NVME_A")));
  const auto vendor = unwrap(drive.read_config<std::uint16_t>(vfio::pci_regs::vendor_id));
  fail_each_call({.name = "resets",
                  .run = [&]() -> result<void> {
                    PADDOCK_TRY_VOID(drive.reset());
                    return drive.hot_reset();
                  },
                  .least = 4,
                  .has_fixed_calls = true,
                  .check =
                      [&](const result<void>&) {
                        REQUIRE(unwrap(drive.read_config<std::uint16_t>(vfio::pci_regs::vendor_id)) == vendor);
                      }});
}

TEST_CASE("faults: a device is opened over an iommufd") {
  static_cast<void>(open_iommufd());
  const pci::address edu = role("EDU");
  run({.name = "open over iommufd",
       .run = [&]() -> result<void> {
         PADDOCK_TRY(auto space, vfio::iommufd::create());
         PADDOCK_TRY(const auto device, vfio::device::open(space, edu));
         const auto known = vfio::probe_iommufd();
         if (!known.map_file.is_yes()) {
           return fail(known.map_file.reason);
         }
         return {};
       },
       .least = 40});
}

TEST_CASE("faults: memory and a peer's BAR over an iommufd") {
  auto space = open_iommufd();
  auto device = unwrap(vfio::device::open(space, role("EDU")));
  auto peer = unwrap(vfio::device::open(space, role("IVSHMEM")));
  run({.name = "memory over iommufd",
       .run = [&]() -> result<void> {
         PADDOCK_TRY_VOID(map_memory(space));
         // A file without an address.
         PADDOCK_TRY(const auto memory, kernel::memfd::create(8192, "by file"));
         PADDOCK_TRY(
             auto storage,
             make_storage(std::monostate{},
                          segment{.kind = storage_kind::memory, .file = memory.fd(), .length = 4096, .offset = 4096}));
         PADDOCK_TRY(auto mapped, space.map(storage));
         return mapped.unmap();
       },
       .least = 12,
       .check = no_mapping_more(space)});
  run({.name = "peer over iommufd",
       .run = [&] { return map_peer(space, peer); },
       .least = 20,
       .check =
           [&, none = no_mapping_more(space)](const result<void>& answered) mutable {
             unwrap(peer.set_memory_enabled(true));
             none(answered);
           }});
}
