// SPDX-License-Identifier: BSL-1.0
/// \file
/// `fence_snapshot`: the fences that a reservation had at one moment, each with a reference.
#pragma once

#include <array>
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
  fence_snapshot() noexcept = default;
  fence_snapshot(fence_snapshot&& other) noexcept
      : inside_(std::move(other.inside_)),
        outside_(std::move(other.outside_)),
        count_(std::exchange(other.count_, 0)) {}
  fence_snapshot& operator=(fence_snapshot&& other) noexcept {
    inside_ = std::move(other.inside_);
    outside_ = std::move(other.outside_);
    count_ = std::exchange(other.count_, 0);
    return *this;
  }
  fence_snapshot(const fence_snapshot&) = delete;
  fence_snapshot& operator=(const fence_snapshot&) = delete;
  ~fence_snapshot() = default;

  [[nodiscard]] std::span<const fence_ptr> fences() const noexcept {
    return {outside_ != nullptr ? outside_.get() : inside_.data(), count_};
  }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  [[nodiscard]] const fence_ptr* begin() const noexcept { return fences().data(); }
  [[nodiscard]] const fence_ptr* end() const noexcept { return begin() + count_; }
  /// Requires: index < size().
  [[nodiscard]] const fence_ptr& operator[](std::size_t index) const noexcept { return fences()[index]; }

 private:
  friend class reservation;
  static constexpr std::size_t room_inside = 8;

  [[nodiscard]] bool make_room(std::size_t room) noexcept {
    if (room > room_inside) {
      outside_.reset(new (std::nothrow) fence_ptr[room]);
      return outside_ != nullptr;
    }
    return true;
  }
  void append(fence& f) noexcept { (outside_ != nullptr ? outside_.get() : inside_.data())[count_++] = fence_ptr(f); }

  std::array<fence_ptr, room_inside> inside_;
  std::unique_ptr<fence_ptr[]> outside_;
  std::size_t count_{0};
};

}  // namespace PADDOCK_NAMESPACE
