// SPDX-License-Identifier: BSL-1.0
// vfio::device on real devices: opening and its errors, config space, BARs, interrupts, resets, removal.
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/device.hpp>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <thread>

#include <paddock/vfio/diagnose.hpp>

#include "edu.hpp"
#include "guest.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

namespace {

vfio::device open_device(vfio::container& space, const char* name) {
  return unwrap(vfio::device::open(space, role(name)));
}

std::uint32_t from_sysfs(const pci::address& device, const char* attribute) {
  std::ifstream file("/sys/bus/pci/devices/" + to_string(device) + "/" + attribute);
  std::uint32_t value = 0;
  file >> std::hex >> value;
  return value;
}

struct driver final : vfio::revocable {
  void on_revoke(vfio::revoke_reason why) noexcept override {
    ++told;
    reason = why;
  }
  int told{0};
  vfio::revoke_reason reason{};
};

}  // namespace

TEST_CASE("vfio: config space agrees with sysfs, and bus mastering goes off, on, off") {
  auto space = unwrap(vfio::container::create());
  auto edu = open_device(space, "EDU");
  CHECK(unwrap(edu.read_config<std::uint16_t>(vfio::pci_regs::vendor_id)) == from_sysfs(edu.address(), "vendor"));
  CHECK(unwrap(edu.read_config<std::uint16_t>(vfio::pci_regs::device_id)) == from_sysfs(edu.address(), "device"));
  const auto master = [&] { return (unwrap(edu.read_config<std::uint16_t>(vfio::pci_regs::command)) & 4U) != 0; };
  CHECK_FALSE(master());
  unwrap(edu.set_bus_master(true));
  CHECK(master());
  unwrap(edu.set_bus_master(false));
  CHECK_FALSE(master());
  CHECK(code(edu.read_config<std::uint32_t>(0xffff)) == errc::out_of_range);
}

TEST_CASE("vfio: every BAR is either mapped with its size or refused") {
  auto space = unwrap(vfio::container::create());
  for (const char* name : {"EDU", "IVSHMEM", "NVME_A"}) {
    auto device = open_device(space, name);
    for (std::uint8_t i = 0; i < bar_index::count; ++i) {
      INFO(name << " BAR " << int{i});
      const vfio::region& info = device.regions()[i];
      const auto bar = device.map_bar(bar_index(i));
      if (info.size == 0) {
        CHECK(code(bar) == errc::not_found);
      } else if (info.areas.empty()) {
        CHECK(code(bar) == errc::not_mappable);
      } else {
        REQUIRE(bar);
        CHECK(bar->size() == info.size);
      }
    }
    CHECK(code(device.map_bar(bar_index(6))) == errc::not_found);
  }
}

TEST_CASE("vfio: a BAR too small to map is read through the FD") {
  auto space = unwrap(vfio::container::create());
  auto ivshmem = open_device(space, "IVSHMEM");  // BAR0 has 256 bytes of registers.
  std::array<std::byte, 4> value{};
  unwrap(ivshmem.read_region(0, 0, value));
  CHECK(code(ivshmem.read_region(0, 254, value)) == errc::out_of_range);
  CHECK(code(ivshmem.read_region(uapi::vfio_pci_config_region_index, 0, value)) == errc::not_found);
}

TEST_CASE("vfio: edu is alive and computes") {
  auto space = unwrap(vfio::container::create());
  auto device = open_device(space, "EDU");
  const edu engine(unwrap(device.map_bar(bar_index(0))));
  CHECK(engine.id() == 0x010000ed);
  CHECK(engine.inverted(0x12345678) == ~0x12345678U);
}

TEST_CASE("vfio: an interrupt reaches its eventfd") {
  auto space = unwrap(vfio::container::create());
  auto device = open_device(space, "EDU");
  const edu engine(unwrap(device.map_bar(bar_index(0))));
  unwrap(device.set_bus_master(true));
  auto msi = unwrap(device.enable_irq(vfio::irq_kind::msi));
  CHECK(unwrap(msi.take(0)) == 0);
  engine.raise_interrupt(0x42);
  pollfd entry{msi.event(0).get(), POLLIN, 0};
  CHECK(unwrap(detail::poll(&entry, 1, deadline::in(5s))) == 1);
  CHECK(unwrap(msi.take(0)) == 1);
  CHECK(engine.interrupt_status() == 0x42);
  engine.acknowledge(0x42);
  CHECK(engine.interrupt_status() == 0);
  unwrap(msi.trigger(0));
  CHECK(unwrap(msi.take(0)) == 1);
  unwrap(msi.disable());
}

