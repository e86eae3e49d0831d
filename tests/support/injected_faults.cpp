// SPDX-License-Identifier: BSL-1.0
#include "injected_faults.hpp"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace paddock::test::faults {

namespace {

// Plain data, and atomics without constructors: a sanitizer's runtime calls mmap and close before any constructor runs.
constinit std::atomic<bool> is_armed{false};
constinit std::atomic<int> made{0};
constinit std::atomic<const char*> hit{nullptr};
constinit std::atomic<long> mappings{0};
constinit plan current;
constinit thread_local bool is_unaffected = false;

/// True when this call has to fail; errno is set.
bool fails(const char* name) noexcept {
  if (!is_armed.load() || is_unaffected || (current.ioctls_only && std::strcmp(name, "ioctl") != 0)) {
    return false;
  }
  const int number = made.fetch_add(1);
  if (number < current.first || number - current.first >= current.count) {
    return false;
  }
  const char* first = nullptr;
  if (!hit.compare_exchange_strong(first, name) && current.sys_errno == EINTR && std::strcmp(first, name) != 0) {
    return false;  // Signals that interrupt one kind of call need not interrupt the next.
  }
  errno = current.sys_errno;
  return true;
}

/// The function of that name that this program would have called.
template <class Function>
Function next(const char* name) noexcept {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

using syscall_function = long (*)(long, ...);
constinit std::atomic<syscall_function> real_syscall{nullptr};

/// The system call itself. Not by a static of this function, whose guard might sleep by a system call.
long raw(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) noexcept {
  syscall_function real = real_syscall;
  if (real == nullptr) {
    real = next<syscall_function>("syscall");
    real_syscall = real;
  }
  return real(number, a, b, c, d, e, f);
}
template <class T>
long word(T* pointer) noexcept {
  return reinterpret_cast<long>(pointer);
}

/// The call, unless it has to fail.
template <class... Arguments>
long call(const char* name, long number, Arguments... arguments) noexcept {
  return fails(name) ? -1 : raw(number, static_cast<long>(arguments)...);
}

}  // namespace

void arm(const plan& what) noexcept {
  current = what;
  made = 0;
  hit = nullptr;
  is_armed = true;
}
int disarm() noexcept {
  is_armed = false;
  return made;
}
const char* first_hit() noexcept { return hit; }
long live_mappings() noexcept { return mappings; }

unaffected::unaffected() noexcept : before_(is_unaffected) { is_unaffected = true; }
unaffected::~unaffected() { is_unaffected = before_; }

namespace {

int open_by(const char* name, const char* path, int flags, unsigned mode) noexcept {
  return static_cast<int>(call(name, SYS_openat, AT_FDCWD, word(path), flags, mode));
}
void* map_by(void* address, std::size_t length, int protection, int flags, int fd, off_t offset) noexcept {
  const long at = call("mmap", SYS_mmap, word(address), length, protection, flags, fd, offset);
  // In place of others it is no new one.
  if (at != -1 && (flags & MAP_FIXED) == 0 && is_armed && !is_unaffected) {
    ++mappings;
  }
  return reinterpret_cast<void*>(at);
}

/// Whether it is an eventfd, which takes every write, or is readable already; a signal may be in its way.
bool has_room(int fd) noexcept {
  if (!is_armed || current.sys_errno == EINTR) {
    return false;
  }
  char link[32];
  char target[32]{};
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  raw(SYS_readlinkat, AT_FDCWD, word(link), word(target), sizeof target - 1);
  return std::strcmp(target, "anon_inode:[eventfd]") == 0;
}

}  // namespace

}  // namespace paddock::test::faults

using namespace paddock::test::faults;

// The names that paddock, libdrm, libpci and the standard library call.
extern "C" {

int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list list;
  va_start(list, request);
  void* const argument = va_arg(list, void*);
  va_end(list);
  return static_cast<int>(call("ioctl", SYS_ioctl, fd, request, word(argument)));
}

