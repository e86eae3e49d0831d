// SPDX-License-Identifier: BSL-1.0
/// \file
/// The command line. CLI11 throws what is wrong with it.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <paddock/pci/address.hpp>
#include <paddock/pci/host_bridge.hpp>

namespace p2pmap {

namespace pci = paddock::pci;

struct options {
  std::string from;  ///< Empty: the running system.
  std::string format{"text"};
  std::vector<pci::address> clients;
  std::vector<pci::address> providers;
  std::optional<pci::cpu_rule> cpu;
  std::optional<std::pair<pci::address, pci::address>> explain;
  std::string capture;  ///< A folder to be made; empty: none.
};

/// Throws CLI::ParseError.
inline options parse(CLI::App& app, int argc, char** argv) {
  options read;
  std::vector<std::string> clients;
  std::vector<std::string> providers;
  std::vector<std::string> explain;
  std::string zen;
  const CLI::Validator is_address(
      [](const std::string& text) {
        return pci::address::parse(text)
                   ? std::string()
                   : fmt::format("'{}' is no PCI address: expected domain:bus:device.function", text);
      },
      "");
  // The names of the types say it already.
  const auto one_of = [](const std::vector<std::string>& words) { return CLI::IsMember(words).description(""); };

  app.add_option("--from", read.from,
                 "What lspci -x, -xxx or -xxxx printed, or the root folder of a captured sysfs tree; the running "
                 "system without it")
      ->type_name("FILE|DIR");
  auto* const format = app.add_option("--format", read.format, "How to show it: text without it")
                           ->check(one_of({"text", "json", "svg"}))
                           ->type_name("text|json|svg");
  auto* const client = app.add_option("--client", clients, "Whose DMA is asked about; all endpoints without it")
                           ->check(is_address)
                           ->type_name("BDF");
  auto* const provider =
      app.add_option("--provider", providers, "Whose memory is asked about; all endpoints without it")
          ->check(is_address)
          ->type_name("BDF");
  app.add_option("--zen", zen,
                 "Whether the CPU is AMD family 17h or later, whose root complexes the kernel trusts; a file does not "
                 "tell, a system does")
      ->check(one_of({"yes", "no"}))
      ->type_name("yes|no");
  app.add_option("--explain", explain, "All reasons for the routes from client A to provider B, and nothing else")
      ->check(is_address)
      ->type_name("A B")
      ->expected(2)
      ->excludes(format)
      ->excludes(client)
      ->excludes(provider);
  app.add_option("--capture", read.capture,
                 "Write what the running system tells into a new folder, for --from on another machine, without serial "
                 "numbers, and show nothing")
      ->type_name("DIR")
      ->excludes("--from")
      ->excludes("--zen")
      ->excludes("--explain")
      ->excludes(format)
      ->excludes(client)
      ->excludes(provider);
  app.parse(argc, argv);

  const auto addresses = [](const std::vector<std::string>& texts) {
    std::vector<pci::address> parsed;
    for (const std::string& each : texts) {
      parsed.push_back(*pci::address::parse(each));  // Checked above.
    }
    return parsed;
  };
  read.clients = addresses(clients);
  read.providers = addresses(providers);
  if (!zen.empty()) {
    read.cpu = zen == "yes" ? pci::cpu_rule::amd_zen : pci::cpu_rule::none;
  }
  if (const auto pair = addresses(explain); !pair.empty()) {
    read.explain = std::pair(pair[0], pair[1]);
  }
  return read;
}

}  // namespace p2pmap