TEST_CASE("vfio: INTx is masked when it fires, until it is unmasked") {
  auto space = unwrap(vfio::container::create());
  auto device = open_device(space, "EDU");
  const edu engine(unwrap(device.map_bar(bar_index(0))));
  const auto line = unwrap(device.describe_irq(vfio::irq_kind::intx));
  CHECK(line.automasked());
  CHECK(line.resizable());
  const auto messages = unwrap(device.describe_irq(vfio::irq_kind::msi));
  CHECK_FALSE(messages.automasked());
  CHECK_FALSE(messages.resizable());
  auto intx = unwrap(device.enable_irq(vfio::irq_kind::intx));
  pollfd entry{intx.event(0).get(), POLLIN, 0};
  for (int round = 0; round < 2; ++round) {
    engine.raise_interrupt(1);
    REQUIRE(unwrap(detail::poll(&entry, 1, deadline::in(5s))) == 1);
    CHECK(unwrap(intx.take(0)) == 1);
    engine.acknowledge(1);
    unwrap(intx.unmask());
  }
}

TEST_CASE("vfio: interrupts that a device does not have are refused") {
  auto space = unwrap(vfio::container::create());
  auto device = open_device(space, "EDU");
  CHECK(code(device.enable_irq(vfio::irq_kind::msix)) == errc::unsupported_by_device);
  CHECK(code(device.enable_irq(vfio::irq_kind::msi, 2)) == errc::unsupported_by_device);
  CHECK(code(device.enable_irq(vfio::irq_kind::msi, 0)) == errc::invalid_argument);
  auto request = unwrap(device.enable_irq(vfio::irq_kind::request));
  CHECK(unwrap(request.take(0)) == 0);
}

TEST_CASE("vfio: MSI-X vectors each have an eventfd") {
  auto space = unwrap(vfio::container::create());
  auto device = open_device(space, "NVME_A");
  auto msix = unwrap(device.enable_irq(vfio::irq_kind::msix, 3));
  CHECK(msix.count() == 3);
  unwrap(msix.trigger(2));
  CHECK(unwrap(msix.take(2)) == 1);
  CHECK(unwrap(msix.take(1)) == 0);
}

TEST_CASE("vfio: opening says which driver holds the device, and what to type") {
  auto space = unwrap(vfio::container::create());
  const pci::address gpu = role("GPU");
  const auto opened = vfio::device::open(space, gpu);
  REQUIRE_FALSE(opened);
  CHECK(opened.error() == errc::not_bound);
  const std::string advice = vfio::explain_open_failure(gpu, opened.error());
  INFO(advice);
  CHECK(advice.find("virtio-pci") != std::string::npos);
  CHECK(advice.find("driver_override") != std::string::npos);

  const pci::address nobody{0, 0xfe, 0x1f, 7};
  CHECK(code(vfio::device::open(space, nobody)) == errc::not_found);
  CHECK(vfio::explain_open_failure(nobody, error{errc::not_found, 0, ""}).find("no such PCI device") !=
        std::string::npos);
}

TEST_CASE("vfio: a group with a member in the kernel's hands is not viable, and the member is named") {
  auto space = unwrap(vfio::container::create());
  const pci::address sibling = role("TWIN_SIBLING");
  const auto refused = vfio::device::open(space, role("TWIN"));
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::not_viable);
  const std::string advice = vfio::explain_open_failure(role("TWIN"), refused.error());
  INFO(advice);
  CHECK(advice.find(to_string(sibling) + " is bound to 'virtio-pci'") != std::string::npos);

  // The advice is to be followed to the letter.
  const std::string commands = vfio::bind_commands(sibling, "virtio-pci");
  REQUIRE(std::system(commands.c_str()) == 0);  // NOLINT(cert-env33-c): what the user would type.
  const auto opened = vfio::device::open(space, role("TWIN"));
  CHECK(opened);
  const auto both = vfio::device::open(space, sibling);
  CHECK(both);
}

