// SPDX-License-Identifier: BSL-1.0
/// \file
/// A range of a BAR, as something that other devices may map.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <paddock/base/ids.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/vfio/bar_window.hpp>
#include <paddock/vfio/revocation.hpp>

namespace PADDOCK_NAMESPACE::vfio {

namespace detail {
class exported_bar;
}  // namespace detail

/// Which bytes of which BAR, mapped for which direction: what makes two mappings one.
struct bar_slice_key {
  pci::address provider;
  bar_index bar{0};
  std::uint64_t offset{0};
  std::uint64_t length{0};
  direction dir{direction::bidirectional};

  friend constexpr auto operator<=>(const bar_slice_key&, const bar_slice_key&) noexcept = default;
};

/// Made by bar::slice(). A value; it does not keep the device open, only the addresses of its window.
class bar_slice {
 public:
  bar_slice(pci::address provider, bar_index bar, std::uint64_t offset, std::uint64_t length,
            std::shared_ptr<detail::bar_window> window, std::shared_ptr<revocation_list> listeners) noexcept
      : provider_(provider),
        bar_(bar),
        offset_(offset),
        length_(length),
        window_(std::move(window)),
        listeners_(std::move(listeners)) {}

  [[nodiscard]] const pci::address& provider() const noexcept { return provider_; }
  [[nodiscard]] bar_index bar() const noexcept { return bar_; }
  [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }
  [[nodiscard]] std::uint64_t length() const noexcept { return length_; }

 private:
  friend class ioas;
  friend class detail::exported_bar;

  pci::address provider_;
  bar_index bar_;
  std::uint64_t offset_;
  std::uint64_t length_;
  std::shared_ptr<detail::bar_window> window_;
  std::shared_ptr<revocation_list> listeners_;
};

}  // namespace PADDOCK_NAMESPACE::vfio
