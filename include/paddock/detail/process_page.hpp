// SPDX-License-Identifier: BSL-1.0
/// \file
/// One page that all shared objects of a process find, however hidden their symbols are.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// A private mapping of a file in memory, which the kernel lists by its name: who comes first makes it, all others find
/// it in /proc/self/maps. A child has a copy. T is made once and never destroyed; its name must change with its layout.
/// Errors: not_found where there is no /proc; else those of open, mmap and so on.
template <class T>
[[nodiscard]] result<T*> process_page(const char* name) noexcept {
  struct content {
    std::atomic<bool> made{false};
    T value;
  };
  static_assert(sizeof(content) <= 4096);
  // A directory of this process alone, which others may not open: its lock keeps out whoever looks at the same time.
  struct directory_lock {
    explicit directory_lock(const char* folder) noexcept : fd(open(folder, O_RDONLY | O_DIRECTORY, "open")) {
      if (fd && retry<false>([this] { return ::flock(fd->get(), LOCK_EX); }) != 0) {
        fd = fail_errno("flock");
      }
    }
    directory_lock(const directory_lock&) = delete;
    directory_lock& operator=(const directory_lock&) = delete;
    ~directory_lock() {
      if (fd) {
        // Not left to close(): a child that was forked meanwhile has the same open file, and would keep the lock.
        ::flock(fd->get(), LOCK_UN);
      }
    }
    result<unique_fd> fd;
  };
  const directory_lock own("/proc/self/fd");
  if (!own.fd) {
    return fail(own.fd.error());
  }
  std::FILE* const maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) {
    return fail_errno("open");
  }
  char line[512];
  void* found = nullptr;
  const std::size_t length = std::strlen(name);
  while (found == nullptr && std::fgets(line, sizeof line, maps) != nullptr) {
    const char* const file = std::strstr(line, "/memfd:");
    std::uintptr_t address = 0;
    if (file != nullptr && std::strncmp(file + 7, name, length) == 0 && file[7 + length] == ' ' &&
        std::sscanf(line, "%" SCNxPTR, &address) == 1) {
      found = reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr): the kernel says it as text.
    }
  }
  std::fclose(maps);
  if (found != nullptr) {
    auto* const there = std::launder(static_cast<content*>(found));
    // order: acquire: pairs with the store below. The lock on the directory says as much, but not to the language.
    static_cast<void>(there->made.load(std::memory_order_acquire));
    return &there->value;
  }
  const unique_fd memory = unique_fd::adopt(::memfd_create(name, MFD_CLOEXEC));
  if (!memory.valid()) {
    return fail_errno("memfd_create");
  }
  if (retry<false>([&] { return ::ftruncate(memory.get(), 4096); }) != 0) {
    return fail_errno("ftruncate");
  }
  void* const page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, memory.get(), 0);
  if (page == MAP_FAILED) {
    return fail_errno("mmap");
  }
  auto* const made = new (page) content;
  // order: release: the value is made.
  made->made.store(true, std::memory_order_release);
  return &made->value;
}

}  // namespace PADDOCK_NAMESPACE::detail
