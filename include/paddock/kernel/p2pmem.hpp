// SPDX-License-Identifier: BSL-1.0
/// \file
/// `p2pmem`: memory of a PCI device that its kernel driver lends to other devices, such as an NVMe controller's CMB.
/// Kernel: drivers/pci/p2pdma.c, mmap of /sys/bus/pci/devices/BDF/p2pmem/allocate, since 6.2.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/mmio.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/kernel/mapped_memory.hpp>
#include <paddock/kernel/memfd.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/pci/function.hpp>
#include <paddock/pci/sysfs.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// Pages of a provider's BAR in this process, given back when dropped. A forked child does not have them.
/// A device reads and writes them when a read or write with O_DIRECT, or io_uring's, names their address; the kernel
/// answers EINVAL where pci::route_between() says "not supported". They cannot be pinned for long: vfio::ioas does not
/// map them (bad_address), io_uring does not register them.
/// When the provider's driver lets go of it, the kernel takes the pages back: from then on touching them is SIGBUS, and
/// naming them to a system call EFAULT. Thread-safety: as the memory; the object is a value that one thread changes.
class p2pmem {
 public:
  /// Takes `size` bytes, rounded up to whole pages, of the memory that `provider` publishes. What they hold is what was
  /// there before. `root` is for tests.
  /// Errors: not_found (no such device, or no driver of it provides memory), permission (only root and its group
  /// may), limit_reached (not so much in one piece is free), no_device (the provider is going),
  /// invalid_argument (0), out_of_range.
  [[nodiscard]] static result<p2pmem> allocate(const pci::address& provider, std::uint64_t size,
                                               const std::filesystem::path& root = "/");

  /// How much memory `provider` has, how much of it is free, and whether the kernel's own drivers may pick it.
  /// Errors: not_found (as above).
  [[nodiscard]] static result<pci::p2pmem_info> statistics(const pci::address& provider,
                                                           const std::filesystem::path& root = "/");

  [[nodiscard]] const pci::address& provider() const noexcept { return provider_; }
  /// Bytes, a multiple of the page; 0 when moved from or unmapped.
  [[nodiscard]] std::size_t size() const noexcept { return memory_.bytes().size(); }
  /// For system calls that hand it to a device, page-aligned. Not for memcpy: see mmio().
  [[nodiscard]] void* address() const noexcept { return memory_.bytes().data(); }
  /// For the CPU. It is a BAR: every access crosses the bus.
  [[nodiscard]] mmio_span mmio() const noexcept { return {address(), size()}; }

  /// Gives the pages back now, and says how that went. A second call does nothing. A page that a device still reads or
  /// writes is free once that has ended.
  [[nodiscard]] result<void> unmap() noexcept { return memory_.unmap(); }

 private:
  p2pmem(const pci::address& provider, mapped_memory memory) noexcept
      : provider_(provider), memory_(std::move(memory)) {}

  [[nodiscard]] static std::filesystem::path folder_of(const pci::address& provider,
                                                       const std::filesystem::path& root) {
    return root / "sys/bus/pci/devices" / to_string(provider) / "p2pmem";
  }

  pci::address provider_;
  mapped_memory memory_;
};

inline result<p2pmem> p2pmem::allocate(const pci::address& provider, std::uint64_t size,
                                       const std::filesystem::path& root) {
  PADDOCK_TRY(const std::uint64_t rounded, round_up_to_page(size));
  const auto file = folder_of(provider, root) / "allocate";
  PADDOCK_TRY(const unique_fd fd, detail::open(file.c_str(), O_RDWR, "open(p2pmem/allocate)"));
  PADDOCK_TRY(mapped_memory memory, mapped_memory::map(fd, access::read_write, 0, rounded, "mmap(p2pmem/allocate)"));
  // Or a child would keep the provider's memory for as long as it lives.
  if (::madvise(memory.bytes().data(), memory.bytes().size(), MADV_DONTFORK) != 0) {
    return fail_errno("madvise(MADV_DONTFORK)");
  }
  return p2pmem(provider, std::move(memory));
}

inline result<pci::p2pmem_info> p2pmem::statistics(const pci::address& provider, const std::filesystem::path& root) {
  const auto folder = folder_of(provider, root);
  const auto size = pci::detail::read_number<std::uint64_t>(folder / "size");
  const auto available = pci::detail::read_number<std::uint64_t>(folder / "available");
  const auto published = pci::detail::read_number<int>(folder / "published");
  if (!size || !available || !published) {
    return fail(errc::not_found, "p2pmem (no such device, or it provides no memory)");
  }
  return pci::p2pmem_info{*size, *available, *published != 0};
}

}  // namespace PADDOCK_NAMESPACE::kernel
