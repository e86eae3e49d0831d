// SPDX-License-Identifier: BSL-1.0
/// \file
/// `ioas`: an IOMMU address space, shared by the devices attached to it, and `dma_mapping`, a range of it that leads to
/// memory or to another device's BAR. vfio::container is its first model.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <paddock/base/ids.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/vfio/bar_slice.hpp>
#include <paddock/vfio/iova_allocator.hpp>
#include <paddock/vfio/revocation.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// How a range is mapped. The default suits most: both directions, anywhere.
struct map_options {
  direction dir{direction::bidirectional};
  std::optional<iova> at{};                                 ///< Exactly here; otherwise a free range is found.
  std::uint64_t alignment{0};                               ///< A power of two; 0 means the page size.
  iova highest{std::numeric_limits<std::uint64_t>::max()};  ///< The last address that the device can issue.
};

/// What an address of an ioas leads to.
struct mapping_info {
  iova start;
  std::uint64_t size{0};
  storage_kind storage{storage_kind::memory};
};

/// Live until unmapped or revoked. "unknown" is for kernels that revoke behind our back (iommufd).
enum class mapping_status : std::uint8_t { live, revoked, unknown };

namespace detail {

class address_space;

/// One range of an address space. Unmaps when the last dma_mapping that shares it goes.
class mapping_record final : public revocable {
 public:
  mapping_record(std::shared_ptr<address_space> space, iova start, std::uint64_t size, storage_kind storage,
                 std::shared_ptr<revocation_list> provider) noexcept
      : space_(std::move(space)), provider_(std::move(provider)), start_(start), size_(size), storage_(storage) {}
  mapping_record(const mapping_record&) = delete;
  mapping_record& operator=(const mapping_record&) = delete;
  ~mapping_record();

  /// The kernel has mapped it: from here on the record owes an unmap.
  void set_mapped() noexcept { mapped_ = true; }
  /// Takes the range out of the IOMMU; the addresses stay reserved until the record goes, so that a device that still
  /// uses them faults instead of hitting something new.
  [[nodiscard]] result<void> unmap() noexcept;
  void on_revoke(revoke_reason) noexcept override;

  [[nodiscard]] mapping_info info() const noexcept { return {start_, size_, storage_}; }
  [[nodiscard]] bool revoked() const noexcept { return revoked_.load(); }

 private:
  std::shared_ptr<address_space> space_;
  std::shared_ptr<revocation_list> provider_;  ///< Of the device whose BAR this is; null for memory.
  iova start_;
  std::uint64_t size_;
  storage_kind storage_;
  std::mutex mutex_;  ///< One unmap at a time. Taken before the space's.
  bool mapped_{false};
  bool kept_{false};  ///< The kernel did not unmap it, so the addresses must never be used again.
  std::atomic<bool> revoked_{false};
};

/// What every kind of address space has: the allocator, the table of live ranges, and two calls to the kernel.
class address_space {
 public:
  address_space() = default;
  address_space(const address_space&) = delete;
  address_space& operator=(const address_space&) = delete;
  virtual ~address_space() = default;

  [[nodiscard]] virtual result<void> map_pages(void* memory, iova at, std::uint64_t size, direction dir) noexcept = 0;
  [[nodiscard]] virtual result<void> unmap_pages(iova at, std::uint64_t size) noexcept = 0;
  /// How many more mappings the kernel allows. Errors: unsupported_by_kernel when it does not tell.
  [[nodiscard]] virtual result<std::uint32_t> available() noexcept = 0;

  std::mutex mutex;  ///< Guards everything below. No record may be destroyed while it is held.
  iova_allocator allocator;
  std::uint64_t page_size{4096};        ///< The smallest page of the IOMMU.
  std::map<iova, mapping_info> ranges;  ///< What is mapped, by start address.
  /// One mapping a slice, shared by all who map it.
  std::map<bar_slice_key, std::weak_ptr<mapping_record>> slices;
  std::map<pci::address, std::weak_ptr<revocation_list>> devices;  ///< That are open in this space.
};

}  // namespace detail

/// A range of an ioas. Move-only; further holders of the same range are made with share().
/// Thread-safety: as a value; status() from any thread.
class [[nodiscard]] dma_mapping {
 public:
  dma_mapping() noexcept = default;
  explicit dma_mapping(std::shared_ptr<detail::mapping_record> record) noexcept
      : record_(std::move(record)), start_(record_->info().start) {}
  dma_mapping(dma_mapping&&) noexcept = default;
  dma_mapping& operator=(dma_mapping&&) noexcept = default;
  dma_mapping(const dma_mapping&) = delete;
  dma_mapping& operator=(const dma_mapping&) = delete;
  ~dma_mapping() = default;

