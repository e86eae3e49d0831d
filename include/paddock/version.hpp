// SPDX-License-Identifier: BSL-1.0
/// \file
/// The one place that states the version, which CMake reads from here, and the namespace.
#pragma once

#define PADDOCK_VERSION_MAJOR 0
#define PADDOCK_VERSION_MINOR 1
#define PADDOCK_VERSION_PATCH 0

/// What every header opens. A program that is built with the target paddock::checked has other functions under the same
/// names; that their symbols differ makes it fail to link with one that is not.
#if defined(PADDOCK_CHECKED)
#define PADDOCK_NAMESPACE paddock::inline checked
#else
#define PADDOCK_NAMESPACE paddock
#endif

namespace PADDOCK_NAMESPACE {

struct version_number {
  int major_number;
  int minor_number;
  int patch_number;
};

/// The version of the headers that this translation unit was compiled with.
inline constexpr version_number version{PADDOCK_VERSION_MAJOR, PADDOCK_VERSION_MINOR, PADDOCK_VERSION_PATCH};

}  // namespace PADDOCK_NAMESPACE
