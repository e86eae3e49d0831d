// SPDX-License-Identifier: BSL-1.0
/// \file
/// JSON for tests, read by Boost.PropertyTree in read_json.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace paddock::test {

/// A value with the key that it has in its object. Numbers, truths and null are texts as well: "4", "false", "null".
struct json {
  std::string key;
  std::string text;
  std::vector<json> items;  ///< Of an array, or the members of an object.

  /// A member of an object. Ends the process when there is none.
  [[nodiscard]] const json& operator[](std::string_view name) const;
};

/// Ends the process when the file is no JSON.
[[nodiscard]] json read_json(const std::filesystem::path& file);

}  // namespace paddock::test
