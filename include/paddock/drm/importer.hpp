// SPDX-License-Identifier: BSL-1.0
/// \file
/// `drm::importer`: a DRM device as the device of attachments. Kernel: drivers/gpu/drm/drm_prime.c.
#pragma once

#include <string>
#include <utility>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/device.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/drm/device.hpp>
#include <paddock/drm/gem.hpp>
#include <paddock/kernel/dma_buf_ref.hpp>
#include <paddock/policy/cache.hpp>

namespace PADDOCK_NAMESPACE::drm {

/// Makes a buffer's dma-buf a GEM handle. The kernel's drivers map it for the hardware, move it, and look after its
/// caches, so that neither a direction nor a route is paddock's business here, and its fences are those of
/// kernel::implicit_sync. Only storage that is a dma-buf can be imported; of memory kernel::udmabuf_exporter makes one.
/// Thread-safety: any thread.
class importer {
 public:
  using mapped = gem;
  using cache = coherent;

  explicit importer(drm::device into) noexcept : into_(std::move(into)) {}

  /// Errors: unsupported_by_kernel (the storage is no dma-buf); those of gem::import_().
  [[nodiscard]] result<gem> map(const storage_ptr& what, direction) noexcept {
    if (!what->dma_buf().valid()) {
      return fail(errc::unsupported_by_kernel, "drm::importer: the storage is no dma-buf");
    }
    PADDOCK_TRY(const kernel::dma_buf_ref buffer, kernel::dma_buf_ref::borrow(what->dma_buf()));
    return gem::import_(into_, buffer);
  }
  [[nodiscard]] result<void> unmap(gem& gone) noexcept {
    gone = {};
    return {};
  }
  /// What it can reach is between its driver and the dma-buf's.
  [[nodiscard]] route_choice reach(const segment&, direction) const noexcept { return {true, fallback::none, nullptr}; }

  [[nodiscard]] const drm::device& device() const noexcept { return into_; }
  [[nodiscard]] std::string name() const { return std::string(into_.driver()); }

 private:
  drm::device into_;
};
static_assert(reaching_device<importer> && named_device<importer>);

}  // namespace PADDOCK_NAMESPACE::drm
