// SPDX-License-Identifier: BSL-1.0
/// \file
/// `udmabuf_device` makes dma-bufs of memfd pages; `udmabuf` is such a buffer together with its memory.
/// Kernel: drivers/dma-buf/udmabuf.c, since 4.20.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/uapi/udmabuf.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/kernel/dma_buf_fd.hpp>
#include <paddock/kernel/mapped_memory.hpp>
#include <paddock/kernel/memfd.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// Part of a memfd that somebody keeps open during the call. Offset and size are in bytes, multiples of the page.
struct udmabuf_window {
  borrowed_fd memory;
  std::uint64_t offset{0};
  std::uint64_t size{0};
};

/// An open /dev/udmabuf. What the kernel answers with one EINVAL for all is told apart here: the seals before the call,
/// since kernels before 6.13 let some pass, and the rest after it, which costs nothing where it succeeds.
class udmabuf_device {
 public:
  /// Errors: unsupported_by_kernel (no such node), permission (often the group "kvm" may open it).
  [[nodiscard]] static result<udmabuf_device> open(const char* path = "/dev/udmabuf") noexcept {
    PADDOCK_TRY(unique_fd fd, detail::open(path, O_RDWR, "open(/dev/udmabuf)"));
    return udmabuf_device(std::move(fd));
  }

  /// A dma-buf of one window. The pages stay pinned while the buffer lives, the memfd may be closed.
  /// Requires: a memfd with F_SEAL_SHRINK and neither F_SEAL_WRITE nor F_SEAL_FUTURE_WRITE.
  /// Errors: misaligned, invalid_argument (empty, or the seals), out_of_range (leaves the memfd), bad_fd (no memfd),
  /// limit_reached (size_limit_mb of the module, 64 MiB unless changed; FDs), out_of_memory. Kernel: UDMABUF_CREATE.
  [[nodiscard]] result<dma_buf_fd> create(const udmabuf_window& window) const noexcept;
  /// One dma-buf of several windows, one after the other, of one memfd or of many.
  /// Errors: as above; limit_reached also for more than list_limit windows. Kernel: UDMABUF_CREATE_LIST.
  [[nodiscard]] result<dma_buf_fd> create(std::span<const udmabuf_window> windows) const noexcept;

  [[nodiscard]] borrowed_fd fd() const noexcept { return fd_.borrow(); }

 private:
  explicit udmabuf_device(unique_fd fd) noexcept : fd_(std::move(fd)) {}

  /// What the arguments and the seals tell.
  [[nodiscard]] static result<void> check(const udmabuf_window& window) noexcept;
  /// Whether it lies in its memory.
  [[nodiscard]] static result<void> check_range(const udmabuf_window& window) noexcept;
  /// The kernel's EINVAL that is no window's fault is a limit that root can raise: the error says which.
  [[nodiscard]] static result<dma_buf_fd> adopt_or_explain(const result<int>& made,
                                                           std::span<const udmabuf_window> windows,
                                                           const char* limit) noexcept {
    if (!made && made.error().sys_errno == EINVAL) [[unlikely]] {
      for (const udmabuf_window& window : windows) {
        PADDOCK_TRY_VOID(check_range(window));
      }
      return fail(error{made.error().code, EINVAL, limit});
    }
    PADDOCK_TRY(const int fd, made);
    return dma_buf_fd::adopt_new(unique_fd::adopt(fd));
  }

  unique_fd fd_;
};

/// A dma-buf and the memory that it is made of. The dma-buf goes to DRM, the address of the memory to VFIO type1, which
/// cannot map a dma-buf, and both name the same pages.
class udmabuf {
 public:
  /// Makes memory of `size` bytes, rounded up to whole pages, zeroed, and a dma-buf of all of it.
  /// Errors: as memfd::create, udmabuf_device::create and set_name.
  [[nodiscard]] static result<udmabuf> create(const udmabuf_device& device, std::uint64_t size,
                                              const char* name = "paddock") noexcept;
  /// Makes a dma-buf of all of this memory, which is consumed in any case. Errors: as udmabuf_device::create.
  [[nodiscard]] static result<udmabuf> create(const udmabuf_device& device, memfd memory) noexcept;

  [[nodiscard]] const dma_buf_fd& buffer() const noexcept { return buffer_; }
  [[nodiscard]] const memfd& memory() const noexcept { return memory_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return buffer_.size(); }

  /// Gives both parts away.
  [[nodiscard]] std::pair<dma_buf_fd, memfd> release() && noexcept { return {std::move(buffer_), std::move(memory_)}; }

