// SPDX-License-Identifier: BSL-1.0
/// \file
/// Gets the machine: the running system, a captured tree, or a file of lspci's. What fails is told in a line for
/// people.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <tl/expected.hpp>

#include <paddock/pci/capture.hpp>
#include <paddock/pci/read_libpci.hpp>
#include <paddock/pci/topology.hpp>

namespace p2pmap {

namespace pci = paddock::pci;

/// A value, or a line that says why there is none.
template <class T>
using outcome = tl::expected<T, std::string>;

namespace detail {

struct file_closer {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};

/// The whole file. A pipe will do, so that lspci can be read as it prints.
[[nodiscard]] inline outcome<std::string> read_file(const std::string& name) {
  // More than lspci -xxxx says of the 65536 functions of a domain.
  constexpr std::size_t most = std::size_t{1} << 30;
  const std::unique_ptr<std::FILE, file_closer> file(std::fopen(name.c_str(), "re"));
  std::string text;
  std::vector<char> piece(std::size_t{1} << 16);
  while (file && text.size() <= most) {
    const std::size_t got = std::fread(piece.data(), 1, piece.size(), file.get());
    text.append(piece.data(), got);
    if (got < piece.size()) {
      break;
    }
  }
  if (!file || std::ferror(file.get()) != 0) {
    return tl::unexpected(fmt::format("{}: {}", name, std::generic_category().message(errno)));
  }
  if (text.size() > most) {
    return tl::unexpected(fmt::format("{}: more than {} bytes", name, most));
  }
  return text;
}

[[nodiscard]] inline std::string explain(const std::string& from, bool folder, const paddock::error& why) {
  if (why == paddock::errc::not_found) {
    return from + (folder ? ": there is no sys/bus/pci/devices in it"
                          : ": no PCI function in it; the output of lspci -x, -xxx or -xxxx is expected");
  }
  return fmt::format("{}: {}", from, why);
}

/// The same machine with another CPU.
[[nodiscard]] inline paddock::result<pci::topology> with_cpu(paddock::result<pci::topology> read,
                                                             std::optional<pci::cpu_rule> cpu) {
  if (!read || !cpu) {
    return read;
  }
  const auto functions = read->functions();
  return pci::topology::build({functions.begin(), functions.end()}, {*cpu, read->facts().iommu_groups_told});
}

/// A machine that can be shown, or a line that says why there is none.
[[nodiscard]] inline outcome<pci::topology> checked(const std::string& from, bool folder,
                                                    paddock::result<pci::topology> read) {
  // A domain has 256 buses. A captured tree may claim more, but nobody can draw that.
  constexpr std::size_t deepest = 256;
  if (!read) {
    return tl::unexpected(explain(from, folder, read.error()));
  }
  for (std::size_t i = 0; i < read->size(); ++i) {
    if (read->at(i).depth() > deepest) {
      return tl::unexpected(fmt::format("{}: more than {} bridges above {}", from, deepest, read->at(i)->where));
    }
  }
  return std::move(*read);
}

}  // namespace detail

/// Reads the machine that `from` holds; empty stands for the running system. `cpu` is believed over what is read.
[[nodiscard]] inline outcome<pci::topology> load(const std::string& from, std::optional<pci::cpu_rule> cpu) {
  std::error_code ignored;
  if (from.empty() || std::filesystem::is_directory(from, ignored)) {
    const std::string root = from.empty() ? "/" : from;
    return detail::checked(root, true, detail::with_cpu(pci::read_system(root), cpu));
  }
  const auto text = detail::read_file(from);
  if (!text) {
    return tl::unexpected(text.error());
  }
  return detail::checked(from, false, pci::read_dump(*text, cpu.value_or(pci::cpu_rule::unknown)));
}

/// Writes what the running system tells into a new folder. Returns nothing to show.
[[nodiscard]] inline outcome<std::string> save(const std::string& into) {
  if (const auto saved = pci::capture(into); !saved) {
    return tl::unexpected(saved.error() == paddock::errc::already_exists ? into + ": exists already"
                                                                         : fmt::format("{}: {}", into, saved.error()));
  }
  return std::string();
}

}  // namespace p2pmap
