// SPDX-License-Identifier: BSL-1.0
/// \file
/// System calls that fail on demand, in front of the real kernel: injected_faults.cpp takes libc's names in the program
/// that is linked with it, so that libraries such as libdrm and libpci come through it as well.
#pragma once

#include <climits>

namespace paddock::test::faults {

/// Calls number `first`, …, `first + count - 1` fail with `sys_errno`; with EINTR those that are of one name.
struct plan {
  int first{INT_MAX};
  int count{1};
  int sys_errno{0};
  /// Only ioctls are counted and failed: a device that is gone.
  bool ioctls_only{false};
};

/// Begins to count the calls of all threads, and lets them fail as planned. What frees (munmap, closedir, …) is not
/// counted and never fails. A close is counted when EINTR is planned, and closes all the same, as in Linux.
void arm(const plan& what) noexcept;
/// Ends it. Returns how many calls were counted.
int disarm() noexcept;
/// The first call that was made to fail since arm(); nullptr when none was.
const char* first_hit() noexcept;
/// Mappings made less mappings unmapped, of whoever calls mmap() by its name: not those of malloc, nor of threads.
long live_mappings() noexcept;

/// While it lives the calls of this thread are neither counted nor failed: what a test does beside what is tested.
class unaffected {
 public:
  unaffected() noexcept;
  unaffected(const unaffected&) = delete;
  unaffected& operator=(const unaffected&) = delete;
  ~unaffected();

 private:
  bool before_;
};

}  // namespace paddock::test::faults