int open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const auto mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, unsigned) : 0U;
  va_end(list);
  return open_by("open", path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const auto mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, unsigned) : 0U;
  va_end(list);
  return open_by("open", path, flags, mode);
}
int __open_2(const char* path, int flags) { return open_by("open", path, flags, 0); }

// A close that fails has closed: only a signal makes it say so of a device.
int close(int fd) {
  const int answer = static_cast<int>(raw(SYS_close, fd));
  return current.sys_errno == EINTR && fails("close") ? -1 : answer;
}

ssize_t read(int fd, void* to, std::size_t size) { return call("read", SYS_read, fd, word(to), size); }
ssize_t write(int fd, const void* from, std::size_t size) {
  return has_room(fd) ? raw(SYS_write, fd, word(from), static_cast<long>(size))
                      : call("write", SYS_write, fd, word(from), size);
}
ssize_t pread(int fd, void* to, std::size_t size, off_t at) {
  return call("pread", SYS_pread64, fd, word(to), size, at);
}
ssize_t pread64(int fd, void* to, std::size_t size, off64_t at) {
  return call("pread", SYS_pread64, fd, word(to), size, at);
}
ssize_t pwrite(int fd, const void* from, std::size_t size, off_t at) {
  return call("pwrite", SYS_pwrite64, fd, word(from), size, at);
}
ssize_t pwrite64(int fd, const void* from, std::size_t size, off64_t at) {
  return call("pwrite", SYS_pwrite64, fd, word(from), size, at);
}
ssize_t preadv2(int fd, const iovec* to, int count, off_t at, int flags) {
  return call("preadv2", SYS_preadv2, fd, word(to), count, at, 0, flags);
}

void* mmap(void* address, std::size_t length, int protection, int flags, int fd, off_t offset) noexcept {
  return map_by(address, length, protection, flags, fd, offset);
}
void* mmap64(void* address, std::size_t length, int protection, int flags, int fd, off64_t offset) noexcept {
  return map_by(address, length, protection, flags, fd, offset);
}
int munmap(void* address, std::size_t length) noexcept {
  const int answer = static_cast<int>(raw(SYS_munmap, word(address), static_cast<long>(length)));
  if (answer == 0 && is_armed && !is_unaffected) {
    --mappings;
  }
  return answer;
}
int madvise(void* address, std::size_t length, int advice) noexcept {
  return static_cast<int>(call("madvise", SYS_madvise, word(address), length, advice));
}

int fcntl(int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  const long argument = va_arg(list, long);
  va_end(list);
  return static_cast<int>(call("fcntl", SYS_fcntl, fd, command, argument));
}
int flock(int fd, int operation) noexcept { return static_cast<int>(call("flock", SYS_flock, fd, operation)); }
int ftruncate(int fd, off_t size) noexcept { return static_cast<int>(call("ftruncate", SYS_ftruncate, fd, size)); }
int memfd_create(const char* name, unsigned flags) noexcept {
  return static_cast<int>(call("memfd_create", SYS_memfd_create, word(name), flags));
}
int fstat(int fd, struct stat* to) noexcept { return static_cast<int>(call("fstat", SYS_fstat, fd, word(to))); }
int fstat64(int fd, struct stat64* to) noexcept { return static_cast<int>(call("fstat", SYS_fstat, fd, word(to))); }
int stat(const char* path, struct stat* to) noexcept {
  return static_cast<int>(call("stat", SYS_newfstatat, AT_FDCWD, word(path), word(to), 0));
}
int stat64(const char* path, struct stat64* to) noexcept {
  return static_cast<int>(call("stat", SYS_newfstatat, AT_FDCWD, word(path), word(to), 0));
}
int lstat(const char* path, struct stat* to) noexcept {
  return static_cast<int>(call("lstat", SYS_newfstatat, AT_FDCWD, word(path), word(to), AT_SYMLINK_NOFOLLOW));
}
int fstatfs(int fd, struct statfs* to) noexcept { return static_cast<int>(call("fstatfs", SYS_fstatfs, fd, word(to))); }
ssize_t readlink(const char* path, char* to, std::size_t size) noexcept {
  return call("readlink", SYS_readlinkat, AT_FDCWD, word(path), word(to), size);
}

