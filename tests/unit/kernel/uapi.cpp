// SPDX-License-Identifier: BSL-1.0
// Our mirrors of the kernel's interface against the headers of this machine. Headers differ between machines, kernels
// do not: what Debian 12's 6.1 headers lack is compared with the numbers that Linux 7.2 has.
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <linux/sync_file.h>
#include <linux/udmabuf.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>

#include <cstddef>

#include <paddock/base/uapi/dma_buf.hpp>
#include <paddock/base/uapi/dma_heap.hpp>
#include <paddock/base/uapi/futex.hpp>
#include <paddock/base/uapi/iommufd.hpp>
#include <paddock/base/uapi/membarrier.hpp>
#include <paddock/base/uapi/sync_file.hpp>
#include <paddock/base/uapi/udmabuf.hpp>
#include <paddock/base/uapi/userfaultfd.hpp>
#include <paddock/base/uapi/vfio.hpp>

#include "catch.hpp"

namespace uapi = paddock::uapi;

#define SAME_SIZE(ours, theirs) static_assert(sizeof(uapi::ours) == sizeof(struct theirs))
#define SAME_MEMBER(ours, theirs, our_member, their_member)                                 \
  static_assert(offsetof(uapi::ours, our_member) == offsetof(struct theirs, their_member)); \
  static_assert(sizeof(uapi::ours::our_member) == sizeof(decltype(theirs::their_member)))
#define SAME_FIELD(structure, member) SAME_MEMBER(structure, structure, member, member)
#define SAME_VALUE(ours, theirs) static_assert(uapi::ours == (theirs))

// --- dma-buf
SAME_SIZE(dma_buf_sync, dma_buf_sync);
SAME_FIELD(dma_buf_sync, flags);
SAME_SIZE(dma_buf_sync_file, dma_buf_export_sync_file);
SAME_SIZE(dma_buf_sync_file, dma_buf_import_sync_file);
SAME_MEMBER(dma_buf_sync_file, dma_buf_export_sync_file, flags, flags);
SAME_MEMBER(dma_buf_sync_file, dma_buf_export_sync_file, fd, fd);
SAME_MEMBER(dma_buf_sync_file, dma_buf_import_sync_file, flags, flags);
SAME_MEMBER(dma_buf_sync_file, dma_buf_import_sync_file, fd, fd);
SAME_VALUE(dma_buf_sync_read, DMA_BUF_SYNC_READ);
SAME_VALUE(dma_buf_sync_write, DMA_BUF_SYNC_WRITE);
SAME_VALUE(dma_buf_sync_start, DMA_BUF_SYNC_START);
SAME_VALUE(dma_buf_sync_end, DMA_BUF_SYNC_END);
SAME_VALUE(dma_buf_name_max, DMA_BUF_NAME_LEN - 1);
SAME_VALUE(dma_buf_ioctl_sync, DMA_BUF_IOCTL_SYNC);
SAME_VALUE(dma_buf_set_name_b, DMA_BUF_SET_NAME_B);
SAME_VALUE(dma_buf_ioctl_export_sync_file, DMA_BUF_IOCTL_EXPORT_SYNC_FILE);
SAME_VALUE(dma_buf_ioctl_import_sync_file, DMA_BUF_IOCTL_IMPORT_SYNC_FILE);
// linux/magic.h: "DMAB".
static_assert(uapi::dma_buf_magic == 0x444d4142);

// --- dma-heap
SAME_SIZE(dma_heap_allocation, dma_heap_allocation_data);
SAME_MEMBER(dma_heap_allocation, dma_heap_allocation_data, len, len);
SAME_MEMBER(dma_heap_allocation, dma_heap_allocation_data, fd, fd);
SAME_MEMBER(dma_heap_allocation, dma_heap_allocation_data, fd_flags, fd_flags);
SAME_MEMBER(dma_heap_allocation, dma_heap_allocation_data, heap_flags, heap_flags);
SAME_VALUE(dma_heap_ioctl_alloc, DMA_HEAP_IOCTL_ALLOC);

