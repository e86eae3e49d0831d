// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the exporters of kernel dma-bufs share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include <fmt/format.h>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/kernel/dma_buf_fd.hpp>
#include <paddock/kernel/mapped_memory.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// Used through fd_exporter, heap_exporter and udmabuf_exporter. CPU access is bracketed by the SYNC ioctl, which is
/// the only cache operation that a dma-buf has, and which may wait for fences of the kernel; all exporters of one
/// buffer in this process have one reservation. Which way a device that imports it reaches the bytes is between the
/// kernel's drivers, so that no policy of routes applies.
class dma_buf_exporter {
 public:
  static constexpr p2p_segments p2p = p2p_segments::never;
  static constexpr bool revokes = false;

  [[nodiscard]] result<storage_ptr> initial_storage() noexcept { return storage_; }
  /// The same for every FD and every import of the buffer.
  [[nodiscard]] buffer_id id() const noexcept { return buffer_.id(); }

  /// Errors: permission (a write, and it was imported for reading), those of dma_buf_ref::sync_start().
  /// Kernel: DMA_BUF_IOCTL_SYNC.
  [[nodiscard]] result<void> begin_cpu_access(access what) noexcept {
    if (writes(what) && !writes(permits_)) {
      return fail(errc::permission, "cpu_access of a dma-buf that was imported for reading");
    }
    return buffer_.sync_start(what);
  }
  [[nodiscard]] result<void> end_cpu_access(access what) noexcept { return buffer_.sync_end(what); }

  /// The dma-buf, for as long as the exporter or its storage lives.
  [[nodiscard]] const dma_buf_ref& buffer() const noexcept { return buffer_; }
  /// Its exporter in the kernel, its inode and its name, as far as they are to be had.
  [[nodiscard]] std::string name() const {
    const auto info = buffer_.info();
    return info
               ? fmt::format("{}, inode {}{}{}", info->exporter, id().inode, info->name.empty() ? "" : ", ", info->name)
               : fmt::format("inode {}", id().inode);
  }
  /// One more FD of it, for other processes and other libraries. Errors: limit_reached.
  [[nodiscard]] result<dma_buf_fd> export_fd() const noexcept { return buffer_.dup(); }

 protected:
  /// By the buffer's own mmap, where it has one. Errors: permission (to write, and the FD is read-only),
  /// out_of_memory, bad_fd.
  [[nodiscard]] static result<dma_buf_exporter> of(dma_buf_fd buffer, access what) noexcept {
    if (!buffer.valid()) {
      return fail(errc::bad_fd, "a buffer of no dma-buf");
    }
    segment all{.kind = storage_kind::memory, .length = buffer.size()};
    mapped_memory bytes;
    if (auto mapped = mapped_memory::map(buffer.fd(), what, 0, buffer.size()); mapped) {
      bytes = std::move(*mapped);
      all.address = bytes.bytes().data();
    } else if (mapped.error() != errc::not_mappable) {
      return fail(mapped.error());
    }
    return of(std::move(buffer), std::move(bytes), all, what);
  }
  /// By `memory`, which the storage keeps. Errors: out_of_memory.
  template <class Memory>
  [[nodiscard]] static result<dma_buf_exporter> of(dma_buf_fd buffer, Memory memory, const segment& all,
                                                   access what) noexcept {
    const dma_buf_ref lent = buffer.borrow();
    PADDOCK_TRY(storage_ptr made, make_storage(owner<Memory>{std::move(buffer), std::move(memory)}, all));
    return dma_buf_exporter(std::move(made), lent, what);
  }

 private:
  template <class Memory>
  struct owner {
    dma_buf_fd buffer;
    Memory memory;
    [[nodiscard]] borrowed_fd dma_buf() const noexcept { return buffer.fd(); }
    [[nodiscard]] result<void> begin_cpu_access(access what) const noexcept { return buffer.sync_start(what); }
    [[nodiscard]] result<void> end_cpu_access(access what) const noexcept { return buffer.sync_end(what); }
    [[nodiscard]] result<bool> is_held_elsewhere() const noexcept {
      // A mapping of the dma-buf itself counts, one of the memory that it is made of does not.
      constexpr bool maps_it = std::is_same_v<Memory, mapped_memory>;
      PADDOCK_TRY(const dma_buf_info now, read_dma_buf_info(buffer.fd()));
      return now.references > (maps_it && !is_unmapped() ? 2U : 1U);
    }
    [[nodiscard]] bool is_unmapped() const noexcept {
      if constexpr (requires { memory.bytes().empty(); }) {
        return memory.bytes().empty();
      } else {
        return true;
      }
    }
  };

  dma_buf_exporter(storage_ptr storage, const dma_buf_ref& buffer, access permits) noexcept
      : storage_(std::move(storage)), buffer_(buffer), permits_(permits) {}

  storage_ptr storage_;
  dma_buf_ref buffer_;  ///< Lent by the storage.
  access permits_;
};

}  // namespace PADDOCK_NAMESPACE::kernel
