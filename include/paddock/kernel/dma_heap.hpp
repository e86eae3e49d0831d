// SPDX-License-Identifier: BSL-1.0
/// \file
/// `dma_heap`: allocates dma-bufs from a named heap of the kernel. Which heap is the caller's decision, always:
/// dma_heap_list.hpp helps to make it. Kernel: drivers/dma-buf/dma-heap.c, since 5.6.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <climits>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/uapi/dma_heap.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/kernel/dma_buf_fd.hpp>

namespace PADDOCK_NAMESPACE::kernel {

inline constexpr const char* dma_heap_directory = "/dev/dma_heap";

/// An open heap.
class dma_heap {
 public:
  /// Opens the heap of this name: "system", "default_cma_region", what the board calls its own.
  /// Errors: invalid_argument (not a name), not_found, permission. Kernel: open(/dev/dma_heap/NAME).
  [[nodiscard]] static result<dma_heap> open(std::string_view name, const char* directory = dma_heap_directory);

  /// Allocates `size` bytes, rounded up to whole pages: size() of the buffer tells. From the system heap they are zero.
  /// `name`, unless empty, is given to the buffer, for people who read fdinfo.
  /// Errors: invalid_argument (size 0, the name), limit_reached (more than this machine has, which the kernel would try
  /// with the OOM killer's help; FDs), out_of_memory (contiguous memory ran out, and the like), bad_fd (not a heap).
  /// Kernel: DMA_HEAP_IOCTL_ALLOC, DMA_BUF_SET_NAME_B.
  [[nodiscard]] result<dma_buf_fd> allocate(std::uint64_t size, std::string_view name = {}) const noexcept;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] borrowed_fd fd() const noexcept { return fd_.borrow(); }

 private:
  dma_heap(unique_fd fd, std::string name) noexcept : fd_(std::move(fd)), name_(std::move(name)) {}

  unique_fd fd_;
  std::string name_;
};

inline result<dma_heap> dma_heap::open(std::string_view name, const char* directory) {
  // A name is one component of a path: nothing may lead out of the directory.
  if (name.empty() || name == "." || name == ".." || name.size() > NAME_MAX ||
      name.find_first_of(std::string_view("/\0", 2)) != std::string_view::npos) {
    return fail(errc::invalid_argument, "dma-heap name");
  }
  std::string own(name);
  const std::string path = std::string(directory) + "/" + own;
  PADDOCK_TRY(unique_fd fd, detail::open(path.c_str(), O_RDONLY, "open(/dev/dma_heap/NAME)"));
  return dma_heap(std::move(fd), std::move(own));
}

inline result<dma_buf_fd> dma_heap::allocate(std::uint64_t size, std::string_view name) const noexcept {
  // To ask how much memory there is takes as long as to allocate a page; no machine with heaps has less than this.
  constexpr std::uint64_t always_there = std::uint64_t{4} << 20U;
  if (size > always_there && size > static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * detail::page_size()) {
    return fail(errc::limit_reached, "DMA_HEAP_IOCTL_ALLOC (more than the machine's memory)");
  }
  uapi::dma_heap_allocation argument{};
  argument.len = size;
  argument.fd_flags = O_RDWR | O_CLOEXEC;
  PADDOCK_TRY_VOID(detail::ioctl(fd_, uapi::dma_heap_ioctl_alloc, &argument, "DMA_HEAP_IOCTL_ALLOC"));
  PADDOCK_TRY(dma_buf_fd buffer, dma_buf_fd::adopt_new(unique_fd::adopt(static_cast<int>(argument.fd))));
  if (!name.empty()) {
    PADDOCK_TRY_VOID(buffer.set_name(name));
  }
  return buffer;
}

}  // namespace PADDOCK_NAMESPACE::kernel
