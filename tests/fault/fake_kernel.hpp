// SPDX-License-Identifier: BSL-1.0
/// \file
/// A small kernel with dma-heap, udmabuf, dma-buf and sync_file, behind libc's own names, so that any host can see what
/// paddock does when a system call fails. Its objects are memfds, told apart by inode. See fake_kernel.cpp.
#pragma once

#include <atomic>
#include <cstdint>

namespace fake_kernel {

/// The system calls that can be made to fail.
enum class call : std::uint8_t {
  ioctl,
  ppoll,
  fcntl,
  mmap,
  madvise,
  open,
  fstat,
  fstatfs,
  memfd_create,
  ftruncate,
  close
};

/// Calls number `first`, …, `first + count - 1` from arm() on fail with `sys_errno`.
void arm(int first, int count, int sys_errno) noexcept;
/// Ends it. Returns how many calls were made since.
int disarm() noexcept;
/// Whether a call was made to fail since arm(), and the first one that was.
bool has_injected() noexcept;
call first_injected() noexcept;

/// STARTs that succeeded and ENDs that were tried; equal when no bracket is open.
int starts() noexcept;
int ends() noexcept;

/// How fences behave: whether ppoll finds them complete, with which revents, and what status they have.
struct fence_behaviour {
  bool completes{true};
  short extra_revents{0};
  int status{1};
  /// Before each answer, the number of fences inside grows, this many times.
  int growing{0};
};
extern fence_behaviour fences;
/// While not 0, a ppoll that would wait is interrupted after this many milliseconds.
extern int interrupt_every_ms;

/// Open descriptors of this process.
int open_descriptors() noexcept;

}  // namespace fake_kernel
