// SPDX-License-Identifier: BSL-1.0
/// \file
/// Mirror of iommufd, and of VFIO's device nodes beside it. Kernel: include/uapi/linux/iommufd.h, vfio.h.
#pragma once

#include <cstdint>

#include <paddock/base/uapi/ioctl_number.hpp>
#include <paddock/base/uapi/vfio.hpp>

namespace PADDOCK_NAMESPACE::uapi {

// The numbers carry no size: each structure begins with its own.
inline constexpr unsigned long iommu_ioas_alloc_ioctl = io(';', 0x81);
inline constexpr unsigned long iommu_ioas_iova_ranges_ioctl = io(';', 0x84);
inline constexpr unsigned long iommu_ioas_map_ioctl = io(';', 0x85);
inline constexpr unsigned long iommu_ioas_unmap_ioctl = io(';', 0x86);
inline constexpr unsigned long iommu_ioas_map_file_ioctl = io(';', 0x8f);  ///< Since 6.13.

struct iommu_ioas_alloc {
  std::uint32_t size{sizeof(iommu_ioas_alloc)};
  std::uint32_t flags{0};
  std::uint32_t out_ioas_id{0};
};
struct iommu_iova_range {
  std::uint64_t start{0};
  std::uint64_t last{0};
};
struct iommu_ioas_iova_ranges {
  std::uint32_t size{sizeof(iommu_ioas_iova_ranges)};
  std::uint32_t ioas_id{0};
  std::uint32_t num_iovas{0};
  std::uint32_t reserved{0};
  std::uint64_t allowed_iovas{0};  ///< Address of iommu_iova_range[num_iovas].
  std::uint64_t out_iova_alignment{0};
};
inline constexpr std::uint32_t iommu_ioas_map_fixed_iova = 1;
inline constexpr std::uint32_t iommu_ioas_map_writeable = 2;
inline constexpr std::uint32_t iommu_ioas_map_readable = 4;
struct iommu_ioas_map {
  std::uint32_t size{sizeof(iommu_ioas_map)};
  std::uint32_t flags{0};
  std::uint32_t ioas_id{0};
  std::uint32_t reserved{0};
  std::uint64_t user_va{0};
  std::uint64_t length{0};
  std::uint64_t iova{0};
};
struct iommu_ioas_map_file {
  std::uint32_t size{sizeof(iommu_ioas_map_file)};
  std::uint32_t flags{0};
  std::uint32_t ioas_id{0};
  std::int32_t fd{-1};
  std::uint64_t start{0};
  std::uint64_t length{0};
  std::uint64_t iova{0};
};
struct iommu_ioas_unmap {
  std::uint32_t size{sizeof(iommu_ioas_unmap)};
  std::uint32_t ioas_id{0};
  std::uint64_t iova{0};
  std::uint64_t length{0};
};

inline constexpr unsigned long vfio_device_bind_iommufd_ioctl = vfio_ioctl(18);
inline constexpr unsigned long vfio_device_attach_iommufd_pt_ioctl = vfio_ioctl(19);
struct vfio_device_bind_iommufd {
  std::uint32_t argsz{sizeof(vfio_device_bind_iommufd)};
  std::uint32_t flags{0};
  std::int32_t iommufd{-1};
  std::uint32_t out_devid{0};
};
struct vfio_device_attach_iommufd_pt {
  std::uint32_t argsz{sizeof(vfio_device_attach_iommufd_pt)};
  std::uint32_t flags{0};
  std::uint32_t pt_id{0};
};
/// In the place of a group's number, where VFIO_DEVICE_GET_PCI_HOT_RESET_INFO is asked of a device's own node.
inline constexpr std::uint32_t vfio_pci_devid_owned = 0;
inline constexpr std::uint32_t vfio_pci_devid_not_owned = UINT32_MAX;

}  // namespace PADDOCK_NAMESPACE::uapi
