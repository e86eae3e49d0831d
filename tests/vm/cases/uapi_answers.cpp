// SPDX-License-Identifier: BSL-1.0
// Prints what this kernel's probes answer, for docs/uapi-matrix.md: a line a question, of the question, the answer and,
// unless it is yes, the reason, with tabs between them.
#include <cstdlib>
#include <string>

#include <fmt/format.h>

#include <paddock/drm/dumb_buffer.hpp>
#include <paddock/drm/probe.hpp>
#include <paddock/kernel/p2pmem.hpp>
#include <paddock/kernel/probe.hpp>
#include <paddock/vfio/bar_export.hpp>
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/iommufd.hpp>

namespace {

using namespace paddock;

void print(const std::string& question, const kernel::probe_answer& given) {
  const std::string reason = given.is_yes() ? "" : fmt::format("{}, {}", name(given.reason.code), given.reason.where);
  fmt::print("{}\t{}\t{}\n", question, kernel::name(given.value), reason);
}

/// A dma-buf on a kernel that has neither heaps nor udmabuf.
result<kernel::dma_buf_fd> make_buffer_of_a_driver() {
  PADDOCK_TRY(const auto vgem, drm::device::open_driver("vgem", drm::node_type::primary));
  PADDOCK_TRY(const auto picture, drm::dumb_buffer::create(vgem, 64, 64, 32));
  return picture.gem().export_();
}

void ask_kernel() {
  const auto buffer = make_buffer_of_a_driver();
  for (const kernel::feature each : kernel::all_features) {
    auto given = kernel::probe(each);
    if (given.value == kernel::answer::unknown && buffer) {
      given = kernel::probe(each, *buffer);
    }
    print(fmt::format("kernel::feature::{}", name(each)), given);
  }
}

void ask_drm() {
  for (const char* driver : {"virtio_gpu", "vgem"}) {
    const auto device = drm::device::open_driver(driver, drm::node_type::render);
    for (const drm::feature each : drm::all_features) {
      print(fmt::format("drm::feature::{} of {}", name(each), driver),
            device ? drm::probe(*device, each) : kernel::probe_answer{kernel::answer::unknown, device.error()});
    }
  }
}

result<kernel::probe_answer> ask_bar_export(const pci::address& drive) {
  PADDOCK_TRY(const auto space, vfio::container::create());
  PADDOCK_TRY(const auto opened, vfio::device::open(space, drive));
  return vfio::probe_bar_export(opened);
}

bool bind(const pci::address& drive, const char* driver) {
  const char* program = std::getenv("PADDOCK_VM_BIND");
  const std::string command = fmt::format("{} {} {}", program == nullptr ? "false" : program, to_string(drive), driver);
  return std::system(command.c_str()) == 0;  // NOLINT(cert-env33-c): the guest's own script.
}
result<kernel::probe_answer> ask_p2pmem(const pci::address& drive) {
  if (!bind(drive, "nvme")) {
    return fail(errc::not_bound, "nvme");
  }
  const auto lends = kernel::p2pmem::statistics(drive);
  if (!bind(drive, "vfio-pci")) {
    return fail(errc::not_bound, "vfio-pci");
  }
  return lends ? kernel::probe_answer{kernel::answer::yes, {}}
               : kernel::probe_answer{kernel::answer::no, lends.error()};
}

/// An NVMe drive whose controller has memory of its own.
void ask_drive() {
  const char* text = std::getenv("PADDOCK_DEV_NVME_A");
  const auto drive = pci::address::parse(text == nullptr ? "" : text);
  const auto ask = [&](const char* question, auto how) {
    const auto given = drive ? how(*drive) : result<kernel::probe_answer>(fail(drive.error()));
    print(question, given ? *given : kernel::probe_answer{kernel::answer::unknown, given.error()});
  };
  ask("kernel::p2pmem of an NVMe drive", ask_p2pmem);
  ask("vfio::probe_bar_export() of an NVMe drive", ask_bar_export);
}

}  // namespace

int main() {
  ask_kernel();
  ask_drm();
  const vfio::iommufd_probe spaces = vfio::probe_iommufd();
  print("vfio::probe_iommufd(): address spaces", spaces.address_spaces);
  print("vfio::probe_iommufd(): memory by file, and dma-bufs", spaces.map_file);
  ask_drive();
}
