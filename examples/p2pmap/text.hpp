// SPDX-License-Identifier: BSL-1.0
/// \file
/// The tree and the matrix as text, for a terminal.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <paddock/pci/describe.hpp>
#include <paddock/pci/topology.hpp>

#include "question.hpp"
#include "tree.hpp"
#include "words.hpp"

namespace p2pmap {

namespace detail {

class text_tree {
 public:
  text_tree(const question& asked, std::string& into) : asked_(asked), below_(asked.machine()), text_(into) {}

  void print() {
    const auto bridges = asked_.machine().host_bridges();
    for (std::size_t i = 0; i < bridges.size(); ++i) {
      const pci::function& first = asked_.machine().functions()[bridges[i].first];
      put("{}  host bridge [{}], {}\n", name(bridges[i]), id(first), list_words(bridges[i]));
      print(below_.on(i), "");
      text_ += '\n';
    }
    if (!below_.unplaced().empty()) {
      text_ += "Place not known: a bridge above is missing\n";
      print(below_.unplaced(), "");
      text_ += '\n';
    }
  }

 private:
  template <class... Arguments>
  void put(fmt::format_string<Arguments...> line, Arguments&&... arguments) {
    fmt::format_to(std::back_inserter(text_), line, std::forward<Arguments>(arguments)...);
  }

  // As deep as load() lets a tree be.
  void print(std::span<const pci::node> siblings, const std::string& indent) {
    for (const pci::node& each : siblings) {
      const bool last = &each == &siblings.back();
      text_ += indent + (last ? "└─ " : "├─ ");
      print_function(each);
      print(below_.below(each), indent + (last ? "   " : "│  "));
    }
  }

  void print_function(const pci::node& of) {
    if (const std::size_t number = asked_.number(of); number != 0) {
      put("#{} ", number);
    }
    put("{}  {}", of->where, class_words(*of));
    if (of->responds) {
      put(" [{}], {}", id(*of), port_words(of->port));
    }
    for (const std::string& more : {bus_words(*of), acs_words(*of), system_words(*of)}) {
      if (!more.empty()) {
        put(", {}", more);
      }
    }
    text_ += '\n';
  }

  const question& asked_;
  const tree below_;
  std::string& text_;
};

class text_matrix {
 public:
  text_matrix(const question& asked, std::string& into) : asked_(asked), text_(into) {}

  void print() {
    text_ += "Rows are clients, whose DMA it is; columns are providers, whose memory it reaches.\n\n";
    // A wide matrix goes on below, so that no line is longer than a terminal.
    std::span<const pci::node> rest = asked_.providers();
    while (!rest.empty()) {
      print_block(rest.first(std::min(columns_at_once, rest.size())));
      rest = rest.subspan(std::min(columns_at_once, rest.size()));
    }
    for (const code_meaning& each : codes) {
      put("  {:5} {}\n", each.code, each.meaning);
    }
    for (const auto& [suffix, meaning] : suffixes) {
      put("  ..{:3} {}\n", suffix, meaning);
    }
  }

 private:
  static constexpr std::size_t columns_at_once = 12;

  template <class... Arguments>
  void put(fmt::format_string<Arguments...> line, Arguments&&... arguments) {
    fmt::format_to(std::back_inserter(text_), line, std::forward<Arguments>(arguments)...);
  }

  void print_block(std::span<const pci::node> columns) {
    put("{:44}", "");
    for (const pci::node& provider : columns) {
      put(" {:>5}", fmt::format("#{}", asked_.number(provider)));
    }
    text_ += '\n';
    for (const pci::node& client : asked_.clients()) {
      put("{:>5} {}  {:24.24}", fmt::format("#{}", asked_.number(client)), client->where, class_words(*client));
      for (const pci::node& provider : columns) {
        put(" {:>5}", cell_of(pair_of_routes::between(client, provider)).code);
      }
      text_ += '\n';
    }
    text_ += '\n';
  }

  const question& asked_;
  std::string& text_;
};

}  // namespace detail

[[nodiscard]] inline std::string render_text(const question& asked) {
  std::string text;
  detail::text_tree(asked, text).print();
  if (asked.clients().empty() || asked.providers().empty()) {
    return text + "There is no endpoint, so there are no pairs.\n";
  }
  detail::text_matrix(asked, text).print();
  const auto notes = reasons(asked).in_words();
  text += notes.empty() ? "" : "\n";
  for (const std::string& each : notes) {
    text += each + '\n';
  }
  return text;
}

/// All reasons for one pair, for the kernel's DMA and for a process's.
[[nodiscard]] inline std::string render_explanation(const pci::node& client, const pci::node& provider) {
  std::string text;
  for (const auto& [owner, title] : {std::pair{pci::dma_owner::kernel_dma, "DMA of a kernel driver"},
                                     std::pair{pci::dma_owner::vfio, "DMA of a process, in a VFIO address space"}}) {
    text += fmt::format("{}{}\n", text.empty() ? "" : "\n", title);
    for (const paddock::transaction what : {paddock::transaction::read, paddock::transaction::write}) {
      // Only fails for nodes of two topologies.
      text += pci::describe(*pci::route_between(client, provider, what, owner));
    }
  }
  return text;
}

}  // namespace p2pmap
