// SPDX-License-Identifier: BSL-1.0
/// \file
/// `container`: the type1 model of ioas, over /dev/vfio/vfio and IOMMU groups.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/uapi/vfio.hpp>
#include <paddock/detail/process_id.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/vfio/group.hpp>
#include <paddock/vfio/ioas.hpp>
#include <paddock/vfio/region.hpp>

namespace PADDOCK_NAMESPACE::vfio {

namespace detail {

/// What VFIO_IOMMU_GET_INFO tells.
struct type1_info {
  std::uint64_t page_size{4096};
  std::vector<iova_range> usable;
  std::optional<std::uint32_t> available;
};

/// Reads the complete answer of VFIO_IOMMU_GET_INFO. Errors: out_of_range for an answer that contradicts itself.
[[nodiscard]] inline result<type1_info> parse_type1_info(std::span<const std::byte> answer) {
  PADDOCK_TRY(const auto head, read_structure<uapi::vfio_iommu_type1_info>(answer, 0, "vfio_iommu_type1_info"));
  type1_info info;
  if ((head.flags & uapi::vfio_iommu_info_pgsizes) != 0 && head.iova_pgsizes != 0) {
    info.page_size = head.iova_pgsizes & ~(head.iova_pgsizes - 1);
  }
  if ((head.flags & uapi::vfio_iommu_info_caps) != 0) {
    PADDOCK_TRY_VOID(for_each_capability(
        answer, head.cap_offset, [&](const uapi::vfio_info_cap_header& header, std::size_t offset) -> result<void> {
          if (header.id == uapi::vfio_iommu_type1_info_cap_dma_avail) {
            PADDOCK_TRY(const auto entry, read_structure<uapi::vfio_iommu_type1_cap_dma_avail>(
                                              answer, offset, "vfio DMA-available capability"));
            info.available = entry.avail;
          } else if (header.id == uapi::vfio_iommu_type1_info_cap_iova_range) {
            PADDOCK_TRY(const auto list, read_structure<uapi::vfio_iommu_type1_cap_iova_range>(
                                             answer, offset, "vfio IOVA range capability"));
            for (std::uint32_t i = 0; i < list.nr_iovas; ++i) {
              PADDOCK_TRY(const auto range,
                          read_structure<uapi::vfio_iova_range>(
                              answer, offset + sizeof list + i * sizeof(uapi::vfio_iova_range), "vfio IOVA range"));
              if (range.start <= range.end) {
                info.usable.push_back({iova(range.start), iova(range.end)});
              }
            }
          }
          return {};
        }));
  }
  if (info.usable.empty()) {
    // Kernels before 5.4 do not tell; the low 39 bits are what every IOMMU can do, less the MSI window of x86.
    info.usable = {{iova(0), iova(0xfedfffff)}, {iova(0xfef00000), iova((std::uint64_t{1} << 39U) - 1)}};
  }
  return info;
}

/// The kernel side of a container.
class type1_space final : public address_space {
 public:
  explicit type1_space(unique_fd fd) noexcept : fd_(std::move(fd)) {}

  [[nodiscard]] result<void> map_pages(void* memory, iova at, std::uint64_t size, direction dir) noexcept override {
    uapi::vfio_iommu_type1_dma_map request;
    request.flags = (dir != direction::from_device ? uapi::vfio_dma_map_flag_read : 0U) |
                    (dir != direction::to_device ? uapi::vfio_dma_map_flag_write : 0U);
    request.vaddr = reinterpret_cast<std::uintptr_t>(memory);
    request.iova = at.value();
    request.size = size;
    PADDOCK_TRY_VOID(paddock::detail::ioctl_once(fd_, uapi::vfio_iommu_map_dma, &request, "VFIO_IOMMU_MAP_DMA"));
    return {};
  }

  [[nodiscard]] result<void> unmap_pages(iova at, std::uint64_t size) noexcept override {
    if (paddock::detail::process_id() != owner_) {
      return {};  // A forked child shares the container's file: the parent's DMA is not its to end.
    }
    uapi::vfio_iommu_type1_dma_unmap request;
    request.iova = at.value();
    request.size = size;
    const auto unmapped =
        paddock::detail::ioctl_once(fd_, uapi::vfio_iommu_unmap_dma, &request, "VFIO_IOMMU_UNMAP_DMA");
    if (!unmapped && unmapped.error().sys_errno == EINVAL && !has_iommu()) {
      return {};  // The last group was unplugged, and the IOMMU's table went with it.
    }
    PADDOCK_TRY_VOID(unmapped);
    if (request.size != size) {
      return fail(errc::unexpected, "VFIO_IOMMU_UNMAP_DMA: not all of the range was mapped");
    }
    return {};
  }

  [[nodiscard]] result<std::uint32_t> available() noexcept override {
    PADDOCK_TRY(const auto info, ask());
    if (!info.available) {
      return fail(errc::unsupported_by_kernel, "VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL");
    }
    return *info.available;
  }