  /// The address that the device uses for the first byte.
  [[nodiscard]] paddock::iova iova() const noexcept { return start_; }
  /// The address for byte `offset`. Requires: offset < size().
  [[nodiscard]] paddock::iova iova(std::uint64_t offset) const noexcept { return start_ + offset; }
  [[nodiscard]] std::uint64_t size() const noexcept { return record_ ? record_->info().size : 0; }
  /// Requires: valid().
  [[nodiscard]] storage_kind storage() const noexcept { return record_->info().storage; }
  /// Requires: valid().
  [[nodiscard]] mapping_status status() const noexcept {
    return record_->revoked() ? mapping_status::revoked : mapping_status::live;
  }
  /// False when default-made, moved from or unmapped.
  [[nodiscard]] bool valid() const noexcept { return record_ != nullptr; }

  /// A second holder of the same range; it is unmapped when the last one goes.
  [[nodiscard]] dma_mapping share() const noexcept { return dma_mapping(record_); }

  /// Gives up this holder's right. The last one unmaps. Errors: as the unmap call; a mapping that was revoked before is
  /// no error. Without this call the destructor does the same and reports to the lost-error handler.
  [[nodiscard]] result<void> unmap() noexcept {
    const std::shared_ptr<detail::mapping_record> record = std::move(record_);
    if (record && record.use_count() == 1) {
      return record->unmap();
    }
    return {};
  }

 private:
  friend class ioas;
  std::shared_ptr<detail::mapping_record> record_;
  paddock::iova start_{};
};

/// A handle on an address space; copies share it.
/// Thread-safety: any thread.
class ioas {
 public:
  /// Maps memory of this process and pins it until it is unmapped. Memory is known by its address only: unmap before
  /// the pages are given back. Errors: misaligned (address or size are not multiples of page_size()), invalid_argument
  /// (size 0), limit_reached (locked memory, or IOMMU entries), bad_address (not mapped, or memory that cannot be
  /// pinned), already_exists and out_of_range for options.at.
  [[nodiscard]] result<dma_mapping> map(std::span<std::byte> memory, const map_options& options = {});

  /// Maps a slice of a device's BAR, so that this address space's devices reach it peer to peer. Slices that are mapped
  /// already are shared. The mapping is revoked before the provider is reset, loses its memory or goes away.
  /// Errors: as above, and revoked (the provider is gone).
  [[nodiscard]] result<dma_mapping> map(const bar_slice& slice, const map_options& options = {});

  /// What lies at an address, if anything is mapped there.
  [[nodiscard]] std::optional<mapping_info> find(iova address) const;
  /// Never hands out these addresses, for devices with ideas of their own.
  void exclude(iova_range range);
  [[nodiscard]] std::uint64_t page_size() const;
  /// Ranges that are mapped now; revoked ones are not.
  [[nodiscard]] std::size_t mapping_count() const;
  /// How many more mappings the kernel allows. Kernel: VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL.
  [[nodiscard]] result<std::uint32_t> available_mappings() const { return space_->available(); }

 protected:
  explicit ioas(std::shared_ptr<detail::address_space> space) noexcept : space_(std::move(space)) {}
  [[nodiscard]] const std::shared_ptr<detail::address_space>& space() const noexcept { return space_; }

 private:
  // Requires the caller to hold space_->mutex.
  [[nodiscard]] result<dma_mapping> map_range(void* memory, std::uint64_t size, storage_kind storage,
                                              const std::shared_ptr<revocation_list>& provider,
                                              const map_options& options);

  std::shared_ptr<detail::address_space> space_;
};

namespace detail {

inline result<void> mapping_record::unmap() noexcept {
  const std::lock_guard guard(mutex_);
  if (!std::exchange(mapped_, false)) {
    return {};
  }
  const auto unmapped = space_->unmap_pages(start_, size_);
  kept_ = !unmapped;
  const std::lock_guard space_guard(space_->mutex);
  space_->ranges.erase(start_);
  return unmapped;
}

inline void mapping_record::on_revoke(revoke_reason) noexcept {
  revoked_.store(true);
  if (const auto done = unmap(); !done) {
    report_lost_error(done.error());
  }
}

inline mapping_record::~mapping_record() {
  if (provider_) {
    provider_->leave(*this);
  }
  if (const auto done = unmap(); !done) {
    report_lost_error(done.error());
  }
  const std::lock_guard guard(space_->mutex);
  if (!kept_) {
    space_->allocator.release(start_, size_);
  }
  std::erase_if(space_->slices, [](const auto& slice) { return slice.second.expired(); });
}

}  // namespace detail

