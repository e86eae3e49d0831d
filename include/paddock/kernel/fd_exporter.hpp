// SPDX-License-Identifier: BSL-1.0
/// \file
/// `fd_exporter`: a buffer that is somebody else's dma-buf.
#pragma once

#include <utility>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/kernel/dma_buf_exporter.hpp>
#include <paddock/kernel/dma_buf_fd.hpp>
#include <paddock/policy/residency.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// A dma-buf that came as a descriptor: of a GPU, a camera, another process. The kernel may move its storage, and says
/// nothing of it; so the CPU reaches it, where its exporter has an mmap, and drivers that import the FD.
/// Thread-safety: any thread.
class fd_exporter final : public dma_buf_exporter {
 public:
  using residency = kernel_managed;
  static constexpr bool maps_by_address = false;

  /// Takes the buffer. `what` is what the CPU will do at most. One whose exporter has no mmap is imported all the same,
  /// for devices alone. Errors: permission (to write, and the FD is read-only), out_of_memory, bad_fd.
  [[nodiscard]] static result<fd_exporter> import_(dma_buf_fd buffer, access what = access::read_write) noexcept {
    PADDOCK_TRY(dma_buf_exporter made, of(std::move(buffer), what));
    return fd_exporter(std::move(made));
  }

 private:
  explicit fd_exporter(dma_buf_exporter made) noexcept : dma_buf_exporter(std::move(made)) {}
};
static_assert(identified_exporter<fd_exporter> && bracketing_exporter<fd_exporter>);

}  // namespace PADDOCK_NAMESPACE::kernel
