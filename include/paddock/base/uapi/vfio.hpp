// SPDX-License-Identifier: BSL-1.0
/// \file
/// Mirror of the VFIO interface: groups, the type1 container, PCI devices. Kernel: include/uapi/linux/vfio.h.
/// VFIO ioctls carry no size in their number: each structure begins with `argsz` instead.
#pragma once

#include <cstdint>

#include <paddock/base/uapi/ioctl_number.hpp>

namespace PADDOCK_NAMESPACE::uapi {

inline constexpr int vfio_api_version = 0;
inline constexpr unsigned long vfio_type1v2_iommu = 3;
inline constexpr unsigned long vfio_unmap_all = 9;

constexpr unsigned long vfio_ioctl(unsigned long number) noexcept { return io(';', 100 + number); }

inline constexpr unsigned long vfio_get_api_version = vfio_ioctl(0);
inline constexpr unsigned long vfio_check_extension = vfio_ioctl(1);
inline constexpr unsigned long vfio_set_iommu = vfio_ioctl(2);
inline constexpr unsigned long vfio_group_get_status = vfio_ioctl(3);
inline constexpr unsigned long vfio_group_set_container = vfio_ioctl(4);
inline constexpr unsigned long vfio_group_unset_container = vfio_ioctl(5);
inline constexpr unsigned long vfio_group_get_device_fd = vfio_ioctl(6);
inline constexpr unsigned long vfio_device_get_info = vfio_ioctl(7);
inline constexpr unsigned long vfio_device_get_region_info = vfio_ioctl(8);
inline constexpr unsigned long vfio_device_get_irq_info = vfio_ioctl(9);
inline constexpr unsigned long vfio_device_set_irqs = vfio_ioctl(10);
inline constexpr unsigned long vfio_device_reset = vfio_ioctl(11);
inline constexpr unsigned long vfio_iommu_get_info = vfio_ioctl(12);
inline constexpr unsigned long vfio_device_get_pci_hot_reset_info = vfio_ioctl(12);
inline constexpr unsigned long vfio_iommu_map_dma = vfio_ioctl(13);
inline constexpr unsigned long vfio_device_pci_hot_reset = vfio_ioctl(13);
inline constexpr unsigned long vfio_iommu_unmap_dma = vfio_ioctl(14);
inline constexpr unsigned long vfio_device_feature = vfio_ioctl(17);

/// The head of every entry in a capability chain; `next` is an offset from the start of the info structure.
struct vfio_info_cap_header {
  std::uint16_t id{0};
  std::uint16_t version{0};
  std::uint32_t next{0};
};

struct vfio_group_status {
  std::uint32_t argsz{sizeof(vfio_group_status)};
  std::uint32_t flags{0};
};
inline constexpr std::uint32_t vfio_group_flags_viable = 1;
inline constexpr std::uint32_t vfio_group_flags_container_set = 2;

struct vfio_device_info {
  std::uint32_t argsz{sizeof(vfio_device_info)};
  std::uint32_t flags{0};
  std::uint32_t num_regions{0};
  std::uint32_t num_irqs{0};
  std::uint32_t cap_offset{0};
  std::uint32_t pad{0};
};
inline constexpr std::uint32_t vfio_device_flags_reset = 1;
inline constexpr std::uint32_t vfio_device_flags_pci = 2;

struct vfio_region_info {
  std::uint32_t argsz{sizeof(vfio_region_info)};
  std::uint32_t flags{0};
  std::uint32_t index{0};
  std::uint32_t cap_offset{0};
  std::uint64_t size{0};
  std::uint64_t offset{0};
};
inline constexpr std::uint32_t vfio_region_info_flag_read = 1;
inline constexpr std::uint32_t vfio_region_info_flag_write = 2;
inline constexpr std::uint32_t vfio_region_info_flag_mmap = 4;
inline constexpr std::uint32_t vfio_region_info_flag_caps = 8;
inline constexpr std::uint16_t vfio_region_info_cap_sparse_mmap = 1;
inline constexpr std::uint16_t vfio_region_info_cap_type = 2;
inline constexpr std::uint16_t vfio_region_info_cap_msix_mappable = 3;

struct vfio_region_sparse_mmap_area {
  std::uint64_t offset{0};
  std::uint64_t size{0};
};
/// Followed by `nr_areas` areas.
struct vfio_region_info_cap_sparse {
  vfio_info_cap_header header{};
  std::uint32_t nr_areas{0};
  std::uint32_t reserved{0};
};

struct vfio_region_info_cap_type_body {
  vfio_info_cap_header header{};
  std::uint32_t type{0};
  std::uint32_t subtype{0};
};

inline constexpr std::uint32_t vfio_pci_rom_region_index = 6;
inline constexpr std::uint32_t vfio_pci_config_region_index = 7;
inline constexpr std::uint32_t vfio_pci_num_regions = 9;

inline constexpr std::uint32_t vfio_pci_intx_irq_index = 0;
inline constexpr std::uint32_t vfio_pci_msi_irq_index = 1;
inline constexpr std::uint32_t vfio_pci_msix_irq_index = 2;
inline constexpr std::uint32_t vfio_pci_err_irq_index = 3;
inline constexpr std::uint32_t vfio_pci_req_irq_index = 4;

struct vfio_irq_info {
  std::uint32_t argsz{sizeof(vfio_irq_info)};
  std::uint32_t flags{0};
  std::uint32_t index{0};
  std::uint32_t count{0};
};
inline constexpr std::uint32_t vfio_irq_info_eventfd = 1;
inline constexpr std::uint32_t vfio_irq_info_maskable = 2;
inline constexpr std::uint32_t vfio_irq_info_automasked = 4;
inline constexpr std::uint32_t vfio_irq_info_noresize = 8;

/// Followed by `count` elements of the kind that the DATA flag names.
struct vfio_irq_set {
  std::uint32_t argsz{sizeof(vfio_irq_set)};
  std::uint32_t flags{0};
  std::uint32_t index{0};
  std::uint32_t start{0};
  std::uint32_t count{0};
};
inline constexpr std::uint32_t vfio_irq_set_data_none = 1;
inline constexpr std::uint32_t vfio_irq_set_data_bool = 2;
inline constexpr std::uint32_t vfio_irq_set_data_eventfd = 4;
inline constexpr std::uint32_t vfio_irq_set_action_mask = 8;
inline constexpr std::uint32_t vfio_irq_set_action_unmask = 16;
inline constexpr std::uint32_t vfio_irq_set_action_trigger = 32;

struct vfio_iommu_type1_info {
  std::uint32_t argsz{sizeof(vfio_iommu_type1_info)};
  std::uint32_t flags{0};
  std::uint64_t iova_pgsizes{0};
  std::uint32_t cap_offset{0};
  std::uint32_t pad{0};
};
inline constexpr std::uint32_t vfio_iommu_info_pgsizes = 1;
inline constexpr std::uint32_t vfio_iommu_info_caps = 2;
inline constexpr std::uint16_t vfio_iommu_type1_info_cap_iova_range = 1;
inline constexpr std::uint16_t vfio_iommu_type1_info_cap_dma_avail = 3;

/// Both ends inclusive.
struct vfio_iova_range {
  std::uint64_t start{0};
  std::uint64_t end{0};
};
/// Followed by `nr_iovas` ranges.
struct vfio_iommu_type1_cap_iova_range {
  vfio_info_cap_header header{};
  std::uint32_t nr_iovas{0};
  std::uint32_t reserved{0};
};
struct vfio_iommu_type1_cap_dma_avail {
  vfio_info_cap_header header{};
  std::uint32_t avail{0};
};

struct vfio_iommu_type1_dma_map {
  std::uint32_t argsz{sizeof(vfio_iommu_type1_dma_map)};
  std::uint32_t flags{0};
  std::uint64_t vaddr{0};
  std::uint64_t iova{0};
  std::uint64_t size{0};
};
inline constexpr std::uint32_t vfio_dma_map_flag_read = 1;   ///< The device may read.
inline constexpr std::uint32_t vfio_dma_map_flag_write = 2;  ///< The device may write.

struct vfio_iommu_type1_dma_unmap {
  std::uint32_t argsz{sizeof(vfio_iommu_type1_dma_unmap)};
  std::uint32_t flags{0};
  std::uint64_t iova{0};
  std::uint64_t size{0};
};

/// One affected device of a hot reset.
struct vfio_pci_dependent_device {
  std::uint32_t group_id{0};
  std::uint16_t segment{0};
  std::uint8_t bus{0};
  std::uint8_t devfn{0};
};
/// Followed by `count` devices.
struct vfio_pci_hot_reset_info {
  std::uint32_t argsz{sizeof(vfio_pci_hot_reset_info)};
  std::uint32_t flags{0};
  std::uint32_t count{0};
};
/// Followed by `count` group descriptors (s32).
struct vfio_pci_hot_reset {
  std::uint32_t argsz{sizeof(vfio_pci_hot_reset)};
  std::uint32_t flags{0};
  std::uint32_t count{0};
};

/// Followed by the feature's own structure.
struct vfio_device_feature_header {
  std::uint32_t argsz{sizeof(vfio_device_feature_header)};
  std::uint32_t flags{0};
};
inline constexpr std::uint32_t vfio_device_feature_get = 1U << 16U;
inline constexpr std::uint32_t vfio_device_feature_set = 1U << 17U;
inline constexpr std::uint32_t vfio_device_feature_probe = 1U << 18U;
inline constexpr std::uint32_t vfio_device_feature_dma_buf = 11;

struct vfio_region_dma_range {
  std::uint64_t offset{0};
  std::uint64_t length{0};
};
/// Followed by `nr_ranges` ranges.
struct vfio_device_feature_dma_buf_head {
  std::uint32_t region_index{0};
  std::uint32_t open_flags{0};
  std::uint32_t flags{0};
  std::uint32_t nr_ranges{0};
};

}  // namespace PADDOCK_NAMESPACE::uapi
