// SPDX-License-Identifier: BSL-1.0
// Whoever gave memory back is held until the addresses are gone: that must not end in an exception.
// EXPECT: what takes the device's addresses away is called without arguments and is noexcept
#include <paddock/buffer/memory_monitor.hpp>
#include <paddock/kernel/userfault.hpp>

using namespace paddock;

result<memory_watch> caller(memory_monitor<kernel::userfault>& monitor, std::span<std::byte> range,
                            const reservation& fences) {
#ifdef PADDOCK_ALLOWED
  return monitor.watch(
      range, fences, []() noexcept {}, [](const memory_report&) noexcept {});
#else
  return monitor.watch(
      range, fences, [] {}, [](const memory_report&) noexcept {});
#endif
}
