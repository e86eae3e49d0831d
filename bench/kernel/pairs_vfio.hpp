// SPDX-License-Identifier: BSL-1.0
/// \file
/// The wrappers of vfio/. A reset is left out: it sleeps, and a clock that counts instructions goes on meanwhile.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>

#include <paddock/base/uapi/iommufd.hpp>
#include <paddock/base/uapi/vfio.hpp>
#include <paddock/kernel/memfd.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/device.hpp>
#include <paddock/vfio/iommufd.hpp>

#include "../support/clock.hpp"
#include "ioctl_pair.hpp"

namespace paddock::bench::pairs {

constexpr std::uint64_t small = 4096;
constexpr std::uint64_t large = std::uint64_t{2} << 20U;
constexpr iova where(std::uint64_t{1} << 30U);

/// An address space of whom the descriptor is known, and a device in it.
class known_space : public vfio::ioas {
 public:
  known_space(std::shared_ptr<vfio::detail::address_space> made, int of) noexcept : ioas(std::move(made)), fd(of) {}
  [[nodiscard]] vfio::detail::address_space& calls() const noexcept { return *ioas::space(); }
  const int fd;
};
struct attached {
  known_space space;
  vfio::device device;

  [[nodiscard]] static result<attached> make(known_space in, const char* variable) {
    const char* const text = std::getenv(variable);
    if (text == nullptr) {
      return fail(errc::not_found, "no device for VFIO here");
    }
    PADDOCK_TRY(const pci::address address, pci::address::parse(text));
    PADDOCK_TRY(vfio::device opened, vfio::device::open(in, address));
    return attached{std::move(in), std::move(opened)};
  }
};

inline const result<attached>& by_container() {
  static const result<attached> made = []() -> result<attached> {
    PADDOCK_TRY(unique_fd file, paddock::detail::open("/dev/vfio/vfio", O_RDWR, "no VFIO here"));
    const int fd = file.get();
    return attached::make(known_space(std::make_shared<vfio::detail::type1_space>(std::move(file)), fd),
                          "PADDOCK_DEV_EDU");
  }();
  return made;
}
inline std::uint32_t iommufd_id = 0;
inline const result<attached>& by_iommufd() {
  static const result<attached> made = []() -> result<attached> {
    PADDOCK_TRY(unique_fd file, paddock::detail::open("/dev/iommu", O_RDWR, "no iommufd here"));
    const int fd = file.get();
    uapi::iommu_ioas_alloc request;
    PADDOCK_TRY_VOID(
        paddock::detail::ioctl_once(file, uapi::iommu_ioas_alloc_ioctl, &request, "no address space of iommufd here"));
    iommufd_id = request.out_ioas_id;
    return attached::make(known_space(std::make_shared<vfio::detail::iommufd_space>(std::move(file), iommufd_id), fd),
                          "PADDOCK_DEV_IVSHMEM");
  }();
  return made;
}

/// Memory that is there, and what is mapped of it.
struct memory_pair : ioctl_pair {
  const kernel::memfd file = there(kernel::memfd::create(large, "bench"));
  const kernel::mapped_memory bytes = [this] {
    auto made = there(file.map());
    std::memset(made.bytes().data(), 1, made.bytes().size());
    return made;
  }();
  [[nodiscard]] std::span<std::byte> first(std::uint64_t size) const { return bytes.bytes().first(size); }
};

// --- a container
// ------------------------------------------------------------------------------------------------------

template <std::uint64_t Size>
struct container_pair : memory_pair {
  [[nodiscard]] static const char* lacking() { return by_container() ? nullptr : by_container().error().where; }
  [[nodiscard]] int map_raw() const {
    uapi::vfio_iommu_type1_dma_map argument{};
    argument.flags = uapi::vfio_dma_map_flag_read | uapi::vfio_dma_map_flag_write;
    argument.vaddr = reinterpret_cast<std::uintptr_t>(first(Size).data());
    argument.iova = where.value();
    argument.size = Size;
    return ::ioctl(fd, uapi::vfio_iommu_map_dma, &argument);
  }
  [[nodiscard]] int unmap_raw() const {
    uapi::vfio_iommu_type1_dma_unmap argument{};
    argument.iova = where.value();
    argument.size = Size;
    return ::ioctl(fd, uapi::vfio_iommu_unmap_dma, &argument);
  }
  [[nodiscard]] vfio::detail::address_space& calls() const { return by_container()->space.calls(); }
  const int fd = by_container()->space.fd;
};

template <std::uint64_t Size>
struct map_dma : container_pair<Size> {
  void prepare() {
    if (std::exchange(this->is_mapped, true)) {
      must_succeed(this->unmap_raw());
    }
  }
  ~map_dma() { must_succeed(this->unmap_raw()); }
  [[nodiscard]] result<void> wrapped() const {
    return this->calls().map_pages(this->first(Size).data(), where, Size, direction::bidirectional);
  }
  [[nodiscard]] int raw() const { return this->map_raw(); }
  bool is_mapped{false};
};
template <std::uint64_t Size>
struct unmap_dma : container_pair<Size> {
  void prepare() const { must_succeed(this->map_raw()); }
  [[nodiscard]] result<void> wrapped() const { return this->calls().unmap_pages(where, Size); }
  [[nodiscard]] int raw() const { return this->unmap_raw(); }
};
/// What a program calls: it also finds the address, keeps a record of the mapping, and can revoke it.
template <std::uint64_t Size>
struct map_memory : container_pair<Size> {
  struct mapped_raw {
    explicit mapped_raw(const map_memory& by) noexcept : of(by), answer(by.map_raw()) {}
    mapped_raw(const mapped_raw&) = delete;
    mapped_raw& operator=(const mapped_raw&) = delete;
    ~mapped_raw() { must_succeed(of.unmap_raw()); }
    friend void must_succeed(const mapped_raw& made) { pairs::must_succeed(made.answer); }
    const map_memory& of;
    int answer;
  };
  [[nodiscard]] result<vfio::dma_mapping> wrapped() { return all.map(this->first(Size)); }
  [[nodiscard]] mapped_raw raw() const { return mapped_raw(*this); }
  known_space all = by_container()->space;
};

struct read_config : ioctl_pair {
  [[nodiscard]] static const char* lacking() { return container_pair<small>::lacking(); }
  [[nodiscard]] result<std::uint16_t> wrapped() const { return device.read_config<std::uint16_t>(4); }
  [[nodiscard]] int raw() const {
    std::uint16_t value = 0;
    const ssize_t got = ::pread(fd, &value, sizeof value, static_cast<off_t>(offset + 4));
    keep(value);
    return got == sizeof value ? 0 : -1;
  }
  const vfio::device& device = by_container()->device;
  const int fd = there(device.state()->with_fd([](borrowed_fd open) -> result<int> { return open.get(); }));
  const std::uint64_t offset = device.regions()[uapi::vfio_pci_config_region_index].file_offset;
};
struct describe_irq : read_config {
  [[nodiscard]] result<vfio::irq_info> wrapped() const { return device.describe_irq(vfio::irq_kind::msi); }
  [[nodiscard]] int raw() const {
    uapi::vfio_irq_info argument{};
    argument.index = uapi::vfio_pci_msi_irq_index;
    return ::ioctl(fd, uapi::vfio_device_get_irq_info, &argument);
  }
};
/// Needs a kernel that exports BARs.
struct export_bar : read_config {
  [[nodiscard]] static const char* lacking() {
    if (const char* const nothing = read_config::lacking(); nothing != nullptr) {
      return nothing;
    }
    return by_container()->device.state()->export_range(0, 0, small) ? nullptr : "no dma-bufs of BARs here";
  }
  [[nodiscard]] result<unique_fd> wrapped() const { return device.state()->export_range(0, 0, small); }
  [[nodiscard]] unique_fd raw() const {
    struct {
      uapi::vfio_device_feature_header header;
      uapi::vfio_device_feature_dma_buf_head body;
      uapi::vfio_region_dma_range range;
    } argument;
    argument.header.argsz = sizeof argument;
    argument.header.flags = uapi::vfio_device_feature_get | uapi::vfio_device_feature_dma_buf;
    argument.body.open_flags = O_RDWR | O_CLOEXEC;
    argument.body.nr_ranges = 1;
    argument.range.length = small;
    return unique_fd::adopt(::ioctl(fd, uapi::vfio_device_feature, &argument));
  }
};
struct trigger_irq : read_config {
  [[nodiscard]] result<void> wrapped() { return enabled.trigger(0); }
  [[nodiscard]] int raw() const {
    uapi::vfio_irq_set argument{};
    argument.flags = uapi::vfio_irq_set_data_none | uapi::vfio_irq_set_action_trigger;
    argument.index = uapi::vfio_pci_msi_irq_index;
    argument.count = 1;
    return ::ioctl(fd, uapi::vfio_device_set_irqs, &argument);
  }
  vfio::irq enabled = there(vfio::irq::enable(device.state(), vfio::irq_kind::msi, 1));
};

// --- iommufd
// ----------------------------------------------------------------------------------------------------------

template <std::uint64_t Size>
struct iommufd_pair : memory_pair {
  static constexpr std::uint32_t flags =
      uapi::iommu_ioas_map_fixed_iova | uapi::iommu_ioas_map_writeable | uapi::iommu_ioas_map_readable;
  [[nodiscard]] static const char* lacking() { return by_iommufd() ? nullptr : by_iommufd().error().where; }
  [[nodiscard]] int map_raw() const {
    uapi::iommu_ioas_map argument{};
    argument.flags = flags;
    argument.ioas_id = iommufd_id;
    argument.user_va = reinterpret_cast<std::uintptr_t>(first(Size).data());
    argument.length = Size;
    argument.iova = where.value();
    return ::ioctl(fd, uapi::iommu_ioas_map_ioctl, &argument);
  }
  [[nodiscard]] int map_file_raw() const {
    uapi::iommu_ioas_map_file argument{};
    argument.flags = flags;
    argument.ioas_id = iommufd_id;
    argument.fd = file.fd().get();
    argument.length = Size;
    argument.iova = where.value();
    return ::ioctl(fd, uapi::iommu_ioas_map_file_ioctl, &argument);
  }
  [[nodiscard]] int unmap_raw() const {
    uapi::iommu_ioas_unmap argument{};
    argument.ioas_id = iommufd_id;
    argument.iova = where.value();
    argument.length = Size;
    return ::ioctl(fd, uapi::iommu_ioas_unmap_ioctl, &argument);
  }
  [[nodiscard]] vfio::detail::address_space& calls() const { return by_iommufd()->space.calls(); }
  const int fd = by_iommufd()->space.fd;
};

template <std::uint64_t Size>
struct ioas_map : iommufd_pair<Size> {
  void prepare() {
    if (std::exchange(is_mapped, true)) {
      must_succeed(this->unmap_raw());
    }
  }
  ~ioas_map() { must_succeed(this->unmap_raw()); }
  [[nodiscard]] result<void> wrapped() const {
    return this->calls().map_pages(this->first(Size).data(), where, Size, direction::bidirectional);
  }
  [[nodiscard]] int raw() const { return this->map_raw(); }
  bool is_mapped{false};
};
template <std::uint64_t Size>
struct ioas_map_file : ioas_map<Size> {
  [[nodiscard]] result<void> wrapped() const {
    return this->calls().map_piece({.file = this->file.fd(), .length = Size}, where, direction::bidirectional);
  }
  [[nodiscard]] int raw() const { return this->map_file_raw(); }
};
template <std::uint64_t Size>
struct ioas_unmap : iommufd_pair<Size> {
  void prepare() const { must_succeed(this->map_raw()); }
  [[nodiscard]] result<void> wrapped() const { return this->calls().unmap_pages(where, Size); }
  [[nodiscard]] int raw() const { return this->unmap_raw(); }
};

/// Calls visit(std::type_identity<Pair>, name) for each.
template <class Visit>
void each_vfio_pair(Visit visit) {
  visit(std::type_identity<map_dma<small>>(), "VFIO_IOMMU_MAP_DMA, 4 KiB");
  visit(std::type_identity<unmap_dma<small>>(), "VFIO_IOMMU_UNMAP_DMA, 4 KiB");
  visit(std::type_identity<map_memory<small>>(), "VFIO_IOMMU_MAP_DMA, 4 KiB, by an ioas");
  visit(std::type_identity<map_memory<large>>(), "VFIO_IOMMU_MAP_DMA, 2 MiB, by an ioas");
  visit(std::type_identity<read_config>(), "pread of config space");
  visit(std::type_identity<describe_irq>(), "VFIO_DEVICE_GET_IRQ_INFO");
  visit(std::type_identity<export_bar>(), "VFIO_DEVICE_FEATURE, a dma-buf");
  visit(std::type_identity<trigger_irq>(), "VFIO_DEVICE_SET_IRQS");
  visit(std::type_identity<ioas_map<small>>(), "IOMMU_IOAS_MAP, 4 KiB");
  visit(std::type_identity<ioas_map_file<small>>(), "IOMMU_IOAS_MAP_FILE, 4 KiB");
  visit(std::type_identity<ioas_unmap<small>>(), "IOMMU_IOAS_UNMAP, 4 KiB");
}

}  // namespace paddock::bench::pairs