inline result<dma_mapping> ioas::map_range(void* memory, std::uint64_t size, storage_kind storage,
                                           const std::shared_ptr<revocation_list>& provider,
                                           const map_options& options) {
  const std::uint64_t page = space_->page_size;
  if (size == 0) {
    return fail(errc::invalid_argument, "ioas::map: empty range");
  }
  if (reinterpret_cast<std::uintptr_t>(memory) % page != 0 || size % page != 0 ||
      (options.at && options.at->value() % page != 0)) {
    return fail(errc::misaligned, "ioas::map");
  }
  const std::uint64_t alignment = options.alignment > page ? options.alignment : page;
  if ((alignment & (alignment - 1)) != 0) {
    return fail(errc::invalid_argument, "ioas::map: alignment");
  }
  iova start;
  if (options.at) {
    if (size - 1 > options.highest.value() || *options.at > iova(options.highest.value() - (size - 1))) {
      return fail(errc::out_of_range, "ioas::map: beyond the highest address");
    }
    PADDOCK_TRY_VOID(space_->allocator.reserve(*options.at, size));
    start = *options.at;
  } else {
    PADDOCK_TRY(start, space_->allocator.allocate(size, alignment, options.highest));
  }
  if (auto mapped = space_->map_pages(memory, start, size, options.dir); !mapped) {
    space_->allocator.release(start, size);
    return fail(mapped.error());
  }
  space_->ranges[start] = {start, size, storage};
  auto record = std::make_shared<detail::mapping_record>(space_, start, size, storage, provider);
  record->set_mapped();
  return dma_mapping(std::move(record));
}

inline result<dma_mapping> ioas::map(std::span<std::byte> memory, const map_options& options) {
  const std::lock_guard guard(space_->mutex);
  return map_range(memory.data(), memory.size(), storage_kind::memory, nullptr, options);
}

inline result<dma_mapping> ioas::map(const bar_slice& slice, const map_options& options) {
  // Declared first: the last reference of a record must not go while the space is locked.
  std::shared_ptr<detail::mapping_record> known;
  const auto no_revocation = slice.listeners_->lock();
  if (!slice.window_->live()) {
    return fail(errc::revoked, "ioas::map: the BAR's device has no memory now");
  }
  if (!slice.window_->covers(slice.offset_, slice.length_)) {
    return fail(errc::not_mappable, "ioas::map: BAR slice");
  }
  const std::lock_guard guard(space_->mutex);
  const bar_slice_key key{slice.provider_, slice.bar_, slice.offset_, slice.length_, options.dir};
  if (const auto found = space_->slices.find(key); found != space_->slices.end()) {
    known = found->second.lock();
    const auto fits = [&](const mapping_info& info) {
      return (!options.at || *options.at == info.start) &&
             (options.alignment == 0 || info.start.value() % options.alignment == 0) &&
             (info.start + (info.size - 1)) <= options.highest;
    };
    if (known && !known->revoked() && fits(known->info())) {
      return dma_mapping(known);
    }
  }
  PADDOCK_TRY(auto mapping, map_range(slice.window_->base() + slice.offset_, slice.length_, storage_kind::device_memory,
                                      slice.listeners_, options));
  space_->slices[key] = mapping.record_;
  // Cannot fail: the window is live under the same lock, so the device is not closed.
  static_cast<void>(slice.listeners_->join(*mapping.record_));
  return mapping;
}

inline std::optional<mapping_info> ioas::find(iova address) const {
  const std::lock_guard guard(space_->mutex);
  auto after = space_->ranges.upper_bound(address);
  if (after == space_->ranges.begin()) {
    return std::nullopt;
  }
  const mapping_info& info = std::prev(after)->second;
  return address - info.start < info.size ? std::optional(info) : std::nullopt;
}

inline void ioas::exclude(iova_range range) {
  const std::lock_guard guard(space_->mutex);
  space_->allocator.exclude(range);
}

inline std::uint64_t ioas::page_size() const {
  const std::lock_guard guard(space_->mutex);
  return space_->page_size;
}

inline std::size_t ioas::mapping_count() const {
  const std::lock_guard guard(space_->mutex);
  return space_->ranges.size();
}

}  // namespace PADDOCK_NAMESPACE::vfio
