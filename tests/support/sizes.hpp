// SPDX-License-Identifier: BSL-1.0
/// \file
/// For assertions of what a type takes.
#pragma once

#include <cstddef>
#include <type_traits>

#include <paddock/base/checking.hpp>

namespace paddock::test {

/// A `checked` program keeps the places of pins and mappings; and the numbers are those of 64 bits.
inline constexpr bool has_measured_sizes = sizeof(void*) == 8 && std::is_empty_v<place>;
template <class T, std::size_t Expected>
inline constexpr bool has_size = !has_measured_sizes || sizeof(T) == Expected;

}  // namespace paddock::test
