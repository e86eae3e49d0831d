// SPDX-License-Identifier: BSL-1.0
/// \file
/// The three answers to "can it?". A question that could not be asked is not a no.
#pragma once

#include <cstdint>

#include <paddock/base/error.hpp>

namespace PADDOCK_NAMESPACE::kernel {

enum class answer : std::uint8_t {
  no,
  yes,
  unknown,  ///< It could not be asked: nothing to ask with, or something in between (seccomp) answered instead.
};

[[nodiscard]] constexpr const char* name(answer a) noexcept {
  switch (a) {
    case answer::no: return "no";
    case answer::yes: return "yes";
    case answer::unknown: return "unknown";
  }
  return "unknown";
}

/// An answer and, unless it is yes, the reason.
struct probe_answer {
  answer value{answer::unknown};
  error reason{};

  [[nodiscard]] constexpr bool is_yes() const noexcept { return value == answer::yes; }
};

}  // namespace PADDOCK_NAMESPACE::kernel
