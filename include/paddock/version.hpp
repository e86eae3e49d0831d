// SPDX-License-Identifier: BSL-1.0
/// \file
/// The one place that states the version. CMake reads it from here.
#pragma once

#define PADDOCK_VERSION_MAJOR 0
#define PADDOCK_VERSION_MINOR 1
#define PADDOCK_VERSION_PATCH 0

namespace paddock {

struct version_number {
  int major_number;
  int minor_number;
  int patch_number;
};

/// The version of the headers that this translation unit was compiled with.
inline constexpr version_number version{PADDOCK_VERSION_MAJOR, PADDOCK_VERSION_MINOR, PADDOCK_VERSION_PATCH};

}  // namespace paddock
