// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/context.hpp>

void complete(paddock::fence& job);

int main() {
  paddock::fence_context queue("queue", std::chrono::seconds(1));
  const auto job = queue.create();
  complete(**job);
  return (*job)->is_signaled() ? 0 : 1;
}