// --- udmabuf
SAME_SIZE(udmabuf_create, udmabuf_create);
SAME_FIELD(udmabuf_create, memfd);
SAME_FIELD(udmabuf_create, flags);
SAME_FIELD(udmabuf_create, offset);
SAME_FIELD(udmabuf_create, size);
SAME_SIZE(udmabuf_create_item, udmabuf_create_item);
SAME_FIELD(udmabuf_create_item, memfd);
SAME_MEMBER(udmabuf_create_item, udmabuf_create_item, pad, __pad);
SAME_FIELD(udmabuf_create_item, offset);
SAME_FIELD(udmabuf_create_item, size);
SAME_SIZE(udmabuf_create_list, udmabuf_create_list);
SAME_FIELD(udmabuf_create_list, flags);
SAME_FIELD(udmabuf_create_list, count);
static_assert(offsetof(struct udmabuf_create_list, list) == sizeof(uapi::udmabuf_create_list));
SAME_VALUE(udmabuf_flags_cloexec, UDMABUF_FLAGS_CLOEXEC);
SAME_VALUE(udmabuf_create_ioctl, UDMABUF_CREATE);
SAME_VALUE(udmabuf_create_list_ioctl, UDMABUF_CREATE_LIST);

// --- userfaultfd
SAME_VALUE(uffd_user_mode_only, UFFD_USER_MODE_ONLY);
SAME_VALUE(uffd_api, UFFD_API);
SAME_VALUE(uffd_feature_pagefault_flag_wp, UFFD_FEATURE_PAGEFAULT_FLAG_WP);
SAME_VALUE(uffd_feature_event_fork, UFFD_FEATURE_EVENT_FORK);
SAME_VALUE(uffd_feature_event_remap, UFFD_FEATURE_EVENT_REMAP);
SAME_VALUE(uffd_feature_event_remove, UFFD_FEATURE_EVENT_REMOVE);
SAME_VALUE(uffd_feature_event_unmap, UFFD_FEATURE_EVENT_UNMAP);
SAME_VALUE(uffd_feature_wp_hugetlbfs_shmem, UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
SAME_SIZE(uffdio_api, uffdio_api);
SAME_FIELD(uffdio_api, api);
SAME_FIELD(uffdio_api, features);
SAME_FIELD(uffdio_api, ioctls);
SAME_SIZE(uffdio_range, uffdio_range);
SAME_FIELD(uffdio_range, start);
SAME_FIELD(uffdio_range, len);
SAME_SIZE(uffdio_register, uffdio_register);
SAME_FIELD(uffdio_register, range);
SAME_FIELD(uffdio_register, mode);
SAME_FIELD(uffdio_register, ioctls);
SAME_VALUE(uffdio_register_mode_wp, UFFDIO_REGISTER_MODE_WP);
SAME_VALUE(uffdio_api_ioctl, UFFDIO_API);
SAME_VALUE(uffdio_register_ioctl, UFFDIO_REGISTER);
SAME_VALUE(uffdio_unregister_ioctl, UFFDIO_UNREGISTER);
SAME_VALUE(uffd_event_fork, UFFD_EVENT_FORK);
SAME_VALUE(uffd_event_remap, UFFD_EVENT_REMAP);
SAME_VALUE(uffd_event_remove, UFFD_EVENT_REMOVE);
SAME_VALUE(uffd_event_unmap, UFFD_EVENT_UNMAP);
SAME_SIZE(uffd_msg, uffd_msg);
SAME_FIELD(uffd_msg, event);
static_assert(offsetof(uapi::uffd_msg, words) == offsetof(struct uffd_msg, arg));
static_assert(offsetof(struct uffd_msg, arg.fork.ufd) == offsetof(struct uffd_msg, arg));
static_assert(offsetof(struct uffd_msg, arg.remap.to) == offsetof(uapi::uffd_msg, words) + 8);
static_assert(offsetof(struct uffd_msg, arg.remap.len) == offsetof(uapi::uffd_msg, words) + 16);
static_assert(offsetof(struct uffd_msg, arg.remove.end) == offsetof(uapi::uffd_msg, words) + 8);

// --- sync_file
SAME_SIZE(sync_merge_data, sync_merge_data);
SAME_FIELD(sync_merge_data, name);
SAME_FIELD(sync_merge_data, fd2);
SAME_FIELD(sync_merge_data, fence);
SAME_FIELD(sync_merge_data, flags);
SAME_FIELD(sync_merge_data, pad);
SAME_SIZE(sync_fence_info, sync_fence_info);
SAME_FIELD(sync_fence_info, obj_name);
SAME_FIELD(sync_fence_info, driver_name);
SAME_FIELD(sync_fence_info, status);
SAME_FIELD(sync_fence_info, flags);
SAME_FIELD(sync_fence_info, timestamp_ns);
SAME_SIZE(sync_file_info, sync_file_info);
SAME_FIELD(sync_file_info, name);
SAME_FIELD(sync_file_info, status);
SAME_FIELD(sync_file_info, flags);
SAME_FIELD(sync_file_info, num_fences);
SAME_FIELD(sync_file_info, pad);
SAME_FIELD(sync_file_info, sync_fence_info);
SAME_VALUE(sync_ioc_merge, SYNC_IOC_MERGE);
SAME_VALUE(sync_ioc_file_info, SYNC_IOC_FILE_INFO);
// Not in the 6.1 headers; Linux 7.2.
static_assert(uapi::sync_ioc_set_deadline == 0x40103e05);
static_assert(sizeof(uapi::sync_set_deadline) == 16 && offsetof(uapi::sync_set_deadline, deadline_ns) == 0 &&
              offsetof(uapi::sync_set_deadline, pad) == 8);

// --- VFIO
SAME_VALUE(vfio_api_version, VFIO_API_VERSION);
SAME_VALUE(vfio_type1v2_iommu, VFIO_TYPE1v2_IOMMU);
SAME_VALUE(vfio_unmap_all, VFIO_UNMAP_ALL);
SAME_VALUE(vfio_get_api_version, VFIO_GET_API_VERSION);
SAME_VALUE(vfio_check_extension, VFIO_CHECK_EXTENSION);
SAME_VALUE(vfio_set_iommu, VFIO_SET_IOMMU);
SAME_VALUE(vfio_group_get_status, VFIO_GROUP_GET_STATUS);
SAME_VALUE(vfio_group_set_container, VFIO_GROUP_SET_CONTAINER);
SAME_VALUE(vfio_group_unset_container, VFIO_GROUP_UNSET_CONTAINER);
SAME_VALUE(vfio_group_get_device_fd, VFIO_GROUP_GET_DEVICE_FD);
SAME_VALUE(vfio_device_get_info, VFIO_DEVICE_GET_INFO);
SAME_VALUE(vfio_device_get_region_info, VFIO_DEVICE_GET_REGION_INFO);
SAME_VALUE(vfio_device_get_irq_info, VFIO_DEVICE_GET_IRQ_INFO);
SAME_VALUE(vfio_device_set_irqs, VFIO_DEVICE_SET_IRQS);
SAME_VALUE(vfio_device_reset, VFIO_DEVICE_RESET);
SAME_VALUE(vfio_device_get_pci_hot_reset_info, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO);
SAME_VALUE(vfio_device_pci_hot_reset, VFIO_DEVICE_PCI_HOT_RESET);
SAME_VALUE(vfio_device_feature, VFIO_DEVICE_FEATURE);
SAME_VALUE(vfio_iommu_get_info, VFIO_IOMMU_GET_INFO);
SAME_VALUE(vfio_iommu_map_dma, VFIO_IOMMU_MAP_DMA);
SAME_VALUE(vfio_iommu_unmap_dma, VFIO_IOMMU_UNMAP_DMA);
static_assert(uapi::vfio_device_feature == 0x3b75);

SAME_SIZE(vfio_info_cap_header, vfio_info_cap_header);
SAME_FIELD(vfio_info_cap_header, id);
SAME_FIELD(vfio_info_cap_header, version);
SAME_FIELD(vfio_info_cap_header, next);
SAME_SIZE(vfio_group_status, vfio_group_status);
SAME_FIELD(vfio_group_status, argsz);
SAME_FIELD(vfio_group_status, flags);
SAME_VALUE(vfio_group_flags_viable, VFIO_GROUP_FLAGS_VIABLE);
SAME_VALUE(vfio_group_flags_container_set, VFIO_GROUP_FLAGS_CONTAINER_SET);

// 6.1 ends at cap_offset, later headers add the padding that argsz 24 covers.
static_assert(sizeof(uapi::vfio_device_info) == 24 && sizeof(struct vfio_device_info) <= 24);
SAME_FIELD(vfio_device_info, argsz);
SAME_FIELD(vfio_device_info, flags);
SAME_FIELD(vfio_device_info, num_regions);
SAME_FIELD(vfio_device_info, num_irqs);
SAME_FIELD(vfio_device_info, cap_offset);
SAME_VALUE(vfio_device_flags_reset, VFIO_DEVICE_FLAGS_RESET);
SAME_VALUE(vfio_device_flags_pci, VFIO_DEVICE_FLAGS_PCI);

SAME_SIZE(vfio_region_info, vfio_region_info);
SAME_FIELD(vfio_region_info, argsz);
SAME_FIELD(vfio_region_info, flags);
SAME_FIELD(vfio_region_info, index);
SAME_FIELD(vfio_region_info, cap_offset);
SAME_FIELD(vfio_region_info, size);
SAME_FIELD(vfio_region_info, offset);
SAME_VALUE(vfio_region_info_flag_read, VFIO_REGION_INFO_FLAG_READ);
SAME_VALUE(vfio_region_info_flag_write, VFIO_REGION_INFO_FLAG_WRITE);
SAME_VALUE(vfio_region_info_flag_mmap, VFIO_REGION_INFO_FLAG_MMAP);
SAME_VALUE(vfio_region_info_flag_caps, VFIO_REGION_INFO_FLAG_CAPS);
SAME_VALUE(vfio_region_info_cap_sparse_mmap, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
SAME_VALUE(vfio_region_info_cap_type, VFIO_REGION_INFO_CAP_TYPE);
SAME_VALUE(vfio_region_info_cap_msix_mappable, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE);
SAME_SIZE(vfio_region_sparse_mmap_area, vfio_region_sparse_mmap_area);
SAME_FIELD(vfio_region_sparse_mmap_area, offset);
SAME_FIELD(vfio_region_sparse_mmap_area, size);
SAME_SIZE(vfio_region_info_cap_type_body, vfio_region_info_cap_type);
SAME_MEMBER(vfio_region_info_cap_type_body, vfio_region_info_cap_type, subtype, subtype);
SAME_SIZE(vfio_region_info_cap_sparse, vfio_region_info_cap_sparse_mmap);
SAME_MEMBER(vfio_region_info_cap_sparse, vfio_region_info_cap_sparse_mmap, nr_areas, nr_areas);
SAME_VALUE(vfio_pci_rom_region_index, VFIO_PCI_ROM_REGION_INDEX);
SAME_VALUE(vfio_pci_config_region_index, VFIO_PCI_CONFIG_REGION_INDEX);
SAME_VALUE(vfio_pci_num_regions, VFIO_PCI_NUM_REGIONS);
SAME_VALUE(vfio_pci_intx_irq_index, VFIO_PCI_INTX_IRQ_INDEX);
SAME_VALUE(vfio_pci_msi_irq_index, VFIO_PCI_MSI_IRQ_INDEX);
SAME_VALUE(vfio_pci_msix_irq_index, VFIO_PCI_MSIX_IRQ_INDEX);
SAME_VALUE(vfio_pci_err_irq_index, VFIO_PCI_ERR_IRQ_INDEX);
SAME_VALUE(vfio_pci_req_irq_index, VFIO_PCI_REQ_IRQ_INDEX);

SAME_SIZE(vfio_irq_info, vfio_irq_info);
SAME_FIELD(vfio_irq_info, argsz);
SAME_FIELD(vfio_irq_info, flags);
SAME_FIELD(vfio_irq_info, index);
SAME_FIELD(vfio_irq_info, count);
SAME_VALUE(vfio_irq_info_eventfd, VFIO_IRQ_INFO_EVENTFD);
SAME_VALUE(vfio_irq_info_maskable, VFIO_IRQ_INFO_MASKABLE);
SAME_VALUE(vfio_irq_info_automasked, VFIO_IRQ_INFO_AUTOMASKED);
SAME_VALUE(vfio_irq_info_noresize, VFIO_IRQ_INFO_NORESIZE);
SAME_SIZE(vfio_irq_set, vfio_irq_set);
SAME_FIELD(vfio_irq_set, argsz);
SAME_FIELD(vfio_irq_set, flags);
SAME_FIELD(vfio_irq_set, index);
SAME_FIELD(vfio_irq_set, start);
SAME_FIELD(vfio_irq_set, count);
static_assert(offsetof(struct vfio_irq_set, data) == sizeof(uapi::vfio_irq_set));
SAME_VALUE(vfio_irq_set_data_none, VFIO_IRQ_SET_DATA_NONE);
SAME_VALUE(vfio_irq_set_data_bool, VFIO_IRQ_SET_DATA_BOOL);
SAME_VALUE(vfio_irq_set_data_eventfd, VFIO_IRQ_SET_DATA_EVENTFD);
SAME_VALUE(vfio_irq_set_action_mask, VFIO_IRQ_SET_ACTION_MASK);
SAME_VALUE(vfio_irq_set_action_unmask, VFIO_IRQ_SET_ACTION_UNMASK);
SAME_VALUE(vfio_irq_set_action_trigger, VFIO_IRQ_SET_ACTION_TRIGGER);

SAME_SIZE(vfio_iommu_type1_info, vfio_iommu_type1_info);
SAME_FIELD(vfio_iommu_type1_info, argsz);
SAME_FIELD(vfio_iommu_type1_info, flags);
SAME_FIELD(vfio_iommu_type1_info, iova_pgsizes);
SAME_FIELD(vfio_iommu_type1_info, cap_offset);
SAME_VALUE(vfio_iommu_info_pgsizes, VFIO_IOMMU_INFO_PGSIZES);
SAME_VALUE(vfio_iommu_info_caps, VFIO_IOMMU_INFO_CAPS);
SAME_VALUE(vfio_iommu_type1_info_cap_iova_range, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
SAME_VALUE(vfio_iommu_type1_info_cap_dma_avail, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
SAME_SIZE(vfio_iova_range, vfio_iova_range);
SAME_FIELD(vfio_iova_range, start);
SAME_FIELD(vfio_iova_range, end);
SAME_SIZE(vfio_iommu_type1_cap_iova_range, vfio_iommu_type1_info_cap_iova_range);
SAME_MEMBER(vfio_iommu_type1_cap_iova_range, vfio_iommu_type1_info_cap_iova_range, nr_iovas, nr_iovas);
SAME_SIZE(vfio_iommu_type1_cap_dma_avail, vfio_iommu_type1_info_dma_avail);
SAME_MEMBER(vfio_iommu_type1_cap_dma_avail, vfio_iommu_type1_info_dma_avail, avail, avail);

SAME_SIZE(vfio_iommu_type1_dma_map, vfio_iommu_type1_dma_map);
SAME_FIELD(vfio_iommu_type1_dma_map, argsz);
SAME_FIELD(vfio_iommu_type1_dma_map, flags);
SAME_FIELD(vfio_iommu_type1_dma_map, vaddr);
SAME_FIELD(vfio_iommu_type1_dma_map, iova);
SAME_FIELD(vfio_iommu_type1_dma_map, size);
SAME_VALUE(vfio_dma_map_flag_read, VFIO_DMA_MAP_FLAG_READ);
SAME_VALUE(vfio_dma_map_flag_write, VFIO_DMA_MAP_FLAG_WRITE);
SAME_SIZE(vfio_iommu_type1_dma_unmap, vfio_iommu_type1_dma_unmap);
SAME_FIELD(vfio_iommu_type1_dma_unmap, argsz);
SAME_FIELD(vfio_iommu_type1_dma_unmap, flags);
SAME_FIELD(vfio_iommu_type1_dma_unmap, iova);
SAME_FIELD(vfio_iommu_type1_dma_unmap, size);

SAME_SIZE(vfio_pci_dependent_device, vfio_pci_dependent_device);
SAME_FIELD(vfio_pci_dependent_device, segment);
SAME_FIELD(vfio_pci_dependent_device, bus);
SAME_FIELD(vfio_pci_dependent_device, devfn);
SAME_SIZE(vfio_pci_hot_reset_info, vfio_pci_hot_reset_info);
SAME_FIELD(vfio_pci_hot_reset_info, argsz);
SAME_FIELD(vfio_pci_hot_reset_info, flags);
SAME_FIELD(vfio_pci_hot_reset_info, count);
SAME_SIZE(vfio_pci_hot_reset, vfio_pci_hot_reset);
SAME_FIELD(vfio_pci_hot_reset, argsz);
SAME_FIELD(vfio_pci_hot_reset, flags);
SAME_FIELD(vfio_pci_hot_reset, count);

SAME_SIZE(vfio_device_feature_header, vfio_device_feature);
SAME_MEMBER(vfio_device_feature_header, vfio_device_feature, argsz, argsz);
SAME_MEMBER(vfio_device_feature_header, vfio_device_feature, flags, flags);
SAME_VALUE(vfio_device_feature_get, VFIO_DEVICE_FEATURE_GET);
SAME_VALUE(vfio_device_feature_set, VFIO_DEVICE_FEATURE_SET);
SAME_VALUE(vfio_device_feature_probe, VFIO_DEVICE_FEATURE_PROBE);

SAME_VALUE(membarrier_private_expedited, MEMBARRIER_CMD_PRIVATE_EXPEDITED);
SAME_VALUE(membarrier_register_private_expedited, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);

// Not in the 6.1 headers; Linux 7.2.
static_assert(uapi::vfio_device_feature_dma_buf == 11);
static_assert(sizeof(uapi::vfio_device_feature_dma_buf_head) == 16 &&
              offsetof(uapi::vfio_device_feature_dma_buf_head, region_index) == 0 &&
              offsetof(uapi::vfio_device_feature_dma_buf_head, open_flags) == 4 &&
              offsetof(uapi::vfio_device_feature_dma_buf_head, flags) == 8 &&
              offsetof(uapi::vfio_device_feature_dma_buf_head, nr_ranges) == 12);
static_assert(sizeof(uapi::vfio_region_dma_range) == 16 && offsetof(uapi::vfio_region_dma_range, length) == 8);

TEST_CASE("every structure of ours is zero but for what the kernel wants otherwise") {
  CHECK(uapi::sync_merge_data{}.pad == 0);
  CHECK(uapi::sync_file_info{}.sync_fence_info == 0);
  CHECK(uapi::dma_heap_allocation{}.fd == 0);
  CHECK(uapi::udmabuf_create_item{}.pad == 0);
  CHECK(uapi::vfio_device_info{}.argsz == sizeof(uapi::vfio_device_info));
}

TEST_CASE("the mirrors of iommufd, which these headers do not have, have the sizes and numbers of Linux 7.2") {
  CHECK(sizeof(uapi::iommu_ioas_alloc) == 12);
  CHECK(sizeof(uapi::iommu_ioas_iova_ranges) == 32);
  CHECK(sizeof(uapi::iommu_ioas_map) == 40);
  CHECK(sizeof(uapi::iommu_ioas_map_file) == 40);
  CHECK(sizeof(uapi::iommu_ioas_unmap) == 24);
  CHECK(sizeof(uapi::vfio_device_bind_iommufd) == 16);
  CHECK(uapi::iommu_ioas_map_file_ioctl == 0x3b8f);
  CHECK(uapi::vfio_device_bind_iommufd_ioctl == 0x3b76);
}
