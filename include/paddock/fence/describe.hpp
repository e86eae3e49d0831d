// SPDX-License-Identifier: BSL-1.0
/// \file
/// `describe`: what a fence is and how it stands, for people. Kernel: dma_fence_describe.
#pragma once

#include <iterator>
#include <string>

#include <fmt/format.h>

#include <paddock/fence/fence.hpp>
#include <paddock/fence/merge.hpp>

namespace PADDOCK_NAMESPACE {

/// "queue 4a1f:17 pending", "queue 4a1f:17 signaled", "queue 4a1f:17 failed (Input/output error)"; a container is
/// followed by its leaves, one a line, indented. A snapshot. Thread-safety: as fence.
[[nodiscard]] inline std::string describe(fence& f) {
  const auto append = [](std::string& text, const fence& each) {
    fmt::format_to(std::back_inserter(text), "{} {:x}:{} ", each.name(), each.context(), each.seqno());
    switch (each.status()) {
      case wait_status::timed_out: text += "pending"; break;
      case wait_status::signaled: text += "signaled"; break;
      case wait_status::failed:
        fmt::format_to(std::back_inserter(text), "failed ({})", std::generic_category().message(each.sys_errno()));
        break;
    }
  };
  std::string text;
  append(text, f);
  if (f.is_container()) {
    for_each_leaf(fence_ptr(f), [&](fence& leaf) {
      text += "\n  ";
      append(text, leaf);
    });
  }
  return text;
}

}  // namespace PADDOCK_NAMESPACE
