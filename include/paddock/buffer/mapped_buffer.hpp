// SPDX-License-Identifier: BSL-1.0
/// \file
/// `mapped_buffer`: an attachment and one mapping of it, for who maps once and uses it all the time.
#pragma once

#include <cstdint>
#include <utility>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/mapping.hpp>

namespace PADDOCK_NAMESPACE {

/// For storage that stays (`pinned`), and for a device that needs no hook of its own to have it taken away
/// (`revocable`, vfio::device). Fixed at its address, as an attachment. Thread-safety: one thread at a time; status()
/// from any.
template <class Buffer, class Device, class... Policies>
class mapped_buffer {
 public:
  using attachment_type = attachment<Buffer, Device, Policies...>;

  /// Errors: as attachment's attach(), arm() and map(), and then it is as it was. Requires: the device outlives it.
  [[nodiscard]] result<void> open(const buffer_ptr<Buffer>& shared, Device& by,
                                  direction dir = direction::bidirectional,
                                  deadline until = deadline::never()) noexcept {
    PADDOCK_TRY_VOID(attachment_.attach(shared, by, dir, until));
    auto mapped = map(*shared, dir, until);
    if (!mapped) {
      PADDOCK_TRY_VOID(attachment_.detach());
      return fail(mapped.error());
    }
    mapping_ = std::move(*mapped);
    return {};
  }
  /// Errors: as attachment::detach().
  [[nodiscard]] result<void> close() noexcept {
    mapping_ = {};
    return attachment_.detach();
  }

  // Requires: open() has succeeded.
  [[nodiscard]] attachment_type& attached() noexcept { return attachment_; }
  [[nodiscard]] const mapping<Device>& mapped() const noexcept { return mapping_; }
  [[nodiscard]] mapping_status status() const noexcept { return mapping_.status(); }
  [[nodiscard]] paddock::iova iova(std::uint64_t offset = 0) const noexcept { return mapping_.iova(offset); }

 private:
  [[nodiscard]] result<mapping<Device>> map(Buffer& shared, direction dir, deadline until) noexcept {
    if constexpr (attachment_type::is_pinned) {
      static_cast<void>(shared);
      return attachment_.map(dir, until);
    } else {
      PADDOCK_TRY(const auto held, shared.lock(until));
      PADDOCK_TRY(auto* const armed, attachment_.arm(held));
      return armed->map(held, dir, until);
    }
  }

  attachment_type attachment_;
  mapping<Device> mapping_;
};

}  // namespace PADDOCK_NAMESPACE
