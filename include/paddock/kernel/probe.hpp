// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the running kernel can do, asked by calls that must fail in a known way and change nothing. Neither the version
/// of the kernel nor the headers of the build machine are looked at: distributions backport, and switch off.
#pragma once

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include <paddock/base/error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/uapi/dma_buf.hpp>
#include <paddock/base/uapi/sync_file.hpp>
#include <paddock/base/uapi/udmabuf.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/kernel/dma_buf_fd.hpp>
#include <paddock/kernel/dma_heap.hpp>
#include <paddock/kernel/memfd.hpp>
#include <paddock/kernel/probe_answer.hpp>
#include <paddock/kernel/sync_file.hpp>
#include <paddock/kernel/udmabuf.hpp>

namespace PADDOCK_NAMESPACE::kernel {

enum class feature : std::uint8_t {
  dma_heap,            ///< /dev/dma_heap, and the system heap in it (5.6).
  udmabuf,             ///< /dev/udmabuf (4.20).
  memfd_sealing,       ///< What udmabuf is made of (3.17).
  dma_buf_sync,        ///< DMA_BUF_IOCTL_SYNC (4.6).
  dma_buf_name,        ///< DMA_BUF_SET_NAME_B (5.7).
  export_sync_file,    ///< DMA_BUF_IOCTL_EXPORT_SYNC_FILE (6.0).
  import_sync_file,    ///< DMA_BUF_IOCTL_IMPORT_SYNC_FILE (6.0).
  sync_file_deadline,  ///< SYNC_IOC_SET_DEADLINE (6.6).
};

inline constexpr std::array all_features{
    feature::dma_heap,     feature::udmabuf,          feature::memfd_sealing,    feature::dma_buf_sync,
    feature::dma_buf_name, feature::export_sync_file, feature::import_sync_file, feature::sync_file_deadline};

[[nodiscard]] constexpr const char* name(feature f) noexcept {
  switch (f) {
    case feature::dma_heap: return "dma_heap";
    case feature::udmabuf: return "udmabuf";
    case feature::memfd_sealing: return "memfd_sealing";
    case feature::dma_buf_sync: return "dma_buf_sync";
    case feature::dma_buf_name: return "dma_buf_name";
    case feature::export_sync_file: return "export_sync_file";
    case feature::import_sync_file: return "import_sync_file";
    case feature::sync_file_deadline: return "sync_file_deadline";
  }
  return "unknown";
}

/// Asks the kernel. Features of dma-bufs are asked of one that is made for that, by the system heap or udmabuf; where
/// neither works the answer is unknown, and probe(feature, buffer) can ask a buffer that the caller has.
/// The answer does not change while the kernel runs (permissions may): keep it. Costs some system calls each time.
/// Thread-safety: any thread.
[[nodiscard]] probe_answer probe(feature f);
/// Asks with the caller's dma-buf. Nothing is changed by it. A feature that is not one of dma-bufs is asked as above.
[[nodiscard]] probe_answer probe(feature f, const dma_buf_operations& buffer);

}  // namespace PADDOCK_NAMESPACE::kernel

