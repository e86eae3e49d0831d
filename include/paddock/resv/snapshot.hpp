// SPDX-License-Identifier: BSL-1.0
/// \file
/// `fence_snapshot`: the fences that were pending in a reservation, each with a reference; taken without its lock, what
/// comes or goes meanwhile may be in it or not.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include <paddock/fence/fence.hpp>

namespace PADDOCK_NAMESPACE {

/// A range of fence_ptr. Up to eight need no allocation. Thread-safety: as a container.
class fence_snapshot {
 public:
  // NOLINTBEGIN(cppcoreguidelines-pro-type-member-init, modernize-use-equals-default): the room inside stays as it is.
  fence_snapshot() noexcept {}
  fence_snapshot(fence_snapshot&& other) noexcept { take(other); }
  // NOLINTEND(cppcoreguidelines-pro-type-member-init, modernize-use-equals-default)
  fence_snapshot& operator=(fence_snapshot&& other) noexcept {
    if (this != &other) {
      clear();
      take(other);
    }
    return *this;
  }
  fence_snapshot(const fence_snapshot&) = delete;
  fence_snapshot& operator=(const fence_snapshot&) = delete;
  ~fence_snapshot() { clear(); }

  [[nodiscard]] std::span<const fence_ptr> fences() const noexcept { return {first(), count_}; }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  [[nodiscard]] const fence_ptr* begin() const noexcept { return fences().data(); }
  [[nodiscard]] const fence_ptr* end() const noexcept { return begin() + count_; }
  /// Requires: index < size().
  [[nodiscard]] const fence_ptr& operator[](std::size_t index) const noexcept { return fences()[index]; }

 private:
  friend class reservation;
  static constexpr std::size_t room_inside = 8;

  /// Requires: it is empty.
  [[nodiscard]] bool make_room(std::size_t room) noexcept {
    if (room > room_inside) {
      outside_.reset(new (std::nothrow) slot[room]);
      return outside_ != nullptr;
    }
    return true;
  }
  /// In two steps, since a locked instruction waits for the stores before it: first all addresses, then all references.
  /// Requires: index is below the room; the fences live until their references are taken.
  void note(std::size_t index, fence& f) noexcept { new (slots() + index) fence_ptr(fence_ptr::adopt(&f)); }
  void take_references(std::size_t count) noexcept {
    const fence_ptr* const all = first();
    for (std::size_t i = 0; i < count; ++i) {
      all[i]->get();
    }
    count_ = count;
  }

  /// For a reference, which is made when there is one: most snapshots are of few.
  struct slot {
    alignas(fence_ptr) std::byte bytes[sizeof(fence_ptr)];
  };
  [[nodiscard]] slot* slots() noexcept { return outside_ != nullptr ? outside_.get() : inside_; }
  [[nodiscard]] const fence_ptr* first() const noexcept {
    return std::launder(reinterpret_cast<const fence_ptr*>(outside_ != nullptr ? outside_.get() : inside_));
  }
  void clear() noexcept {
    const fence_ptr* const all = first();
    const std::size_t count = std::exchange(count_, 0);
    for (std::size_t i = 0; i < count; ++i) {
      all[i]->put();  // Not the destructor, which would store to each before.
    }
  }
  /// Requires: it is empty.
  void take(fence_snapshot& other) noexcept {
    outside_ = std::move(other.outside_);
    count_ = std::exchange(other.count_, 0);
    if (outside_ == nullptr) {
      std::copy_n(other.inside_, count_, inside_);  // A reference is its address.
    }
  }

  slot inside_[room_inside];
  std::unique_ptr<slot[]> outside_;
  std::size_t count_{0};
};

}  // namespace PADDOCK_NAMESPACE
