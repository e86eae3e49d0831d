// SPDX-License-Identifier: BSL-1.0
/// \file
/// Collects what is found.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include <paddock/base/checking.hpp>

#include "catch.hpp"

namespace paddock::test {

struct found_violation {
  rule broken;
  std::string text;
  place first;
  place second;
};

/// While one lives, violations are collected here instead of being printed.
class violations {
 public:
  violations() noexcept { set_violation_handler(&collect); }
  violations(const violations&) = delete;
  violations& operator=(const violations&) = delete;
  ~violations() {
    set_violation_handler(nullptr);
    static_cast<void>(take());
  }

  [[nodiscard]] static std::vector<found_violation> take() {
    const std::lock_guard guard(mutex);
    return std::exchange(all, {});
  }
  /// The only one, which is of that rule, and whose places are in this file, at these lines.
  static void check_one(rule broken, unsigned first_line, unsigned second_line) {
    const auto found = take();
    REQUIRE(found.size() == 1);
    INFO(found[0].text << ": " << found[0].first.file << ":" << found[0].first.line << ", " << found[0].second.file
                       << ":" << found[0].second.line);
    CHECK(found[0].broken == broken);
    CHECK(found[0].first.line == first_line);
    CHECK(found[0].second.line == second_line);
    CHECK_FALSE(found[0].text.empty());
  }

 private:
  static void collect(const violation& v) noexcept {
    const std::lock_guard guard(mutex);
    all.push_back({v.broken, v.text, v.first, v.second});
  }
  static inline std::mutex mutex;
  static inline std::vector<found_violation> all;
};

}  // namespace paddock::test
