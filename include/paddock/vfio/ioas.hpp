// SPDX-License-Identifier: BSL-1.0
/// \file
/// `ioas`: an IOMMU address space, shared by the devices attached to it, and `dma_mapping`, a range of it that leads to
/// memory or to another device's BAR. vfio::container is its first model.
#pragma once

#include <algorithm>
#include <atomic>
#include <compare>
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

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/mapping.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/pci/memory_windows.hpp>
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

/// What an address of an ioas leads to. Of storage that is mixed each segment is a range of its own.
struct mapping_info {
  iova start;
  std::uint64_t size{0};
  storage_kind storage{storage_kind::memory};
};

/// Of a dma_mapping: live until unmapped or revoked, never stale. "unknown" is for kernels that revoke behind our back
/// (iommufd).
using mapping_status = paddock::mapping_status;

namespace detail {

class address_space;

/// One range of an address space. Unmaps when its last user goes.
class mapping_record final : public revocable {
 public:
  mapping_record(std::shared_ptr<address_space> space, iova start, std::uint64_t size, storage_kind storage,
                 std::shared_ptr<revocation_list> provider) noexcept
      : space_(std::move(space)), provider_(std::move(provider)), start_(start), size_(size), storage_(storage) {}
  mapping_record(const mapping_record&) = delete;
  mapping_record& operator=(const mapping_record&) = delete;
  ~mapping_record();

  /// The kernel has mapped it: from here on the record owes an unmap. There is one user.
  void set_mapped() noexcept { mapped_ = true; }
  /// For a slice that all who map it share.
  void keep(const bar_slice_key& what) noexcept { kept_slice_ = what; }
  /// For storage that all who map it share: it lives as long as the record, so that its address is no other one's.
  void keep(storage_ptr what, direction dir) noexcept {
    kept_storage_ = std::move(what);
    dir_ = dir;
  }

  /// One user more. Requires: there is one.
  void use() noexcept { users_.fetch_add(1); }
  /// The same for who found the record in a table. Returns false when its last user has gone: it is being unmapped.
  [[nodiscard]] bool try_use() noexcept {
    std::uint32_t seen = users_.load();
    while (seen != 0 && !users_.compare_exchange_weak(seen, seen + 1)) {
    }
    return seen != 0;
  }
  /// One user less; the last one unmaps.
  [[nodiscard]] result<void> end_use() noexcept { return users_.fetch_sub(1) == 1 ? unmap() : result<void>(); }

  /// Takes the range out of the IOMMU; the addresses stay reserved until the record goes, so that a device that still
  /// uses them faults instead of hitting something new.
  [[nodiscard]] result<void> unmap() noexcept;
  void on_revoke(revoke_reason) noexcept override;

  [[nodiscard]] mapping_info info() const noexcept { return {start_, size_, storage_}; }
  [[nodiscard]] bool revoked() const noexcept { return revoked_.load(); }
  [[nodiscard]] inline mapping_status status() const noexcept;

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
  std::atomic<std::uint32_t> users_{1};
  direction dir_{direction::bidirectional};
  storage_ptr kept_storage_;
  std::optional<bar_slice_key> kept_slice_;
};

/// Which storage, mapped for which direction: what makes two mappings one.
struct storage_key {
  const storage* what;
  direction dir;

  friend auto operator<=>(const storage_key&, const storage_key&) noexcept = default;
};

/// What every kind of address space has: the allocator, the table of live ranges, and two calls to the kernel.
class address_space {
 public:
  address_space() = default;
  address_space(const address_space&) = delete;
  address_space& operator=(const address_space&) = delete;
  virtual ~address_space() = default;

  [[nodiscard]] virtual result<void> map_pages(void* memory, iova at, std::uint64_t size, direction dir) noexcept = 0;
  /// The same for any piece of a buffer; one behind a BAR by its address, unless the kernel wants a dma-buf.
  [[nodiscard]] virtual result<void> map_piece(const segment& piece, iova at, direction dir) noexcept {
    return map_pages(piece.address, at, piece.length, dir);
  }
  [[nodiscard]] virtual result<void> unmap_pages(iova at, std::uint64_t size) noexcept = 0;
  /// How many more mappings the kernel allows. Errors: unsupported_by_kernel when it does not tell.
  [[nodiscard]] virtual result<std::uint32_t> available() noexcept = 0;
  /// Opens a device and attaches it. Errors: those of device::open().
  [[nodiscard]] virtual result<unique_fd> open_device(const pci::address& device) = 0;
  /// What the kernel wants to see before it resets several devices at once. `owners`: group or device numbers, as
  /// VFIO_DEVICE_GET_PCI_HOT_RESET_INFO gave them. Errors: busy (one is not of this space).
  [[nodiscard]] virtual result<std::vector<std::int32_t>> proofs_for_hot_reset(
      std::span<const std::uint32_t> owners) = 0;
  /// Whether memory that has a file needs no address.
  [[nodiscard]] virtual bool maps_files() const noexcept { return false; }
  /// Whether the kernel takes memory behind a BAR out of this space by itself, without telling.
  [[nodiscard]] virtual bool revokes_silently() const noexcept { return false; }

