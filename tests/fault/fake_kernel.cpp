// SPDX-License-Identifier: BSL-1.0
#include "fake_kernel.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <ctime>

#include <paddock/base/uapi/dma_buf.hpp>
#include <paddock/base/uapi/dma_heap.hpp>
#include <paddock/base/uapi/sync_file.hpp>
#include <paddock/base/uapi/udmabuf.hpp>

namespace uapi = paddock::uapi;

namespace fake_kernel {

fence_behaviour fences;
int interrupt_every_ms = 0;

namespace {

// Plain data only: a sanitizer's runtime calls mmap and close before any constructor runs.
struct {
  bool armed;
  int first, count, sys_errno, made;
  bool injected;
  call hit;
} plan;
int start_count = 0;
int end_count = 0;

/// True when this call has to fail; errno is set.
bool fails(call which) noexcept {
  if (!plan.armed) {
    return false;
  }
  const int number = plan.made++;
  if (number < plan.first || number - plan.first >= plan.count) {
    return false;
  }
  if (!plan.injected) {
    plan.injected = true;
    plan.hit = which;
  }
  errno = plan.sys_errno;
  return true;
}

enum class kind : std::uint8_t { other, heap, udmabuf, dma_buf, sync_file };

struct object {
  ino_t inode;
  kind type;
};
object objects[1 << 16];
int object_count = 0;

kind kind_of(int fd) noexcept {
  struct stat file {};
  if (::syscall(SYS_fstat, fd, &file) != 0) {
    return kind::other;
  }
  const auto* const end = objects + object_count;
  // The latest first: an inode number may come back.
  for (const object* known = end; known-- != objects;) {
    if (known->inode == file.st_ino) {
      return known->type;
    }
  }
  return kind::other;
}

int make(kind type, std::uint64_t size) noexcept {
  const int fd = static_cast<int>(::syscall(SYS_memfd_create, "fake", MFD_CLOEXEC));
  struct stat file {};
  if (fd < 0 || ::syscall(SYS_ftruncate, fd, size) != 0 || ::syscall(SYS_fstat, fd, &file) != 0 ||
      object_count == static_cast<int>(sizeof objects / sizeof objects[0])) {
    return -1;
  }
  objects[object_count++] = {file.st_ino, type};
  return fd;
}

int refuse(int sys_errno) noexcept {
  errno = sys_errno;
  return -1;
}

int dma_buf_ioctl(unsigned long request, void* argument) noexcept {
  if (request == uapi::dma_buf_ioctl_sync) {
    const auto flags = static_cast<const uapi::dma_buf_sync*>(argument)->flags;
    if ((flags & 3) == 0) {
      return refuse(EINVAL);
    }
    ++((flags & uapi::dma_buf_sync_end) != 0 ? end_count : start_count);
    return 0;
  }
  if (request == uapi::dma_buf_set_name_b) {
    return argument != nullptr ? 0 : refuse(EFAULT);
  }
  auto* const sync = static_cast<uapi::dma_buf_sync_file*>(argument);
  if (request == uapi::dma_buf_ioctl_export_sync_file) {
    if ((sync->flags & 3) == 0) {
      return refuse(EINVAL);
    }
    sync->fd = make(kind::sync_file, 0);
    return 0;
  }
  if (request == uapi::dma_buf_ioctl_import_sync_file) {
    return (sync->flags & 3) != 0 && kind_of(sync->fd) == kind::sync_file ? 0 : refuse(EINVAL);
  }
  return refuse(ENOTTY);
}

int sync_file_ioctl(unsigned long request, void* argument) noexcept {
  if (request == uapi::sync_ioc_merge) {
    auto* const merge = static_cast<uapi::sync_merge_data*>(argument);
    if (kind_of(merge->fd2) != kind::sync_file) {
      return refuse(ENOENT);
    }
    merge->fence = make(kind::sync_file, 0);
    return 0;
  }
  if (request == uapi::sync_ioc_file_info) {
    auto* const info = static_cast<uapi::sync_file_info*>(argument);
    static std::uint32_t count = 1;
    if (info->num_fences != 0 && fences.growing > 0) {
      --fences.growing;
      ++count;
    }
    if (info->num_fences != 0 && info->num_fences < count) {
      return refuse(EINVAL);
    }
    if (info->num_fences != 0) {
      auto* const records = reinterpret_cast<uapi::sync_fence_info*>(info->sync_fence_info);
      std::fill_n(records, count, uapi::sync_fence_info{"timeline", "driver", fences.status, 0, 1});
    }
    info->num_fences = count;
    info->status = fences.status;
    return 0;
  }
  if (request == uapi::sync_ioc_set_deadline) {
    return static_cast<const uapi::sync_set_deadline*>(argument)->pad == 0 ? 0 : refuse(EINVAL);
  }
  return refuse(ENOTTY);
}

int udmabuf_ioctl(unsigned long request, void* argument) noexcept {
  if (request == uapi::udmabuf_create_ioctl) {
    const auto* const create = static_cast<const uapi::udmabuf_create*>(argument);
    return ::syscall(SYS_fcntl, create->memfd, F_GET_SEALS) < 0 ? refuse(EBADFD) : make(kind::dma_buf, create->size);
  }
  if (request == uapi::udmabuf_create_list_ioctl) {
    uapi::udmabuf_create_list head;
    std::memcpy(&head, argument, sizeof head);
    std::uint64_t size = 0;
    for (std::uint32_t i = 0; i < head.count; ++i) {
      uapi::udmabuf_create_item item;
      std::memcpy(&item, static_cast<const char*>(argument) + sizeof head + i * sizeof item, sizeof item);
      size += item.size;
    }
    return size != 0 ? make(kind::dma_buf, size) : refuse(EINVAL);
  }
  return refuse(ENOTTY);
}

int dispatch(int fd, unsigned long request, void* argument) noexcept {
  switch (kind_of(fd)) {
    case kind::dma_buf: return dma_buf_ioctl(request, argument);
    case kind::sync_file: return sync_file_ioctl(request, argument);
    case kind::udmabuf: return udmabuf_ioctl(request, argument);
    case kind::heap: {
      auto* const allocation = static_cast<uapi::dma_heap_allocation*>(argument);
      allocation->fd = static_cast<std::uint32_t>(make(kind::dma_buf, (allocation->len + 4095) / 4096 * 4096));
      return 0;
    }
    case kind::other: break;
  }
  return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
}

/// What ppoll does for a fence: ready, or a wait that the deadline or a signal ends.
int poll_fence(pollfd* entry, const timespec* timeout) noexcept {
  if (fences.completes) {
    entry->revents = static_cast<short>(entry->events | fences.extra_revents);
    return 1;
  }
  timespec slice{0, 1'000'000L * std::max(interrupt_every_ms, 1)};
  const bool shorter = timeout != nullptr && (timeout->tv_sec == 0 && timeout->tv_nsec <= slice.tv_nsec);
  if (shorter) {
    slice = *timeout;
  }
  ::syscall(SYS_nanosleep, &slice, nullptr);
  entry->revents = 0;
  return shorter ? 0 : refuse(EINTR);
}

}  // namespace

void arm(int first, int count, int sys_errno) noexcept {
  plan = {true, first, count, sys_errno, 0, false, call::ioctl};
  start_count = 0;
  end_count = 0;
}
int disarm() noexcept {
  plan.armed = false;
  return plan.made;
}
bool has_injected() noexcept { return plan.injected; }
call first_injected() noexcept { return plan.hit; }
int starts() noexcept { return start_count; }
int ends() noexcept { return end_count; }

int open_descriptors() noexcept {
  DIR* const folder = ::opendir("/proc/self/fd");
  int count = 0;
  while (::readdir(folder) != nullptr) {
    ++count;
  }
  ::closedir(folder);
  return count;
}

}  // namespace fake_kernel

