// SPDX-License-Identifier: BSL-1.0
/// \file
/// `iommufd`: the model of ioas over /dev/iommu and the device nodes of VFIO, without groups.
/// Kernel: drivers/iommu/iommufd, drivers/vfio/device_cdev.c.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/uapi/iommufd.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/detail/process_id.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/kernel/probe_answer.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/vfio/ioas.hpp>

namespace PADDOCK_NAMESPACE::vfio {

namespace detail {

/// The node of a device that is bound to vfio-pci. Errors: not_found (no such PCI device); unsupported_by_kernel (VFIO
/// has no device nodes); not_bound.
[[nodiscard]] inline result<std::string> device_node_of(const pci::address& device,
                                                        const std::filesystem::path& sysfs = "/sys") {
  std::error_code error;
  const auto folder = sysfs / "bus/pci/devices" / to_string(device);
  const auto why = [](const std::error_code& asked) {
    return fail(error_from_errno(asked.value(), "the VFIO node of the PCI device"));
  };
  if (!std::filesystem::exists(folder, error)) {
    return error ? why(error) : fail(errc::not_found, "PCI device in sysfs");
  }
  for (auto entry = std::filesystem::directory_iterator(folder / "vfio-dev", error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with("vfio") && std::filesystem::exists(entry->path() / "dev", error)) {
      return "/dev/vfio/devices/" + name;
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return why(error);
  }
  const auto driver = std::filesystem::read_symlink(folder / "driver", error);
  if (error && error != std::errc::no_such_file_or_directory) {
    return why(error);
  }
  return fail(error || driver.filename() != "vfio-pci" ? errc::not_bound : errc::unsupported_by_kernel,
              "the VFIO node of the PCI device");
}

/// The kernel side of an IOAS.
class iommufd_space final : public address_space {
 public:
  iommufd_space(unique_fd fd, std::uint32_t id) noexcept : fd_(std::move(fd)), id_(id) {}

  [[nodiscard]] result<void> map_pages(void* memory, iova at, std::uint64_t size, direction dir) noexcept override {
    uapi::iommu_ioas_map request;
    request.flags = flags_of(dir);
    request.ioas_id = id_;
    request.user_va = reinterpret_cast<std::uintptr_t>(memory);
    request.length = size;
    request.iova = at.value();
    PADDOCK_TRY_VOID(paddock::detail::ioctl_once(fd_, uapi::iommu_ioas_map_ioctl, &request, "IOMMU_IOAS_MAP"));
    return {};
  }
  /// Memory by its address, or by its file where it has none; what is behind a BAR by a dma-buf, since the kernel takes
  /// no address of that.
  [[nodiscard]] result<void> map_piece(const segment& piece, iova at, direction dir) noexcept override {
    if (piece.kind == storage_kind::memory) {
      return piece.address != nullptr ? map_pages(piece.address, at, piece.length, dir)
                                      : map_file(piece.file, piece.offset, piece.length, at, dir);
    }
    if (piece.exporter == nullptr) {
      return fail(errc::not_mappable, "ioas::map: memory behind a BAR without a dma-buf");
    }
    PADDOCK_TRY(const unique_fd exported, piece.exporter->export_range(piece.offset, piece.length));
    return map_file(exported, 0, piece.length, at, dir);  // It keeps the file.
  }
  [[nodiscard]] result<void> unmap_pages(iova at, std::uint64_t size) noexcept override {
    if (paddock::detail::process_id() != owner_) {
      return {};  // A forked child shares the file: the parent's DMA is not its to end.
    }
    uapi::iommu_ioas_unmap request;
    request.ioas_id = id_;
    request.iova = at.value();
    request.length = size;
    PADDOCK_TRY_VOID(paddock::detail::ioctl_once(fd_, uapi::iommu_ioas_unmap_ioctl, &request, "IOMMU_IOAS_UNMAP"));
    return request.length == size ? result<void>()
                                  : fail(errc::unexpected, "IOMMU_IOAS_UNMAP: not all of the range was mapped");
  }
  [[nodiscard]] result<std::uint32_t> available() noexcept override {
    return fail(errc::unsupported_by_kernel, "iommufd does not bound the number of mappings");
  }

  [[nodiscard]] result<unique_fd> open_device(const pci::address& device) override {
    PADDOCK_TRY(const std::string node, device_node_of(device));
    PADDOCK_TRY(unique_fd opened, paddock::detail::open(node.c_str(), O_RDWR, "open(/dev/vfio/devices)"));
    uapi::vfio_device_bind_iommufd bind;
    bind.iommufd = fd_.get();
    PADDOCK_TRY_VOID(
        paddock::detail::ioctl_once(opened, uapi::vfio_device_bind_iommufd_ioctl, &bind, "VFIO_DEVICE_BIND_IOMMUFD"));
    uapi::vfio_device_attach_iommufd_pt attach;
    attach.pt_id = id_;
    PADDOCK_TRY_VOID(paddock::detail::ioctl_once(opened, uapi::vfio_device_attach_iommufd_pt_ioctl, &attach,
                                                 "VFIO_DEVICE_ATTACH_IOMMUFD_PT"));
    PADDOCK_TRY_VOID(learn_ranges());
    return opened;
  }
  /// None: the kernel knows the devices of an iommufd by themselves.
  [[nodiscard]] result<std::vector<std::int32_t>> proofs_for_hot_reset(std::span<const std::uint32_t> owners) override {
    if (std::ranges::find(owners, uapi::vfio_pci_devid_not_owned) != owners.end()) {
      return fail(errc::busy, "VFIO_DEVICE_PCI_HOT_RESET: a device of the set is not ours");
    }
    return std::vector<std::int32_t>();
  }
  [[nodiscard]] bool maps_files() const noexcept override { return true; }
  [[nodiscard]] bool revokes_silently() const noexcept override { return true; }

 private:
  [[nodiscard]] static std::uint32_t flags_of(direction dir) noexcept {
    return uapi::iommu_ioas_map_fixed_iova | (dir != direction::from_device ? uapi::iommu_ioas_map_readable : 0U) |
           (dir != direction::to_device ? uapi::iommu_ioas_map_writeable : 0U);
  }
  [[nodiscard]] result<void> map_file(borrowed_fd file, std::uint64_t start, std::uint64_t length, iova at,
                                      direction dir) noexcept {
    uapi::iommu_ioas_map_file request;
    request.flags = flags_of(dir);
    request.ioas_id = id_;
    request.fd = file.get();
    request.start = start;
    request.length = length;
    request.iova = at.value();
    PADDOCK_TRY_VOID(
        paddock::detail::ioctl_once(fd_, uapi::iommu_ioas_map_file_ioctl, &request, "IOMMU_IOAS_MAP_FILE"));
    return {};
  }
  /// What the IOMMUs of all attached devices can do, less what is reserved.
  [[nodiscard]] result<void> learn_ranges() {
    std::vector<uapi::iommu_iova_range> found(16);
    uapi::iommu_ioas_iova_ranges ask;
    for (;;) {
      ask = {};
      ask.ioas_id = id_;
      ask.num_iovas = static_cast<std::uint32_t>(found.size());
      ask.allowed_iovas = reinterpret_cast<std::uintptr_t>(found.data());
      const auto asked =
          paddock::detail::ioctl_once(fd_, uapi::iommu_ioas_iova_ranges_ioctl, &ask, "IOMMU_IOAS_IOVA_RANGES");
      if (asked) {
        break;
      }
      if (asked.error().sys_errno != EMSGSIZE) {
        return fail(asked.error());
      }
      found.resize(ask.num_iovas);
    }
    std::vector<iova_range> usable;
    for (const auto& each : std::span(found).first(ask.num_iovas)) {
      usable.push_back({iova(each.start), iova(each.last)});
    }
    const std::lock_guard guard(mutex);
    allocator.set_usable(usable);
    page_size = std::max<std::uint64_t>(ask.out_iova_alignment, paddock::detail::page_size());
    return {};
  }

  const unique_fd fd_;
  const std::uint32_t id_;
  const pid_t owner_{paddock::detail::process_id()};
};

}  // namespace detail

/// An address space of iommufd: as a container, but each device is opened by itself, not with its group, and another
/// device's BAR is mapped by the dma-buf that VFIO makes of it. The kernel takes such a mapping away when that device
/// is reset, loses its memory or is closed, and does not tell: its status() is `unknown` unless this process revoked
/// it, and what it was mapped for is mapped anew. A handle; copies mean the same address space. Thread-safety: any
/// thread.
class iommufd : public ioas {
 public:
  /// Errors: unsupported_by_kernel (no /dev/iommu), permission, limit_reached. Kernel: IOMMU_IOAS_ALLOC.
  [[nodiscard]] static result<iommufd> create() {
    auto fd = paddock::detail::open("/dev/iommu", O_RDWR, "open(/dev/iommu)");
    if (!fd) {
      return fail(fd.error());
    }
    uapi::iommu_ioas_alloc request;
    PADDOCK_TRY_VOID(paddock::detail::ioctl_once(*fd, uapi::iommu_ioas_alloc_ioctl, &request, "IOMMU_IOAS_ALLOC"));
    return iommufd(std::make_shared<detail::iommufd_space>(*std::move(fd), request.out_ioas_id));
  }