  std::mutex mutex;  ///< Guards everything below. No record may be destroyed while it is held.
  iova_allocator allocator;
  std::uint64_t page_size{4096};        ///< The smallest page of the IOMMU.
  std::map<iova, mapping_info> ranges;  ///< What is mapped, by start address.
  /// One mapping a slice or a storage, shared by all who map it. A record takes its entry out before it lets go of the
  /// storage.
  std::map<bar_slice_key, std::weak_ptr<mapping_record>> slices;
  std::map<storage_key, std::weak_ptr<mapping_record>> storages;
  std::map<pci::address, std::weak_ptr<revocation_list>> devices;  ///< That are open in this space.
};

}  // namespace detail

/// A range of an ioas. Move-only; further holders of the same range are made with share().
/// Thread-safety: as a value; status() from any thread.
class [[nodiscard]] dma_mapping {
 public:
  dma_mapping() noexcept = default;
  /// Takes over one use of it.
  explicit dma_mapping(std::shared_ptr<detail::mapping_record> record) noexcept
      : record_(std::move(record)), start_(record_->info().start), uses_(true) {}
  dma_mapping(dma_mapping&& other) noexcept
      : record_(std::move(other.record_)), start_(other.start_), uses_(std::exchange(other.uses_, false)) {}
  dma_mapping& operator=(dma_mapping&& other) noexcept {
    if (this != &other) {
      drop();
      record_ = std::move(other.record_);
      start_ = other.start_;
      uses_ = std::exchange(other.uses_, false);
    }
    return *this;
  }
  dma_mapping(const dma_mapping&) = delete;
  dma_mapping& operator=(const dma_mapping&) = delete;
  ~dma_mapping() { drop(); }

  /// The address that the device uses for the first byte.
  [[nodiscard]] paddock::iova iova() const noexcept { return start_; }
  /// The address for byte `offset`. Requires: offset < size().
  [[nodiscard]] paddock::iova iova(std::uint64_t offset) const noexcept { return start_ + offset; }
  [[nodiscard]] std::uint64_t size() const noexcept { return record_ ? record_->info().size : 0; }
  /// Of storage that is mixed the kind that asks for the most: registers before device_memory before memory; find() of
  /// the ioas tells it by address. Requires: valid().
  [[nodiscard]] storage_kind storage() const noexcept { return record_->info().storage; }
  /// Requires: valid(), not retired.
  [[nodiscard]] mapping_status status() const noexcept { return record_->status(); }
  /// False when default-made, moved from or unmapped.
  [[nodiscard]] bool valid() const noexcept { return record_ != nullptr; }

  /// A second holder of the same range; it is unmapped when the last one goes. Requires: valid(), not retired.
  /// Not const: that of an attachment cannot be shared, so that nobody holds it when the buffer is revoked.
  [[nodiscard]] dma_mapping share() noexcept {
    record_->use();
    return dma_mapping(record_);
  }

  /// Gives up this holder's right. The last one unmaps. Errors: as the unmap call; a mapping that was revoked before is
  /// no error. Without this call the destructor does the same and reports to the lost-error handler.
  [[nodiscard]] result<void> unmap() noexcept {
    const std::shared_ptr<detail::mapping_record> record = std::move(record_);
    return std::exchange(uses_, false) ? record->end_use() : result<void>();
  }
  /// The same, but nobody is given the addresses as long as this object lives: a device that has not been told yet may
  /// still use them, and faults.
  [[nodiscard]] result<void> retire() noexcept {
    return std::exchange(uses_, false) ? record_->end_use() : result<void>();
  }

 private:
  friend class ioas;
  void drop() noexcept {
    if (const auto done = unmap(); !done) {
      report_lost_error(done.error());
    }
  }

  std::shared_ptr<detail::mapping_record> record_;
  paddock::iova start_{};
  bool uses_{false};
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

  /// Maps all segments of a storage, of whatever kind, into one range: memory by its address, what is behind a BAR by
  /// that of the CPU's window on it. Storage that is mapped for this direction already is shared by all who map it, and
  /// lives until the last of them has gone. What is behind a BAR is not revoked by itself: the storage's buffer is
  /// told, and its attachments unmap. So this is what attachments call, with the buffer's reservation held unless the
  /// buffer stays; anybody else who maps a buffer's storage sees to it that it is unmapped when the buffer is revoked.
  /// Locks are taken in the order: revocation list of a device, reservation, ioas; so no revocation list here.
  /// Errors: as above (each segment has whole pages); not_mappable (a segment without an address).
  [[nodiscard]] result<dma_mapping> map(const storage_ptr& what, const map_options& options = {});