using namespace fake_kernel;

// The names that paddock calls. Everything that is not ours goes on to the kernel.
extern "C" {

int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list list;
  va_start(list, request);
  void* const argument = va_arg(list, void*);
  va_end(list);
  if (fails(call::ioctl)) {
    // An END that failed was tried all the same.
    if (request == uapi::dma_buf_ioctl_sync && errno != EINTR && errno != EAGAIN &&
        (static_cast<const uapi::dma_buf_sync*>(argument)->flags & uapi::dma_buf_sync_end) != 0) {
      ++end_count;
    }
    return -1;
  }
  return dispatch(fd, request, argument);
}

int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  if (fails(call::ppoll)) {
    return -1;
  }
  if (count == 1 && (kind_of(fds->fd) == kind::sync_file || kind_of(fds->fd) == kind::dma_buf)) {
    return poll_fence(fds, timeout);
  }
  timespec left = timeout != nullptr ? *timeout : timespec{};
  return static_cast<int>(::syscall(SYS_ppoll, fds, count, timeout != nullptr ? &left : nullptr, mask, 8));
}

int fcntl(int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  const long argument = va_arg(list, long);
  va_end(list);
  return fails(call::fcntl) ? -1 : static_cast<int>(::syscall(SYS_fcntl, fd, command, argument));
}

void* mmap(void* address, std::size_t length, int protection, int flags, int fd, off_t offset) noexcept {
  // Only mappings of files: the allocator of the C library has its own way, a sanitizer's may come through here.
  if (fd >= 0 && fails(call::mmap)) {
    return MAP_FAILED;
  }
  return reinterpret_cast<void*>(::syscall(SYS_mmap, address, length, protection, flags, fd, offset));
}

int madvise(void* address, std::size_t length, int advice) noexcept {
  // As above: allocators give other advice.
  if (advice == MADV_DONTFORK && fails(call::madvise)) {
    return -1;
  }
  return static_cast<int>(::syscall(SYS_madvise, address, length, advice));
}

int open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const auto mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, unsigned) : 0U;
  va_end(list);
  const bool is_heap = std::strcmp(path, "/dev/dma_heap/system") == 0;
  if (fails(call::open)) {
    return -1;
  }
  if (is_heap || std::strcmp(path, "/dev/udmabuf") == 0) {
    return make(is_heap ? kind::heap : kind::udmabuf, 0);
  }
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

int fstat(int fd, struct stat* to) noexcept {
  return fails(call::fstat) ? -1 : static_cast<int>(::syscall(SYS_fstat, fd, to));
}

int fstatfs(int fd, struct statfs* to) noexcept {
  if (fails(call::fstatfs)) {
    return -1;
  }
  const int answer = static_cast<int>(::syscall(SYS_fstatfs, fd, to));
  if (answer == 0 && kind_of(fd) == kind::dma_buf) {
    to->f_type = uapi::dma_buf_magic;
  }
  return answer;
}

int memfd_create(const char* name, unsigned flags) noexcept {
  return fails(call::memfd_create) ? -1 : static_cast<int>(::syscall(SYS_memfd_create, name, flags));
}

int ftruncate(int fd, off_t size) noexcept {
  return fails(call::ftruncate) ? -1 : static_cast<int>(::syscall(SYS_ftruncate, fd, size));
}

int close(int fd) {
  const bool failing = fails(call::close);
  // As in Linux: the descriptor is gone whatever the answer.
  const int sys_errno = errno;
  const int answer = static_cast<int>(::syscall(SYS_close, fd));
  if (failing) {
    errno = sys_errno;
    return -1;
  }
  return answer;
}

}  // extern "C"
