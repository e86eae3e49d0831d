// SPDX-License-Identifier: BSL-1.0
/// \file
/// `mapping`: a buffer's storage as one device sees it. Kernel: struct sg_table of dma_buf_map_attachment.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/core.hpp>
#include <paddock/buffer/device.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/resv/reservation.hpp>

namespace PADDOCK_NAMESPACE {

/// What has become of a mapping.
enum class mapping_status : std::uint8_t {
  live,
  stale,    ///< The buffer has moved. Jobs in flight may use it until their fences complete; new ones map anew.
  revoked,  ///< The storage was taken back; for good.
  unknown,  ///< The kernel may have taken it back, and does not say (iommufd).
};

/// Whether new work may use it, as far as is known.
[[nodiscard]] constexpr bool may_be_live(mapping_status status) noexcept {
  return status == mapping_status::live || status == mapping_status::unknown;
}

namespace detail {

template <device D>
struct mapping_record;

/// Whoever made a mapping ends it.
template <device D>
class mapping_owner {
 public:
  mapping_owner() noexcept = default;
  mapping_owner(const mapping_owner&) = delete;
  mapping_owner& operator=(const mapping_owner&) = delete;

  /// The handle is gone, and the reservation is held, if that matters.
  virtual void drop(mapping_record<D>& record) noexcept = 0;
  /// The CPU's turn begins and ends, for a device that is the CPU.
  [[nodiscard]] virtual result<void> start_cpu(mapping_record<D>& record, access what) noexcept = 0;
  [[nodiscard]] virtual result<void> end_cpu(mapping_record<D>& record, access what) noexcept = 0;

 protected:
  ~mapping_owner() = default;
};

/// A mapping as its attachment keeps it: where the handle can be anywhere, and go at any time.
template <device D>
struct mapping_record final : locked_work {
  mapping_record() noexcept : locked_work(&mapping_record::run) {}

  static void run(locked_work& work, const resv_lock&) noexcept {
    auto& record = static_cast<mapping_record&>(work);
    if (mapping_owner<D>* const owner = record.owner.load(); owner != nullptr) [[likely]] {
      owner->drop(record);
    } else {
      delete &record;
    }
  }

  typename D::mapped mapped{};
  storage_ptr of;                   ///< Storage that may move away, so that it stays until then.
  storage_ptr shadow;               ///< Of a bounce: what is mapped.
  buffer_core* locked_by{nullptr};  ///< Its reservation is held for unmapping; null when that needs no lock.
  std::atomic<mapping_owner<D>*> owner{nullptr};  ///< Null when the attachment is gone.
  /// The handle is being dropped, and the attachment stays until it is told; or the attachment is gone.
  enum class link : std::uint8_t { held, dropped, orphaned };
  std::atomic<link> state{link::held};
  std::atomic<std::uint32_t> cpu_accesses{0};
  mapping_record* next{nullptr};
  std::atomic<mapping_status> status{mapping_status::live};
  direction dir{direction::bidirectional};
  bool is_mapped{false};
  [[no_unique_address]] place made_at;
};

template <class Mapped>
concept has_iova = requires(const Mapped& m) {
  { m.iova() }
  noexcept->std::convertible_to<iova>;
};
template <class Mapped>
concept has_bytes = requires(const Mapped& m) {
  { m.bytes() }
  noexcept->std::same_as<std::span<std::byte>>;
};
struct no_address {};
template <class Mapped>
struct address_of {
  using type = no_address;
};
template <has_iova Mapped>
struct address_of<Mapped> {
  using type = paddock::iova;
};

}  // namespace detail

/// Made by map() of an attachment; move-only. One that is dropped is unmapped: at once when the storage cannot move,
/// else under the reservation, by this thread if that is free, or by whoever leaves it next.
/// Thread-safety: as a value; status() from any thread; one that may be moved or revoked is dropped in any thread.
template <device D>
class [[nodiscard]] mapping {
 public:
  using mapped_type = typename D::mapped;