 private:
  udmabuf(dma_buf_fd buffer, memfd memory) noexcept : buffer_(std::move(buffer)), memory_(std::move(memory)) {}

  dma_buf_fd buffer_;
  memfd memory_;
};

inline result<void> udmabuf_device::check(const udmabuf_window& window) noexcept {
  const std::uint64_t page = detail::page_size();
  if (window.offset % page != 0 || window.size % page != 0) {
    return fail(errc::misaligned, "udmabuf window (whole pages)");
  }
  if (window.size == 0) {
    return fail(errc::invalid_argument, "udmabuf window of nothing");
  }
  PADDOCK_TRY(const unsigned seals, memfd::seals_of(window.memory));
  if ((seals & F_SEAL_SHRINK) == 0) {
    return fail(errc::invalid_argument, "udmabuf memory (needs F_SEAL_SHRINK)");
  }
  if ((seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) {
    return fail(errc::invalid_argument, "udmabuf memory (sealed against writing)");
  }
  return {};
}

inline result<void> udmabuf_device::check_range(const udmabuf_window& window) noexcept {
  struct stat file {};
  if (::fstat(window.memory.get(), &file) != 0) {
    return fail_errno("fstat");
  }
  if (!range_fits(window.offset, window.size, static_cast<std::uint64_t>(file.st_size))) {
    return fail(errc::out_of_range, "udmabuf window");
  }
  return {};
}

inline result<dma_buf_fd> udmabuf_device::create(const udmabuf_window& window) const noexcept {
  PADDOCK_TRY_VOID(check(window));
  uapi::udmabuf_create argument{};
  argument.memfd = static_cast<std::uint32_t>(window.memory.get());
  argument.flags = uapi::udmabuf_flags_cloexec;
  argument.offset = window.offset;
  argument.size = window.size;
  return adopt_or_explain(detail::ioctl(fd_, uapi::udmabuf_create_ioctl, &argument, "UDMABUF_CREATE"), {&window, 1},
                          "UDMABUF_CREATE (module parameter udmabuf.size_limit_mb)");
}

inline result<dma_buf_fd> udmabuf_device::create(std::span<const udmabuf_window> windows) const noexcept {
  if (windows.empty()) {
    return fail(errc::invalid_argument, "udmabuf of no windows");
  }
  // More than any list_limit can be, and room for the sum of bytes below.
  if (windows.size() > 0x7fffffffU) {
    return fail(errc::limit_reached, "udmabuf list_limit");
  }
  using item = uapi::udmabuf_create_item;
  using head = uapi::udmabuf_create_list;
  static_assert(sizeof(head) == sizeof(std::uint64_t) && sizeof(item) % sizeof(std::uint64_t) == 0);
  const std::size_t words = (sizeof(head) + windows.size() * sizeof(item)) / sizeof(std::uint64_t);
  const std::unique_ptr<std::uint64_t[]> argument(new (std::nothrow) std::uint64_t[words]());
  if (argument == nullptr) {
    return fail(errc::out_of_memory, "UDMABUF_CREATE_LIST");
  }
  const head first{uapi::udmabuf_flags_cloexec, static_cast<std::uint32_t>(windows.size())};
  std::memcpy(argument.get(), &first, sizeof first);
  std::uint64_t* next = argument.get() + 1;
  for (const udmabuf_window& window : windows) {
    PADDOCK_TRY_VOID(check(window));
    const item entry{static_cast<std::uint32_t>(window.memory.get()), 0, window.offset, window.size};
    std::memcpy(next, &entry, sizeof entry);
    next += sizeof(item) / sizeof(std::uint64_t);
  }
  return adopt_or_explain(detail::ioctl(fd_, uapi::udmabuf_create_list_ioctl, argument.get(), "UDMABUF_CREATE_LIST"),
                          windows,
                          "UDMABUF_CREATE_LIST (module parameter udmabuf.size_limit_mb or udmabuf.list_limit)");
}

inline result<udmabuf> udmabuf::create(const udmabuf_device& device, memfd memory) noexcept {
  PADDOCK_TRY(dma_buf_fd buffer, device.create(udmabuf_window{memory.fd(), 0, memory.size()}));
  return udmabuf(std::move(buffer), std::move(memory));
}

inline result<udmabuf> udmabuf::create(const udmabuf_device& device, std::uint64_t size, const char* name) noexcept {
  PADDOCK_TRY(memfd memory, memfd::create(size, name));
  PADDOCK_TRY(udmabuf made, create(device, std::move(memory)));
  PADDOCK_TRY_VOID(made.buffer_.set_name(name));
  return made;
}

}  // namespace PADDOCK_NAMESPACE::kernel
