// SPDX-License-Identifier: BSL-1.0
/// \file
/// A wrapper beside the ioctl that it wraps: what bench/kernel/ioctls.cpp and tests/vm/cases/wrappers.cpp count. The
/// raw one fills in the structure and calls ioctl(2), without libdrm; what either makes is given back later.
#pragma once

#include <sys/ioctl.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>

namespace paddock::bench::pairs {

[[noreturn]] inline void give_up(const char* what) {
  std::perror(what);
  std::abort();
}

/// The judges of what an operation returned.
template <class T>
void must_succeed(const result<T>& outcome) {
  if (!outcome) {
    give_up(outcome.error().where);
  }
}
inline void must_succeed(int answer) {
  if (answer < 0) {
    give_up("ioctl");
  }
}
inline void must_succeed(const unique_fd& made) { must_succeed(made.get()); }

/// The value of a fixture that was found to be there.
template <class T>
[[nodiscard]] T there(result<T> made) {
  must_succeed(made);
  return *std::move(made);
}

/// `Pair` has wrapped() and raw(), which do the same, and return what must_succeed() takes and what frees itself;
/// prepare(), before each of them; and lacking(), which says why it cannot be measured here.
struct ioctl_pair {
  [[nodiscard]] static const char* lacking() { return nullptr; }
  void prepare() {}
};

}  // namespace paddock::bench::pairs