TEST_CASE("vfio: a group that another process holds is busy") {
  int ready[2];
  int done[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(done) == 0);
  char byte = 0;
  const pid_t child = ::fork();
  if (child == 0) {
    const auto space = vfio::container::create();
    const auto held = vfio::device::open(*space, role("EDU"));
    static_cast<void>(!::write(ready[1], &byte, 1));
    static_cast<void>(!::read(done[0], &byte, 1));
    ::_exit(held ? 0 : 1);
  }
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  auto space = unwrap(vfio::container::create());
  const auto opened = vfio::device::open(space, role("EDU"));
  REQUIRE(::write(done[1], &byte, 1) == 1);
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  REQUIRE_FALSE(opened);
  CHECK(opened.error() == errc::busy);
  CHECK(vfio::explain_open_failure(role("EDU"), opened.error()).find("another process") != std::string::npos);
}

TEST_CASE("vfio: without permission for the group, opening says whose file it is") {
  if (::getenv("PADDOCK_VM") == nullptr) {
    skip("not in the VM lane");
  }
  const pci::address edu = role("EDU");
  auto space = unwrap(vfio::container::create());
  REQUIRE(::setuid(65534) == 0);
  const auto opened = vfio::device::open(space, edu);
  REQUIRE_FALSE(opened);
  CHECK(opened.error() == errc::permission);
  CHECK(vfio::explain_open_failure(edu, opened.error()).find("chown") != std::string::npos);
}

TEST_CASE("vfio: switching memory off shows ones instead of SIGBUS, switching it on brings the BAR back") {
  auto space = unwrap(vfio::container::create());
  auto device = open_device(space, "IVSHMEM");
  const auto memory = unwrap(device.map_bar(bar_index(2)));
  const mmio_span span = unwrap(memory.mmio());
  span.write32(0x1000, 0xcafef00d);
  driver listener;
  unwrap(device.join(listener));

  unwrap(device.set_memory_enabled(false));
  CHECK(listener.told == 1);
  CHECK(listener.reason == vfio::revoke_reason::memory_disabled);
  CHECK(span.read32(0x1000) == 0xffffffff);
  span.write32(0x1000, 1);
  const auto slice = unwrap(memory.slice(0, 4096));
  CHECK(code(space.map(slice)) == errc::revoked);

  unwrap(device.set_memory_enabled(true));
  CHECK(span.read32(0x1000) == 0xcafef00d);
  CHECK(unwrap(space.map(slice)).status() == vfio::mapping_status::live);
  CHECK(listener.told == 1);
}

TEST_CASE("vfio: a raw write to the command register is judged like any other") {
  auto space = unwrap(vfio::container::create());
  auto device = open_device(space, "IVSHMEM");
  const auto command = unwrap(device.read_config<std::uint16_t>(vfio::pci_regs::command));
  driver listener;
  unwrap(device.join(listener));
  unwrap(device.write_config<std::uint8_t>(vfio::pci_regs::command, static_cast<std::uint8_t>(command & 0xfdU)));
  CHECK(listener.reason == vfio::revoke_reason::memory_disabled);
  unwrap(device.write_config<std::uint16_t>(vfio::pci_regs::command, command));
}

TEST_CASE("vfio: reset revokes, and a device that cannot reset revokes nothing") {
  auto space = unwrap(vfio::container::create());
  auto nvme = open_device(space, "NVME_A");
  driver listener;
  unwrap(nvme.join(listener));
  REQUIRE(nvme.supports_reset());
  unwrap(nvme.reset());
  CHECK(listener.told == 1);
  CHECK(listener.reason == vfio::revoke_reason::reset);

  auto ivshmem = open_device(space, "IVSHMEM");
  driver other;
  unwrap(ivshmem.join(other));
  CHECK_FALSE(ivshmem.supports_reset());
  CHECK(code(ivshmem.reset()) == errc::unsupported_by_device);
  CHECK(other.told == 0);
  ivshmem.leave(other);
}

TEST_CASE("vfio: a function level reset by a config write revokes too") {
  auto space = unwrap(vfio::container::create());
  auto nvme = open_device(space, "NVME_A");
  const auto express = nvme.state()->layout.express;
  REQUIRE(express);
  const auto offset = static_cast<std::uint16_t>(*express + vfio::pci_regs::express_device_control);
  const auto control = unwrap(nvme.read_config<std::uint16_t>(offset));
  driver listener;
  unwrap(nvme.join(listener));
  unwrap(nvme.write_config<std::uint16_t>(
      offset, static_cast<std::uint16_t>(control | vfio::pci_regs::express_function_level_reset)));
  CHECK(listener.reason == vfio::revoke_reason::reset);
}

