// SPDX-License-Identifier: BSL-1.0
// The one file of the tests that always has exceptions and RTTI: Boost.PropertyTree does without neither.
#include "read_json.hpp"

#include <boost/property_tree/json_parser.hpp>
#include <boost/property_tree/ptree.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace paddock::test {
namespace {

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "JSON: %s\n", what.c_str());
  std::abort();
}

json convert(const std::string& key, const boost::property_tree::ptree& tree) {
  json value{key, tree.data(), {}};
  for (const auto& [name, below] : tree) {
    value.items.push_back(convert(name, below));
  }
  return value;
}

}  // namespace

const json& json::operator[](std::string_view name) const {
  for (const json& each : items) {
    if (each.key == name) {
      return each;
    }
  }
  give_up("no member " + std::string(name));
}

json read_json(const std::filesystem::path& file) {
  std::ifstream in(file);
  boost::property_tree::ptree tree;
  try {
    boost::property_tree::read_json(in, tree);
  } catch (const boost::property_tree::json_parser_error& failed) {
    give_up(file.string() + ": " + failed.message());
  }
  return convert("", tree);
}

}  // namespace paddock::test
