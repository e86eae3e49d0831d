// SPDX-License-Identifier: BSL-1.0
/// \file
/// The dump of a server with 517 functions, as root's `lspci -xxxx` prints it: the machines of tests/data/topology over
/// and over, each time in domains of their own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <paddock/pci/dump_text.hpp>

namespace paddock::bench {

inline constexpr std::size_t server_functions = 517;

[[nodiscard]] inline std::string read_file(const std::filesystem::path& name) {
  std::ifstream in(name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// One function's lines, and zeroes behind them up to the end of its config space.
inline void append_function(std::string& to, std::string_view lines, std::size_t bytes, std::size_t first_domain) {
  std::uint32_t domain = 0;
  static_cast<void>(pci::detail::parse_hex(lines.substr(0, 4), 0xffff, domain));
  fmt::format_to(std::back_inserter(to), "{:04x}{}", first_domain + domain, lines.substr(4));
  for (const std::size_t end = bytes > 256 ? 4096 : 256; bytes < end; bytes += 16) {
    fmt::format_to(std::back_inserter(to), "{:02x}: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n", bytes);
  }
  to += '\n';
}

/// Always the same. Empty when the machines are not there.
[[nodiscard]] inline std::string server_dump() {
  constexpr std::size_t domains_a_machine = 2;
  std::vector<std::filesystem::path> machines;
  std::error_code failed;
  for (std::filesystem::directory_iterator each(PADDOCK_BENCH_DATA "/topology", failed), end; !failed && each != end;
       each.increment(failed)) {
    if (each->is_directory(failed)) {
      machines.push_back(each->path() / "lspci.txt");
    }
  }
  std::sort(machines.begin(), machines.end());

  std::string text;
  std::size_t written = 0;
  for (std::size_t turn = 0; written < server_functions && !machines.empty(); ++turn) {
    const auto machine = pci::screen_dump(read_file(machines[turn % machines.size()]));
    if (!machine) {
      return {};
    }
    std::string_view rest = machine->text;
    for (std::size_t i = 0; i < machine->functions.size() && written < server_functions; ++i, ++written) {
      const std::size_t end = std::min(rest.find("\n\n"), rest.size() - 1) + 1;
      append_function(text, rest.substr(0, end), machine->functions[i].bytes, turn * domains_a_machine);
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  return text;
}

}  // namespace paddock::bench