TEST_CASE("vfio: hot reset tells every device of the bus") {
  auto space = unwrap(vfio::container::create());
  auto nvme = open_device(space, "NVME_A");
  driver listener;
  unwrap(nvme.join(listener));
  unwrap(nvme.hot_reset());
  CHECK(listener.told == 1);
  CHECK(unwrap(nvme.read_config<std::uint16_t>(vfio::pci_regs::vendor_id)) == from_sysfs(nvme.address(), "vendor"));
}

TEST_CASE("vfio: a BAR that is mapped while memory is off reads ones until memory is on") {
  auto space = unwrap(vfio::container::create());
  auto device = open_device(space, "IVSHMEM");
  unwrap(device.set_memory_enabled(false));
  const auto memory = unwrap(device.map_bar(bar_index(2)));
  CHECK(unwrap(memory.mmio()).read32(0) == 0xffffffff);
  CHECK(code(space.map(unwrap(memory.slice(0, 4096)))) == errc::revoked);
  unwrap(device.set_memory_enabled(true));
  unwrap(memory.mmio()).write32(0, 5);
  CHECK(unwrap(memory.mmio()).read32(0) == 5);
}

TEST_CASE("vfio: a device is open once in a container") {
  auto space = unwrap(vfio::container::create());
  {
    const auto first = open_device(space, "IVSHMEM");
    CHECK(code(vfio::device::open(space, role("IVSHMEM"))) == errc::busy);
  }
  CHECK(vfio::device::open(space, role("IVSHMEM")));
}

TEST_CASE("vfio: interrupts have one owner") {
  auto space = unwrap(vfio::container::create());
  auto device = open_device(space, "NVME_A");
  auto msix = unwrap(device.enable_irq(vfio::irq_kind::msix, 2));
  CHECK(code(device.enable_irq(vfio::irq_kind::msix, 1)) == errc::busy);
  CHECK(code(device.enable_irq(vfio::irq_kind::intx)) == errc::busy);
  CHECK(unwrap(device.enable_irq(vfio::irq_kind::request)).count() == 1);
  unwrap(msix.trigger(1));
  CHECK(unwrap(msix.take(1)) == 1);
  CHECK(code(msix.trigger(2)) == errc::out_of_range);
  unwrap(msix.disable());
  msix = unwrap(device.enable_irq(vfio::irq_kind::msix, 3));
  unwrap(msix.trigger(2));
  CHECK(unwrap(msix.take(2)) == 1);
  device.close();
  CHECK(unwrap(msix.take(0)) == 1);  // Whoever waits is woken.
}

TEST_CASE("vfio: errors reach an eventfd on PCIe devices, and are refused where there are none") {
  auto space = unwrap(vfio::container::create());
  auto express = open_device(space, "NVME_A");
  auto errors = unwrap(express.enable_irq(vfio::irq_kind::error));
  unwrap(errors.trigger(0));
  CHECK(unwrap(errors.take(0)) == 1);
  auto conventional = open_device(space, "EDU");
  CHECK(code(conventional.enable_irq(vfio::irq_kind::error)) == errc::unsupported_by_device);
}

TEST_CASE("vfio: a driver may destroy its device when it is told") {
  struct destroying final : vfio::revocable {
    void on_revoke(vfio::revoke_reason) noexcept override { device.reset(); }
    std::optional<vfio::device> device;
  };
  auto space = unwrap(vfio::container::create());
  destroying driver;
  driver.device = open_device(space, "NVME_A");
  unwrap(driver.device->join(driver));
  CHECK(code(driver.device->reset()) == errc::no_device);
  CHECK(vfio::device::open(space, role("NVME_A")));
}