int eventfd(unsigned count, int flags) noexcept {
  return static_cast<int>(call("eventfd", SYS_eventfd2, count, flags));
}
int timerfd_create(int clock, int flags) noexcept {
  return static_cast<int>(call("timerfd_create", SYS_timerfd_create, clock, flags));
}
int timerfd_settime(int fd, int flags, const itimerspec* to, itimerspec* from) noexcept {
  return static_cast<int>(call("timerfd_settime", SYS_timerfd_settime, fd, flags, word(to), word(from)));
}
int epoll_create1(int flags) noexcept { return static_cast<int>(call("epoll_create1", SYS_epoll_create1, flags)); }
int epoll_ctl(int fd, int operation, int about, epoll_event* event) noexcept {
  // Taking out frees.
  return static_cast<int>(operation == EPOLL_CTL_DEL
                              ? raw(SYS_epoll_ctl, fd, operation, about, word(event))
                              : call("epoll_ctl", SYS_epoll_ctl, fd, operation, about, word(event)));
}
int epoll_wait(int fd, epoll_event* events, int count, int timeout) {
  return static_cast<int>(call("epoll_wait", SYS_epoll_pwait, fd, word(events), count, timeout, 0, 8));
}
int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  timespec left = timeout != nullptr ? *timeout : timespec{};  // The system call changes it, libc's does not.
  return static_cast<int>(
      call("ppoll", SYS_ppoll, word(fds), count, timeout != nullptr ? word(&left) : 0L, word(mask), 8));
}

int socketpair(int domain, int type, int protocol, int* ends) noexcept {
  return static_cast<int>(call("socketpair", SYS_socketpair, domain, type, protocol, word(ends)));
}
ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  return call("sendmsg", SYS_sendmsg, fd, word(message), flags);
}
ssize_t recvmsg(int fd, msghdr* message, int flags) { return call("recvmsg", SYS_recvmsg, fd, word(message), flags); }
int getsockopt(int fd, int level, int option, void* value, socklen_t* size) noexcept {
  return static_cast<int>(call("getsockopt", SYS_getsockopt, fd, level, option, word(value), word(size)));
}
int setsockopt(int fd, int level, int option, const void* value, socklen_t size) noexcept {
  return static_cast<int>(call("setsockopt", SYS_setsockopt, fd, level, option, word(value), size));
}

// Of libc's own structures: what they do inside does not come through the names above.
DIR* opendir(const char* path) {
  static const auto real = next<DIR* (*)(const char*)>("opendir");
  return fails("opendir") ? nullptr : real(path);
}
dirent* readdir(DIR* folder) {
  static const auto real = next<dirent* (*)(DIR*)>("readdir");
  return fails("readdir") ? nullptr : real(folder);
}
dirent64* readdir64(DIR* folder) {
  static const auto real = next<dirent64* (*)(DIR*)>("readdir64");
  return fails("readdir") ? nullptr : real(folder);
}
FILE* fopen(const char* path, const char* mode) {
  static const auto real = next<FILE* (*)(const char*, const char*)>("fopen");
  return fails("fopen") ? nullptr : real(path, mode);
}
FILE* fopen64(const char* path, const char* mode) {
  static const auto real = next<FILE* (*)(const char*, const char*)>("fopen64");
  return fails("fopen") ? nullptr : real(path, mode);
}

// The calls without a name of their own. Locks sleep by futex(2): that one is left alone.
long syscall(long number, ...) noexcept {
  va_list list;
  va_start(list, number);
  long arguments[6];
  for (long& each : arguments) {
    each = va_arg(list, long);
  }
  va_end(list);
  const char* const name = number == SYS_kcmp ? "kcmp" : number == SYS_userfaultfd ? "userfaultfd" : nullptr;
  return name != nullptr && fails(name)
             ? -1
             : raw(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

}  // extern "C"
