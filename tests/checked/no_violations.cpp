// SPDX-License-Identifier: BSL-1.0
// Linked to a suite in which no rule is broken: ends the program where one is.
#include <paddock/base/checking.hpp>

#include <cstdlib>

namespace {

const bool installed = [] {
  paddock::set_violation_handler([](const paddock::violation& v) noexcept {
    // A test drops pending fences on purpose.
    if (v.broken != paddock::rule::abandoned_fence) {
      paddock::print_violation(v);
      std::abort();
    }
  });
  return true;
}();

}  // namespace
