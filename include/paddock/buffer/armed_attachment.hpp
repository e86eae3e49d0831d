// SPDX-License-Identifier: BSL-1.0
/// \file
/// `armed_attachment`: an attachment that is ready to be told that its storage moves or goes.
#pragma once

#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/device.hpp>
#include <paddock/buffer/mapping.hpp>
#include <paddock/resv/reservation.hpp>

namespace PADDOCK_NAMESPACE {

/// An attachment that can map: what arm() and pin() return. It is the attachment itself, seen from another side; it is
/// valid until detach(), or, when it is pinned and not armed, until unpin().
template <class Attachment, device Device>
class armed_attachment {
 public:
  armed_attachment(const armed_attachment&) = delete;
  armed_attachment& operator=(const armed_attachment&) = delete;

  /// Makes the storage the device's own. By policy it first waits for the jobs that such an access has to wait for, and
  /// maintains caches. When the device does not reach the storage the buffer moves, or the device gets a copy of the
  /// bytes (a bounce), or it fails, as the route policy says.
  /// Requires: it fits the direction that was given to attach(). Errors: wrong_lock; revoked; reentrant (inside
  /// on_invalidate of the buffer); unreachable; busy (another importer works on a copy); timed_out; those of the
  /// device. Kernel: dma_buf_map_attachment.
  [[nodiscard]] result<mapping<Device>> map(const resv_lock& held, direction dir, deadline until = deadline::never(),
                                            place at = place::here()) noexcept {
    return self().map_locked(held, dir, until, at);
  }
  /// Errors: wrong_lock, and then the mapping is as it was; those of the device, and then it is gone all the same.
  /// Kernel: dma_buf_unmap_attachment.
  [[nodiscard]] result<void> unmap(const resv_lock& held, mapping<Device>&& gone) noexcept {
    return self().unmap_locked(held, std::move(gone));
  }

  /// The whole of it.
  [[nodiscard]] Attachment& self() noexcept { return static_cast<Attachment&>(*this); }

 private:
  friend Attachment;
  armed_attachment() noexcept = default;
  ~armed_attachment() = default;
};

}  // namespace PADDOCK_NAMESPACE
