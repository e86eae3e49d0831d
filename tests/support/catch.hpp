// SPDX-License-Identifier: BSL-1.0
/// \file
/// Catch2 2.13 or 3, whichever the system has, and a skip that ctest sees as one.
#pragma once

#include <cstdio>
#include <cstdlib>

#if PADDOCK_TEST_CATCH2_VERSION == 2
#include <catch2/catch.hpp>
#else
#include <catch2/catch_all.hpp>
#endif

namespace paddock::test {

/// The exit status that ctest shows as "Skipped".
inline constexpr int skip_exit_code = 77;

/// Ends the process, which runs one test case, as skipped. The reason is what the user gets to see.
[[noreturn]] inline void skip(const char* reason) {
  std::printf("SKIPPED: %s\n", reason);
  std::fflush(nullptr);
  std::_Exit(skip_exit_code);
}

}  // namespace paddock::test
