// SPDX-License-Identifier: BSL-1.0
/// \file
/// `dma_buf_fd`: a dma-buf descriptor that this process owns.
#pragma once

#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/kernel/dma_buf_mapping.hpp>
#include <paddock/kernel/dma_buf_ref.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// An owned dma-buf FD, known to be one. Its calls are those of dma_buf_operations.
/// Moved from, it is empty: size 0, and every call answers bad_fd.
class dma_buf_fd final : public dma_buf_operations {
 public:
  dma_buf_fd() noexcept = default;
  dma_buf_fd(dma_buf_fd&& other) noexcept : dma_buf_operations(other), owner_(std::move(other.owner_)) {
    other.clear();
  }
  dma_buf_fd& operator=(dma_buf_fd&& other) noexcept {
    if (this != &other) {
      dma_buf_operations::operator=(other);
      owner_ = std::move(other.owner_);
      other.clear();
    }
    return *this;
  }

  /// Takes the descriptor, and closes it when it is no dma-buf.
  /// Errors: bad_fd. Kernel: fstatfs, fstat.
  [[nodiscard]] static result<dma_buf_fd> adopt(unique_fd fd) noexcept {
    dma_buf_fd made;
    PADDOCK_TRY_VOID(made.identify(fd));
    made.owner_ = std::move(fd);
    return made;
  }

  /// Takes a descriptor that an ioctl has just made as a dma-buf: which one is asked, and not whether. Errors: as
  /// fstat.
  [[nodiscard]] static result<dma_buf_fd> adopt_new(unique_fd fd) noexcept {
    dma_buf_fd made;
    PADDOCK_TRY_VOID(made.learn(fd));
    made.owner_ = std::move(fd);
    return made;
  }

  /// Looks at a descriptor that somebody else owns, without taking it. Errors: bad_fd.
  [[nodiscard]] static result<dma_buf_ref> borrow(borrowed_fd fd) noexcept { return dma_buf_ref::borrow(fd); }
  /// Lends this one.
  [[nodiscard]] dma_buf_ref borrow() const noexcept { return sync_handle(); }

  /// Gives the descriptor away.
  [[nodiscard]] unique_fd release() && noexcept {
    clear();
    return std::move(owner_);
  }

 private:
  unique_fd owner_;
};

inline result<dma_buf_fd> dma_buf_operations::dup() const noexcept {
  PADDOCK_TRY(unique_fd copy, unique_fd::dup(fd_));
  return dma_buf_fd::adopt(std::move(copy));
}

}  // namespace PADDOCK_NAMESPACE::kernel