  /// Attaches a group once and keeps it for as long as the space lives, or until its last device is unplugged: a device
  /// that is plugged in again gets a new group, which may have the old one's number.
  [[nodiscard]] result<std::shared_ptr<group>> attach(int number) {
    const std::lock_guard guard(groups_mutex_);
    forget_dead_groups();
    for (const auto& known : groups_) {
      if (known->number() == number) {
        return known;
      }
    }
    PADDOCK_TRY(auto opened, group::open(number));
    int container = fd_.get();
    PADDOCK_TRY_VOID(paddock::detail::ioctl_once(opened.fd(), uapi::vfio_group_set_container, &container,
                                                 "VFIO_GROUP_SET_CONTAINER"));
    if (groups_.empty()) {
      PADDOCK_TRY_VOID(
          paddock::detail::ioctl_once(fd_, uapi::vfio_set_iommu, uapi::vfio_type1v2_iommu, "VFIO_SET_IOMMU"));
    }
    PADDOCK_TRY(auto info, ask());
    {
      const std::lock_guard space_guard(mutex);
      allocator.set_usable(info.usable);
      page_size = info.page_size;
    }
    groups_.push_back(std::make_shared<group>(std::move(opened)));
    return groups_.back();
  }

  [[nodiscard]] result<unique_fd> open_device(const pci::address& device) override {
    PADDOCK_TRY(const int number, group_of(device));
    PADDOCK_TRY(const auto attached, attach(number));
    std::string name = to_string(device);
    PADDOCK_TRY(const int fd, paddock::detail::ioctl_once(attached->fd(), uapi::vfio_group_get_device_fd, name.data(),
                                                          "VFIO_GROUP_GET_DEVICE_FD"));
    return unique_fd::adopt(fd);
  }

  /// The descriptors of all groups concerned.
  [[nodiscard]] result<std::vector<std::int32_t>> proofs_for_hot_reset(std::span<const std::uint32_t> owners) override {
    const std::lock_guard guard(groups_mutex_);
    forget_dead_groups();
    std::vector<std::int32_t> descriptors;
    for (const std::uint32_t owner : owners) {
      const auto ours = std::ranges::find_if(
          groups_, [owner](const auto& each) { return each->number() == static_cast<int>(owner); });
      if (ours == groups_.end()) {
        return fail(errc::busy, "VFIO_DEVICE_PCI_HOT_RESET: a device of the set is not ours");
      }
      if (std::ranges::find(descriptors, (*ours)->fd().get()) == descriptors.end()) {
        descriptors.push_back((*ours)->fd().get());
      }
    }
    return descriptors;
  }

 private:
  /// Requires: groups_mutex_ is held.
  void forget_dead_groups() noexcept {
    std::erase_if(groups_, [](const auto& each) { return !each->in_container(); });
  }
  /// False when no group is left; the kernel has then dropped every mapping.
  [[nodiscard]] bool has_iommu() noexcept {
    const std::lock_guard guard(groups_mutex_);
    forget_dead_groups();
    return !groups_.empty();
  }
  [[nodiscard]] result<type1_info> ask() {
    PADDOCK_TRY(const auto answer,
                complete_answer(fd_, uapi::vfio_iommu_get_info, uapi::vfio_iommu_type1_info{}, "VFIO_IOMMU_GET_INFO"));
    return parse_type1_info(answer);
  }

  unique_fd fd_;
  pid_t owner_{paddock::detail::process_id()};
  std::mutex groups_mutex_;
  std::vector<std::shared_ptr<group>> groups_;
};

}  // namespace detail

/// A VFIO container: devices that join it share its address space, and what is mapped once is mapped for all of them.
/// A handle; copies mean the same container. It lives as long as a handle, a device or a mapping does.
/// Thread-safety: any thread.
class container : public ioas {
 public:
  /// Errors: unsupported_by_kernel (VFIO is not loaded: /dev/vfio/vfio is missing, or of another version), permission.
  [[nodiscard]] static result<container> create() {
    auto fd = paddock::detail::open("/dev/vfio/vfio", O_RDWR, "open(/dev/vfio/vfio)");
    if (!fd) {
      return fd.error() == errc::permission
                 ? fail(fd.error())
                 : fail(error{errc::unsupported_by_kernel, fd.error().sys_errno, fd.error().where});
    }
    PADDOCK_TRY(const int version,
                paddock::detail::ioctl_once(*fd, uapi::vfio_get_api_version, 0UL, "VFIO_GET_API_VERSION"));
    if (version != uapi::vfio_api_version) {
      return fail(errc::unsupported_by_kernel, "VFIO_GET_API_VERSION");
    }
    PADDOCK_TRY(const int type1, paddock::detail::ioctl_once(*fd, uapi::vfio_check_extension, uapi::vfio_type1v2_iommu,
                                                             "VFIO_CHECK_EXTENSION"));
    if (type1 == 0) {
      return fail(errc::unsupported_by_platform, "VFIO_CHECK_EXTENSION(VFIO_TYPE1v2_IOMMU)");
    }
    return container(std::make_shared<detail::type1_space>(std::move(*fd)));
  }

 private:
  explicit container(std::shared_ptr<detail::type1_space> made) noexcept : ioas(std::move(made)) {}
};

}  // namespace PADDOCK_NAMESPACE::vfio
