// SPDX-License-Identifier: BSL-1.0
// Whoever holds one device's storage does not wait for another's.
// EXPECT: where several parts of a mixed buffer know it, each has try_hold_storage
#include <mutex>

#include <paddock/buffer/mixed_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;

struct told : test::revoking_test_exporter {
  [[nodiscard]] result<void> bound(const bound_buffer&) noexcept { return {}; }
  [[nodiscard]] result<std::unique_lock<std::mutex>> hold_storage() const noexcept { return {}; }
#ifdef PADDOCK_ALLOWED
  [[nodiscard]] result<std::unique_lock<std::mutex>> try_hold_storage() const noexcept { return {}; }
#endif
};
mixed_exporter<told, told>* f(mixed_exporter<told, told>* p) { return p + 1; }