  /// What lies at an address, if anything is mapped there.
  [[nodiscard]] std::optional<mapping_info> find(iova address) const;
  /// Never hands out these addresses, for devices with ideas of their own.
  void exclude(iova_range range);
  [[nodiscard]] std::uint64_t page_size() const;
  /// Ranges that are mapped now; revoked ones are not.
  [[nodiscard]] std::size_t mapping_count() const;
  /// How many more mappings the kernel allows. Kernel: VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL.
  [[nodiscard]] result<std::uint32_t> available_mappings() const { return space_->available(); }

  // --- for vfio::device --------------------------------------------------------------------------------------------

  /// Opens and attaches a device, remembers whom to tell of its resets, and keeps its host bridge's memory windows
  /// free. Errors: those of device::open(); busy (it is open already, in this address space).
  [[nodiscard]] result<unique_fd> open_device(const pci::address& device,
                                              const std::shared_ptr<revocation_list>& listeners);
  [[nodiscard]] result<std::vector<std::int32_t>> proofs_for_hot_reset(std::span<const std::uint32_t> owners) {
    return space_->proofs_for_hot_reset(owners);
  }
  /// Of a device of this space that is open; null when there is none.
  [[nodiscard]] std::shared_ptr<revocation_list> listeners_of(const pci::address& device) const {
    const std::lock_guard guard(space_->mutex);
    const auto found = space_->devices.find(device);
    return found == space_->devices.end() ? nullptr : found->second.lock();
  }

 protected:
  explicit ioas(std::shared_ptr<detail::address_space> space) noexcept : space_(std::move(space)) {}
  [[nodiscard]] const std::shared_ptr<detail::address_space>& space() const noexcept { return space_; }

 private:
  using record_ptr = std::shared_ptr<detail::mapping_record>;

  // Both require the caller to hold space_->mutex.
  [[nodiscard]] result<record_ptr> map_range(std::span<const segment> pieces,
                                             const std::shared_ptr<revocation_list>& provider,
                                             const map_options& options);
  [[nodiscard]] result<void> map_pieces(std::span<const segment> pieces, iova start, std::uint64_t size, direction dir);
  /// One user more of what is mapped already, if that suits. `known` must outlive the caller's hold of the mutex.
  [[nodiscard]] static bool share(record_ptr& known, const std::weak_ptr<detail::mapping_record>& entry,
                                  const map_options& options) noexcept;

  std::shared_ptr<detail::address_space> space_;
};

namespace detail {

inline mapping_status mapping_record::status() const noexcept {
  if (revoked()) {
    return mapping_status::revoked;
  }
  return storage_ != storage_kind::memory && space_->revokes_silently() ? mapping_status::unknown
                                                                        : mapping_status::live;
}

inline result<void> mapping_record::unmap() noexcept {
  const std::lock_guard guard(mutex_);
  if (!std::exchange(mapped_, false)) {
    return {};
  }
  const auto unmapped = space_->unmap_pages(start_, size_);
  kept_ = !unmapped;
  const std::lock_guard space_guard(space_->mutex);
  space_->ranges.erase(space_->ranges.lower_bound(start_), space_->ranges.upper_bound(start_ + (size_ - 1)));
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
  // Another record may have taken the place meanwhile.
  const auto forget = [](auto& table, const auto& key) {
    if (const auto known = table.find(key); known != table.end() && known->second.expired()) {
      table.erase(known);
    }
  };
  if (kept_storage_ != nullptr) {
    forget(space_->storages, storage_key{kept_storage_.get(), dir_});
  }
  if (kept_slice_) {
    forget(space_->slices, *kept_slice_);
  }
}

}  // namespace detail

inline result<void> ioas::map_pieces(std::span<const segment> pieces, iova start, std::uint64_t size, direction dir) {
  std::uint64_t done = 0;
  for (const segment& each : pieces) {
    if (auto mapped = space_->map_piece(each, start + done, dir); !mapped) {
      if (const auto undone = done == 0 ? result<void>() : space_->unmap_pages(start, done); !undone) {
        report_lost_error(undone.error());
        space_->allocator.release(start + done, size - done);  // The addresses before are never used again.
      } else {
        space_->allocator.release(start, size);
      }
      return mapped;
    }
    done += each.length;
  }
  for (const segment& each : pieces) {
    space_->ranges[start] = {start, each.length, each.kind};
    start = start + each.length;
  }
  return {};
}

