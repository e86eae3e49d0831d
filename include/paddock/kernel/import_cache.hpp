// SPDX-License-Identifier: BSL-1.0
/// \file
/// `kernel::import_cache`: a dma-buf that comes in again, as another descriptor, is the buffer that it was.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/kernel/dma_buf_fd.hpp>
#include <paddock/kernel/fd_exporter.hpp>
#include <paddock/policy/selection.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// Buffers by what they are, not by descriptor, whose numbers are used again: a client's pictures, say. It keeps each
/// until forget(), or trim() finds that nobody else does. Thread-safety: one thread at a time.
class import_cache {
 public:
  using buffer = dma_buf<fd_exporter>;

  /// The buffer of that dma-buf: the one that is known, and then this descriptor is closed, or a new one. `what` is
  /// what the CPU will do; it counts when the buffer is made. Errors: as fd_exporter::import_() and dma_buf::create().
  [[nodiscard]] result<buffer_ptr<buffer>> import_(dma_buf_fd from, access what = access::read_write) {
    const buffer_id id = from.id();
    if (const auto known = find(id); known != all_.end()) {
      return known->second;
    }
    PADDOCK_TRY(fd_exporter made, fd_exporter::import_(std::move(from), what));
    PADDOCK_TRY(buffer_ptr<buffer> held, buffer::create(std::move(made)));
    all_.emplace_back(id, held);
    return held;
  }
  /// The buffer is not found any more; who has a reference keeps it. Returns whether it was there.
  bool forget(buffer_id id) noexcept {
    const auto known = find(id);
    if (known == all_.end()) {
      return false;
    }
    all_.erase(known);
    return true;
  }
  /// Forgets those that nobody else has. Returns how many are left.
  std::size_t trim() noexcept {
    std::erase_if(all_, [](const entry& each) { return each.second->has_one_reference(); });
    return all_.size();
  }
  [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }

 private:
  using entry = std::pair<buffer_id, buffer_ptr<buffer>>;
  [[nodiscard]] std::vector<entry>::iterator find(buffer_id id) noexcept {
    return std::ranges::find(all_, id, &entry::first);
  }

  std::vector<entry> all_;
};

}  // namespace PADDOCK_NAMESPACE::kernel
