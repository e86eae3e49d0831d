// SPDX-License-Identifier: BSL-1.0
// Who is told of a watch is called by the monitor's thread, where an exception would have nobody to go to.
// EXPECT: what is told of a watch takes a memory_report and is noexcept
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
      range, fences, []() noexcept {}, [](const memory_report&) {});
#endif
}