inline result<ioas::record_ptr> ioas::map_range(std::span<const segment> pieces,
                                                const std::shared_ptr<revocation_list>& provider,
                                                const map_options& options) {
  const std::uint64_t page = space_->page_size;
  std::uint64_t size = 0;
  storage_kind kind = storage_kind::memory;
  for (const segment& each : pieces) {
    if (each.length == 0) {
      return fail(errc::invalid_argument, "ioas::map: empty range");
    }
    const std::uint64_t begin = each.address != nullptr ? reinterpret_cast<std::uintptr_t>(each.address) : each.offset;
    if (begin % page != 0 || each.length % page != 0) {
      return fail(errc::misaligned, "ioas::map");
    }
    size += each.length;
    kind = std::max(kind, each.kind);
  }
  if (options.at && options.at->value() % page != 0) {
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
  PADDOCK_TRY_VOID(map_pieces(pieces, start, size, options.dir));
  auto record = std::make_shared<detail::mapping_record>(space_, start, size, kind, provider);
  record->set_mapped();
  return record;
}

inline bool ioas::share(record_ptr& known, const std::weak_ptr<detail::mapping_record>& entry,
                        const map_options& options) noexcept {
  known = entry.lock();
  if (!known || known->revoked()) {
    return false;
  }
  const mapping_info info = known->info();
  return (!options.at || *options.at == info.start) &&
         (options.alignment == 0 || info.start.value() % options.alignment == 0) &&
         (info.start + (info.size - 1)) <= options.highest && known->try_use();
}

inline result<dma_mapping> ioas::map(std::span<std::byte> memory, const map_options& options) {
  const segment all{.kind = storage_kind::memory, .length = memory.size(), .address = memory.data()};
  const std::lock_guard guard(space_->mutex);
  PADDOCK_TRY(auto record, map_range({&all, 1}, nullptr, options));
  return dma_mapping(std::move(record));
}

inline result<dma_mapping> ioas::map(const bar_slice& slice, const map_options& options) {
  // Declared first: the last reference of a record must not go while the space is locked.
  record_ptr known;
  const auto no_revocation = slice.listeners_->lock();
  if (!slice.window_->live()) {
    return fail(errc::revoked, "ioas::map: the BAR's device has no memory now");
  }
  if (!slice.window_->covers(slice.offset_, slice.length_)) {
    return fail(errc::not_mappable, "ioas::map: BAR slice");
  }
  const std::lock_guard guard(space_->mutex);
  const bar_slice_key key{slice.provider_, slice.bar_, slice.offset_, slice.length_, options.dir};
  if (const auto found = space_->slices.find(key);
      found != space_->slices.end() && share(known, found->second, options)) {
    return dma_mapping(known);
  }
  const segment all{.kind = storage_kind::device_memory,
                    .bar = slice.bar_,
                    .length = slice.length_,
                    .address = slice.window_->base() + slice.offset_,
                    .offset = slice.offset_,
                    .provider = slice.provider_,
                    .exporter = slice.window_.get()};
  PADDOCK_TRY(auto record, map_range({&all, 1}, slice.listeners_, options));
  record->keep(key);
  space_->slices[key] = record;
  // Cannot fail: the window is live under the same lock, so the device is not closed.
  static_cast<void>(slice.listeners_->join(*record));
  return dma_mapping(std::move(record));
}

inline result<dma_mapping> ioas::map(const storage_ptr& what, const map_options& options) {
  if (what == nullptr) {
    return fail(errc::invalid_argument, "ioas::map: no storage");
  }
  const bool maps_files = space_->maps_files();
  if (std::ranges::any_of(what->segments(), [maps_files](const segment& each) {
        return each.address == nullptr && !(maps_files && each.file.valid());
      })) {
    return fail(errc::not_mappable, "ioas::map: storage that has no address here");
  }
  record_ptr known;  // Declared first, as above.
  const std::lock_guard guard(space_->mutex);
  const detail::storage_key key{what.get(), options.dir};
  if (const auto found = space_->storages.find(key);
      found != space_->storages.end() && share(known, found->second, options)) {
    return dma_mapping(known);
  }
  PADDOCK_TRY(auto record, map_range(what->segments(), nullptr, options));
  record->keep(what, options.dir);
  space_->storages[key] = record;
  return dma_mapping(std::move(record));
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

inline result<unique_fd> ioas::open_device(const pci::address& device,
                                           const std::shared_ptr<revocation_list>& listeners) {
  {
    const std::lock_guard guard(space_->mutex);
    auto& known = space_->devices[device];
    if (const auto open = known.lock(); open && !open->closed()) {
      return fail(errc::busy, "device::open: the device is open already");
    }
    known = listeners;
  }
  PADDOCK_TRY(unique_fd opened, space_->open_device(device));
  PADDOCK_TRY_VOID(pci::host_bridge_windows(device));
  // Those of all host bridges, at once: a device that joins later must not find its windows in use.
  PADDOCK_TRY(const auto windows, pci::all_host_bridge_windows());
  for (const pci::address_window& window : windows) {
    exclude({iova(window.first), iova(window.last)});
  }
  return opened;
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
