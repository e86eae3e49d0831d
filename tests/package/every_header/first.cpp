// SPDX-License-Identifier: BSL-1.0
#include "every_header.hpp"

int category_is_one();

// Both units give one answer: their inline functions were merged, and agree.
int main() {
  return category_is_one() == 1 && paddock::make_error_code(paddock::errc::busy) == paddock::errc::busy ? 0 : 1;
}