namespace PADDOCK_NAMESPACE::detail {

/// The answer to a call that cannot succeed: `expected` shows that the kernel knows it.
[[nodiscard]] inline kernel::probe_answer read_refusal(const result<int>& answer, int expected) noexcept {
  if (answer || answer.error().sys_errno == expected) {
    return {kernel::answer::yes, {}};
  }
  const int got = answer.error().sys_errno;
  const bool is_no = got == ENOTTY || got == ENOSYS;
  return {is_no ? kernel::answer::no : kernel::answer::unknown,
          is_no ? error{errc::unsupported_by_kernel, got, answer.error().where} : answer.error()};
}

/// The answer of something that was made or opened.
template <class T>
[[nodiscard]] kernel::probe_answer read_attempt(const result<T>& made) noexcept {
  if (made) {
    return {kernel::answer::yes, {}};
  }
  const errc code = made.error().code;
  const bool is_no = code == errc::not_found || code == errc::unsupported_by_kernel || code == errc::permission ||
                     code == errc::no_device;
  return {is_no ? kernel::answer::no : kernel::answer::unknown, made.error()};
}

/// Some dma-buf of one page. Errors: of the last way tried.
[[nodiscard]] inline result<kernel::dma_buf_fd> make_probe_buffer() {
  if (const auto heap = kernel::dma_heap::open("system")) {
    if (auto buffer = heap->allocate(page_size())) {
      return buffer;
    }
  }
  PADDOCK_TRY(const auto device, kernel::udmabuf_device::open());
  PADDOCK_TRY(auto memory, kernel::memfd::create(page_size(), "paddock-probe"));
  return device.create(kernel::udmabuf_window{memory.fd(), 0, memory.size()});
}

[[nodiscard]] inline kernel::probe_answer probe_udmabuf() noexcept {
  const auto device = kernel::udmabuf_device::open();
  if (!device) {
    return read_attempt(device);
  }
  uapi::udmabuf_create nothing{};
  nothing.memfd = static_cast<std::uint32_t>(-1);
  nothing.size = page_size();
  return read_refusal(ioctl(device->fd(), uapi::udmabuf_create_ioctl, &nothing, "UDMABUF_CREATE"), EBADFD);
}

}  // namespace PADDOCK_NAMESPACE::detail

namespace PADDOCK_NAMESPACE::kernel {

inline probe_answer probe(feature f, const dma_buf_operations& buffer) {
  // Bits and pointers that no kernel accepts, so that one that knows the call refuses them, and nothing happens.
  uapi::dma_buf_sync no_direction{};
  uapi::dma_buf_sync_file no_access{};
  switch (f) {
    case feature::dma_buf_sync:
      return detail::read_refusal(
          detail::ioctl(buffer.fd(), uapi::dma_buf_ioctl_sync, &no_direction, "DMA_BUF_IOCTL_SYNC"), EINVAL);
    case feature::dma_buf_name:
      return detail::read_refusal(
          detail::ioctl(buffer.fd(), uapi::dma_buf_set_name_b, static_cast<void*>(nullptr), "DMA_BUF_SET_NAME_B"),
          EFAULT);
    case feature::export_sync_file:
      return detail::read_refusal(detail::ioctl(buffer.fd(), uapi::dma_buf_ioctl_export_sync_file, &no_access,
                                                "DMA_BUF_IOCTL_EXPORT_SYNC_FILE"),
                                  EINVAL);
    case feature::import_sync_file:
      return detail::read_refusal(detail::ioctl(buffer.fd(), uapi::dma_buf_ioctl_import_sync_file, &no_access,
                                                "DMA_BUF_IOCTL_IMPORT_SYNC_FILE"),
                                  EINVAL);
    case feature::sync_file_deadline: {
      const auto fences = buffer.export_sync_file(access::write);
      if (!fences) {
        return {answer::unknown, fences.error()};
      }
      uapi::sync_set_deadline bad_padding{0, 1};
      return detail::read_refusal(
          detail::ioctl(fences->fd(), uapi::sync_ioc_set_deadline, &bad_padding, "SYNC_IOC_SET_DEADLINE"), EINVAL);
    }
    case feature::dma_heap: return detail::read_attempt(dma_heap::open("system"));
    case feature::udmabuf: return detail::probe_udmabuf();
    case feature::memfd_sealing: return detail::read_attempt(memfd::create(1, "paddock-probe"));
  }
  return {answer::unknown, error{errc::invalid_argument, 0, "probe"}};
}

inline probe_answer probe(feature f) {
  if (f == feature::dma_heap || f == feature::udmabuf || f == feature::memfd_sealing) {
    return probe(f, dma_buf_ref());
  }
  const auto buffer = detail::make_probe_buffer();
  if (!buffer) {
    return {answer::unknown, buffer.error()};
  }
  return probe(f, *buffer);
}

}  // namespace PADDOCK_NAMESPACE::kernel
