// SPDX-License-Identifier: BSL-1.0
// Exports the first MiB of a BAR as a kernel dma-buf, and shows what the kernel knows of it.
// Usage: 03_bar_export 0000:03:00.0 2
#include <cstdlib>
#include <fstream>
#include <string>

#include <fmt/format.h>

#include <paddock/vfio/bar_export.hpp>
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/device.hpp>
#include <paddock/vfio/diagnose.hpp>

namespace {

constexpr const char* label = "paddock-bar-slice";

/// The kernel's own list of dma-bufs: the heading, and the lines of ours.
void show_kernel_view() {
  std::ifstream list("/sys/kernel/debug/dma_buf/bufinfo");
  if (!list) {
    fmt::print("/sys/kernel/debug/dma_buf/bufinfo cannot be read (root and a mounted debugfs are needed)\n");
    return;
  }
  bool ours = false;
  for (std::string line; std::getline(list, line);) {
    const bool entry = !line.empty() && line.front() != '\t' && line.front() != ' ';
    ours = entry ? line.find(label) != std::string::npos : ours;
    if (ours || line.rfind("size", 0) == 0) {
      fmt::print("  {}\n", line);
    }
  }
}

paddock::result<void> run(const paddock::pci::address& address, paddock::bar_index index) {
  PADDOCK_TRY(auto space, paddock::vfio::container::create());
  auto device = paddock::vfio::device::open(space, address);
  if (!device) {
    fmt::print("{}\n", paddock::vfio::explain_open_failure(address, device.error()));
    return paddock::fail(device.error());
  }
  PADDOCK_TRY(const auto exported, paddock::vfio::export_bar(*device, index, 0, 1U << 20U));
  PADDOCK_TRY_VOID(exported.set_name(label));
  fmt::print("BAR{} of {}: a dma-buf of {} bytes, inode {}\n", index.value(), address, exported.size(),
             exported.id().inode);
  show_kernel_view();
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const auto address = paddock::pci::address::parse(argc > 1 ? argv[1] : "");
  if (!address || argc != 3) {
    fmt::print("usage: 03_bar_export DOMAIN:BUS:DEVICE.FUNCTION BAR\n");
    return 2;
  }
  const auto done = run(*address, paddock::bar_index(static_cast<std::uint8_t>(std::strtoul(argv[2], nullptr, 10))));
  if (!done) {
    fmt::print("{}\n", done.error());
    return 1;
  }
}