 private:
  explicit iommufd(std::shared_ptr<detail::iommufd_space> made) noexcept : ioas(std::move(made)) {}
};

/// Is there an iommufd, and does it map files? Asked by calls that must fail in a known way.
struct iommufd_probe {
  kernel::probe_answer address_spaces;  ///< /dev/iommu (6.2).
  kernel::probe_answer map_file;        ///< IOMMU_IOAS_MAP_FILE (6.13).
};
[[nodiscard]] inline iommufd_probe probe_iommufd() noexcept {
  using kernel::answer;
  const auto fd = paddock::detail::open("/dev/iommu", O_RDWR, "open(/dev/iommu)");
  if (!fd) {
    const kernel::probe_answer none{
        fd.error() == errc::unsupported_by_kernel || fd.error() == errc::permission ? answer::no : answer::unknown,
        fd.error()};
    return {none, none};
  }
  // Flags that no kernel accepts: one that knows the call refuses them.
  uapi::iommu_ioas_map_file ask;
  ask.flags = UINT32_MAX;
  const auto asked = paddock::detail::ioctl_once(*fd, uapi::iommu_ioas_map_file_ioctl, &ask, "IOMMU_IOAS_MAP_FILE");
  const int got = asked ? 0 : asked.error().sys_errno;
  const kernel::probe_answer map_file =
      got == EOPNOTSUPP ? kernel::probe_answer{answer::yes, {}}
      : got == ENOTTY   ? kernel::probe_answer{answer::no, {errc::unsupported_by_kernel, got, "IOMMU_IOAS_MAP_FILE"}}
                        : kernel::probe_answer{answer::unknown, asked ? error{} : asked.error()};
  return {{answer::yes, {}}, map_file};
}

}  // namespace PADDOCK_NAMESPACE::vfio