  mapping() noexcept = default;
  mapping(mapping&& other) noexcept : record_(std::exchange(other.record_, nullptr)), address_(other.address_) {}
  mapping& operator=(mapping&& other) noexcept {
    if (this != &other) {
      drop();
      record_ = std::exchange(other.record_, nullptr);
      address_ = other.address_;
    }
    return *this;
  }
  mapping(const mapping&) = delete;
  mapping& operator=(const mapping&) = delete;
  ~mapping() { drop(); }

  /// False when default-made, moved from or unmapped.
  [[nodiscard]] bool valid() const noexcept { return record_ != nullptr; }
  /// Requires: valid().
  [[nodiscard]] mapping_status status() const noexcept {
    // order: acquire: pairs with the release in whoever changes it; what made it so has happened.
    const mapping_status known = record_->status.load(std::memory_order_acquire);
    if constexpr (requires { record_->mapped.status(); }) {
      return known == mapping_status::live ? record_->mapped.status() : known;
    }
    return known;
  }
  /// What the device made of it. Requires: valid().
  [[nodiscard]] const mapped_type& mapped() const noexcept { return record_->mapped; }
  /// The device's address of byte `offset`. Requires: valid(), offset < size of the buffer.
  [[nodiscard]] paddock::iova iova(std::uint64_t offset = 0) const noexcept requires detail::has_iova<mapped_type> {
    return address_ + offset;
  }
  [[nodiscard]] direction dir() const noexcept { return record_->dir; }

  /// START and END of CPU access, see cpu_access. It lasts as long as this object.
  class cpu_sync {
   public:
    explicit cpu_sync(detail::mapping_record<D>* of) noexcept : of_(of) {}
    [[nodiscard]] buffer_id id() const noexcept { return {}; }
    [[nodiscard]] result<void> sync_start(access what) const noexcept {
      detail::mapping_owner<D>* const owner = of_->owner.load();
      return owner != nullptr ? owner->start_cpu(*of_, what)
                              : result<void>(fail(errc::revoked, "cpu_access: the attachment is gone"));
    }
    [[nodiscard]] result<void> sync_end(access what) const noexcept {
      detail::mapping_owner<D>* const owner = of_->owner.load();
      return owner != nullptr ? owner->end_cpu(*of_, what) : result<void>();
    }

   private:
    detail::mapping_record<D>* of_;
  };

  // What cpu_access asks of a mapping for the CPU; see cpu_device. Requires: valid().
  [[nodiscard]] cpu_sync sync_handle() const noexcept requires detail::has_bytes<mapped_type> {
    return cpu_sync(record_);
  }
  [[nodiscard]] access permits() const noexcept requires detail::has_bytes<mapped_type> {
    return record_->dir == direction::to_device ? access::read : access::read_write;
  }
  [[nodiscard]] std::span<std::byte> unsynchronized_bytes() const noexcept requires detail::has_bytes<mapped_type> {
    return record_->mapped.bytes();
  }

 private:
  template <class, class, class>
  friend class basic_attachment;

  explicit mapping(detail::mapping_record<D>& made) noexcept : record_(&made) {
    if constexpr (detail::has_iova<mapped_type>) {
      address_ = made.mapped.iova();
    }
  }

  void drop() noexcept {
    detail::mapping_record<D>* const record = std::exchange(record_, nullptr);
    if (record == nullptr) {
      return;
    }
    using link = typename detail::mapping_record<D>::link;
    if (record->state.exchange(link::dropped) == link::orphaned) {
      delete record;
    } else if (detail::buffer_core* const buffer = record->locked_by; buffer != nullptr) {
      // Until the attachment is told it stays, and the buffer with it; after that neither need to.
      buffer->get();
      buffer->reservation().leave_to_holder(*record);
      buffer->put();
    } else {
      record->owner.load()->drop(*record);
    }
  }

  detail::mapping_record<D>* record_{nullptr};
  [[no_unique_address]] typename detail::address_of<mapped_type>::type address_{};
};

}  // namespace PADDOCK_NAMESPACE
