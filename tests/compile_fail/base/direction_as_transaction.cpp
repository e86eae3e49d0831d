// SPDX-License-Identifier: BSL-1.0
// The direction of DMA and the kind of a bus transaction are two questions.
// EXPECT: cannot convert|no known conversion
#include <paddock/base/ids.hpp>

void ask_route(paddock::transaction kind);

void caller() {
#ifdef PADDOCK_ALLOWED
  ask_route(paddock::transaction::read);
#else
  ask_route(paddock::direction::to_device);
#endif
}
