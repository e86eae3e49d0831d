// SPDX-License-Identifier: BSL-1.0
// The one main of all Catch2 test programs. ctest starts each test case in a process of its own.
#if PADDOCK_TEST_CATCH2_VERSION == 2
#define CATCH_CONFIG_RUNNER
#endif
#include "catch.hpp"

int main(int argc, char** argv) {
  // Catch2 2 returns the number of failures, which may be any number, that of a skip included.
  return Catch::Session().run(argc, argv) == 0 ? 0 : 1;
}
