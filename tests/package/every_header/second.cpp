// SPDX-License-Identifier: BSL-1.0
#include "every_header.hpp"

int category_is_one();

int category_is_one() { return paddock::make_error_code(paddock::errc::busy) == paddock::errc::busy ? 1 : 0; }
