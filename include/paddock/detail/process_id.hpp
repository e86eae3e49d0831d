// SPDX-License-Identifier: BSL-1.0
/// \file
/// Which process this is, without the system call that getpid() is: that costs a fifth of a small ioctl.
#pragma once

#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <new>

#include <paddock/version.hpp>

namespace PADDOCK_NAMESPACE::detail {

/// The process's number, kept in a page that the kernel clears in a child. Null where it clears none (before 4.14).
/// No static that is made under a lock: a child that was forked meanwhile would wait for it for ever.
[[nodiscard]] inline std::atomic<pid_t>* known_process_id() noexcept {
  static std::atomic<std::atomic<pid_t>*> known{nullptr};
  // order: acquire: pairs with the exchange below; the number in the page is made.
  if (std::atomic<pid_t>* const found = known.load(std::memory_order_acquire); found != nullptr) [[likely]] {
    return found;
  }
  constexpr std::size_t size = 4096;
  void* const page = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    return nullptr;
  }
  if (::madvise(page, size, MADV_WIPEONFORK) != 0) {
    ::munmap(page, size);
    return nullptr;
  }
  auto* const made = new (page) std::atomic<pid_t>(0);
  std::atomic<pid_t>* other = nullptr;
  // order: acq_rel: pairs with the load above; the number is made, and so is that of who came first.
  if (!known.compare_exchange_strong(other, made, std::memory_order_acq_rel, std::memory_order_acquire)) {
    ::munmap(page, size);
    return other;
  }
  return made;
}

/// As getpid(). A child that shares its parent's memory (vfork) is taken for the parent.
[[nodiscard]] inline pid_t process_id() noexcept {
  std::atomic<pid_t>* const known = known_process_id();
  // order: relaxed: pairs with the store below; the number stands for nothing else.
  if (const pid_t id = known != nullptr ? known->load(std::memory_order_relaxed) : 0; id != 0) [[likely]] {
    return id;
  }
  const pid_t id = ::getpid();
  if (known != nullptr) {
    // order: relaxed: pairs with the load above; all threads store the same.
    known->store(id, std::memory_order_relaxed);
  }
  return id;
}

}  // namespace PADDOCK_NAMESPACE::detail
