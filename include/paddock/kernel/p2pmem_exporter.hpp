// SPDX-License-Identifier: BSL-1.0
/// \file
/// `p2pmem_exporter`: a buffer in memory of a PCI device that its kernel driver lends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <utility>

#include <paddock/base/result.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/kernel/p2pmem.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/policy/residency.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// Memory behind a provider's BAR, with an address that read, write and io_uring with O_DIRECT take: see p2pmem. The
/// CPU has mmio_access to it. No driver in userspace maps it: the kernel does not pin it for a device of VFIO, and it
/// is no dma-buf. When the provider's driver goes, the kernel takes it back without asking.
/// Thread-safety: any thread.
class p2pmem_exporter final {
 public:
  using residency = kernel_managed;
  static constexpr p2p_segments p2p = p2p_segments::always;
  static constexpr bool revokes = false;
  static constexpr bool maps_by_address = false;

  /// At least `bytes`, in whole pages, as they were left. `root` is for tests. Errors: as p2pmem::allocate().
  [[nodiscard]] static result<p2pmem_exporter> create(const pci::address& provider, std::uint64_t bytes,
                                                      const std::filesystem::path& root = "/") {
    PADDOCK_TRY(p2pmem memory, p2pmem::allocate(provider, bytes, root));
    const segment all{.kind = storage_kind::device_memory,
                      .length = memory.size(),
                      .address = static_cast<std::byte*>(memory.address()),
                      .provider = provider};
    PADDOCK_TRY(storage_ptr made, make_storage(std::move(memory), all));
    return p2pmem_exporter(std::move(made));
  }

  [[nodiscard]] result<storage_ptr> initial_storage() noexcept { return storage_; }

 private:
  explicit p2pmem_exporter(storage_ptr storage) noexcept : storage_(std::move(storage)) {}

  storage_ptr storage_;
};
static_assert(exporter<p2pmem_exporter>);

}  // namespace PADDOCK_NAMESPACE::kernel