TEST_CASE("vfio: a forked child that drops what it inherited takes nothing from its parent") {
  auto space = unwrap(vfio::container::create());
  auto device = std::make_optional(open_device(space, "IVSHMEM"));
  const auto memory = unwrap(device->map_bar(bar_index(2)));
  auto mapping = std::make_optional(unwrap(space.map(unwrap(memory.slice(0, 4096)))));
  const auto available = unwrap(space.available_mappings());
  const pid_t child = ::fork();
  if (child == 0) {
    mapping.reset();
    device.reset();
    ::_exit(0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK(unwrap(space.available_mappings()) == available);
  CHECK(unwrap(device->read_config<std::uint16_t>(0)) != 0xffff);
}

TEST_CASE("vfio: while the kernel takes a device away, reset says busy, and remove() lets it go") {
  auto space = unwrap(vfio::container::create());
  auto device = open_device(space, "NVME_B");
  auto request = unwrap(device.enable_irq(vfio::irq_kind::request));
  REQUIRE(ask_host("unplug --no-wait nvme_b") == 0);
  pollfd entry{request.event(0).get(), POLLIN, 0};
  REQUIRE(unwrap(detail::poll(&entry, 1, deadline::in(30s))) == 1);
  CHECK(code(device.reset()) == errc::busy);
  device.remove();
  CHECK(ask_host("wait-unplugged nvme_b") == 0);
  CHECK(ask_host("plug nvme_b") == 0);
}

TEST_CASE("vfio: a container takes back a device that was plugged in again") {
  auto space = unwrap(vfio::container::create());
  {
    auto device = open_device(space, "NVME_B");
    auto request = unwrap(device.enable_irq(vfio::irq_kind::request));
    REQUIRE(ask_host("unplug --no-wait nvme_b") == 0);
    pollfd entry{request.event(0).get(), POLLIN, 0};
    REQUIRE(unwrap(detail::poll(&entry, 1, deadline::in(30s))) == 1);
    device.remove();
  }
  CHECK(ask_host("wait-unplugged nvme_b") == 0);
  CHECK(ask_host("plug nvme_b") == 0);
  auto again = open_device(space, "NVME_B");
  CHECK(unwrap(again.read_config<std::uint16_t>(vfio::pci_regs::vendor_id)) == from_sysfs(again.address(), "vendor"));
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto mapping = unwrap(space.map({static_cast<std::byte*>(page), 4096}));
  unwrap(mapping.unmap());
  ::munmap(page, 4096);
}

TEST_CASE("vfio: a closed device answers no_device, and its window reads ones") {
  auto space = unwrap(vfio::container::create());
  auto device = open_device(space, "IVSHMEM");
  const auto memory = unwrap(device.map_bar(bar_index(2)));
  const mmio_span span = unwrap(memory.mmio());
  auto request = unwrap(device.enable_irq(vfio::irq_kind::request));
  device.close();
  CHECK(code(device.read_config<std::uint16_t>(0)) == errc::no_device);
  CHECK(code(device.map_bar(bar_index(2))) == errc::no_device);
  CHECK(span.read64(0) == UINT64_MAX);
  CHECK(code(request.trigger(0)) == errc::no_device);
}

TEST_CASE("vfio: opening and closing leaks neither FDs nor mappings") {
  auto space = unwrap(vfio::container::create());
  { const auto first = open_device(space, "NVME_A"); }
  const std::size_t fds = open_fds();
  const auto free_mappings = unwrap(space.available_mappings());
  for (int round = 0; round < 10; ++round) {
    auto device = open_device(space, "NVME_A");
    const auto memory = unwrap(device.map_bar(bar_index(2)));
    const auto mapping = unwrap(space.map(unwrap(memory.slice(0, 65536))));
    auto msix = unwrap(device.enable_irq(vfio::irq_kind::msix, 2));
    CHECK(unwrap(space.available_mappings()) == free_mappings - 1);
  }
  CHECK(open_fds() == fds);
  CHECK(unwrap(space.available_mappings()) == free_mappings);
  CHECK(space.mapping_count() == 0);
}

TEST_CASE("vfio: unplugging asks for the device back, and gets it") {
  auto space = unwrap(vfio::container::create());
  auto device = open_device(space, "NVME_B");
  const auto memory = unwrap(device.map_bar(bar_index(2)));
  const auto mapping = unwrap(space.map(unwrap(memory.slice(0, 4096))));
  auto request = unwrap(device.enable_irq(vfio::irq_kind::request));
  driver listener;
  unwrap(device.join(listener));

  REQUIRE(ask_host("unplug --no-wait nvme_b") == 0);
  pollfd entry{request.event(0).get(), POLLIN, 0};
  REQUIRE(unwrap(detail::poll(&entry, 1, deadline::in(30s))) == 1);
  device.remove();
  CHECK(listener.reason == vfio::revoke_reason::removed);
  CHECK(mapping.status() == vfio::mapping_status::revoked);
  CHECK(unwrap(memory.mmio()).read32(0) == 0xffffffff);
  CHECK(ask_host("wait-unplugged nvme_b") == 0);
  CHECK(ask_host("plug nvme_b") == 0);
}
