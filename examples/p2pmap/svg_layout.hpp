// SPDX-License-Identifier: BSL-1.0
/// \file
/// Where the boxes of the picture go: what is on one bus in one box, what is behind a link in the next column.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <paddock/pci/topology.hpp>

#include "question.hpp"
#include "tree.hpp"
#include "words.hpp"

namespace p2pmap::detail {

inline constexpr int line_height = 14;

enum class shape : std::uint8_t {
  host_bridge,
  bridge,    ///< With its bus inside: a switch, or a bridge to conventional PCI.
  port,      ///< What is behind it stands beside it.
  endpoint,  ///< Somebody's DMA or memory.
  rest,      ///< Nothing of interest.
};

/// A rectangle with lines of text.
struct label {
  shape what{shape::rest};
  bool redirects{false};
  bool uncertain{false};  ///< Something that matters could not be read.
  std::vector<std::string> lines;
  std::string tooltip;
  int x{0};
  int y{0};
  int width{0};
  int height{0};
};

/// Inside a box, with what is behind it, by index into the boxes.
struct row : label {
  std::vector<std::size_t> behind;
};

/// Its own lines are its header.
struct box : label {
  std::vector<row> rows;
};

[[nodiscard]] inline int text_height(const label& of) { return static_cast<int>(of.lines.size()) * line_height + 8; }
[[nodiscard]] inline int header_height(const box& of) { return text_height(of); }

class layout {
 public:
  layout(const question& asked, int left, int top)
      : asked_(asked), below_(asked.machine()), left_(left), right_(left), bottom_(top) {
    const auto bridges = asked.machine().host_bridges();
    for (std::size_t i = 0; i < bridges.size(); ++i) {
      const pci::function& first = asked.machine().functions()[bridges[i].first];
      box root;
      root.what = shape::host_bridge;
      root.uncertain = !bridges[i].known;
      root.lines = {fmt::format("host bridge {} [{}]", name(bridges[i]), id(first))};
      add_line(bridges[i].entry == nullptr ? list_words(bridges[i]) : "on the kernel's list, as", root);
      if (bridges[i].entry != nullptr) {
        add_line(bridges[i].entry->name, root);
      }
      add_top(std::move(root), below_.on(i));
    }
    if (!below_.unplaced().empty()) {
      box lost;
      lost.uncertain = true;
      lost.lines = {"Place not known", "a bridge above is missing"};
      add_top(std::move(lost), below_.unplaced());
    }
  }

  [[nodiscard]] std::span<const box> boxes() const { return boxes_; }
  [[nodiscard]] int right() const { return right_; }
  [[nodiscard]] int bottom() const { return bottom_; }

 private:
  static constexpr int row_width = 244;
  static constexpr int inset = 8;
  static constexpr int box_width = row_width + 2 * inset;
  static constexpr int column_gap = 44;
  static constexpr int gap = 8;

  void add_top(box&& top, std::span<const pci::node> functions) {
    const std::size_t index = add(std::move(top), functions);
    bottom_ = place(index, left_, bottom_) + 2 * gap;
  }

  /// Adds a box with these functions as its rows. Recurses as deep as load() lets a tree be.
  std::size_t add(box&& one, std::span<const pci::node> functions) {
    std::vector<pci::node> quiet;
    for (const pci::node& each : functions) {
      if (is_quiet(each)) {
        quiet.push_back(each);
        continue;
      }
      row next;
      describe(each, each->bridge ? shape::port : shape::endpoint, next);
      for (const pci::node& child : below_.below(each)) {
        box behind;
        describe(child, child->bridge ? shape::bridge : child->is_endpoint() ? shape::endpoint : shape::rest, behind);
        next.behind.push_back(add(std::move(behind), below_.below(child)));
      }
      one.rows.push_back(std::move(next));
    }
    if (!quiet.empty()) {
      one.rows.push_back(summary(quiet));
    }
    boxes_.push_back(std::move(one));
    return boxes_.size() - 1;
  }

  /// Leads to nothing, and nobody asks about it.
  [[nodiscard]] bool is_quiet(const pci::node& of) const {
    return below_.below(of).empty() && !of->is_endpoint() && asked_.number(of) == 0;
  }

  [[nodiscard]] static row summary(std::span<const pci::node> quiet) {
    row one;
    for (const pci::node& each : quiet) {
      one.tooltip += fmt::format("{}{} [{}] {}", one.tooltip.empty() ? "" : "\n", each->where, id(*each),
                                 each->bridge ? port_words(each->port) : class_words(*each));
    }
    one.lines = {quiet.size() == 1 ? fmt::format("{} {}", quiet[0]->where, class_words(*quiet[0]))
                                   : fmt::format("{} others, with nothing behind them", quiet.size())};
    return one;
  }

  void describe(const pci::node& of, shape what, label& into) const {
    const std::size_t number = asked_.number(of);
    into.what = what;
    into.redirects = of->acs.redirects();
    into.uncertain = !of->responds || !of->acs.is_known();
    into.lines = {fmt::format("{}{} [{}]", number == 0 ? "" : fmt::format("#{}  ", number), of->where, id(*of))};
    std::string line = of->bridge ? port_words(of->port) : class_words(*of);
    if (const std::string buses = bus_words(*of); !buses.empty()) {
      line += ", " + buses;
    }
    into.tooltip = into.lines[0] + "\n" + line;
    add_line(line, into);
    for (const std::string& each : {acs_words(*of), system_words(*of)}) {
      if (!each.empty()) {
        into.tooltip += "\n" + each;
        add_line(each, into);
      }
    }
  }

  /// Cut to what fits; the tooltip has it all.
  static void add_line(const std::string& line, label& to) {
    constexpr std::size_t most = (row_width - 16) / 6;
    to.lines.push_back(line.size() <= most ? line : line.substr(0, most - 2) + "..");
  }

  /// Gives a box and all behind it their places; returns where the space below begins.
  int place(std::size_t index, int x, int y) {
    box& one = boxes_[index];  // Nothing is added any more.
    one.x = x;
    one.y = y;
    one.width = box_width;
    right_ = std::max(right_, x + box_width);
    int below = y + header_height(one);
    for (row& each : one.rows) {
      each.x = x + inset;
      each.width = row_width;
      each.height = text_height(each);
      // Level with the middle of what is behind it; a single link is straight.
      int child_y = below;
      if (!each.behind.empty()) {
        child_y += std::max(0, (each.height - header_height(boxes_[each.behind.front()])) / 2);
      }
      for (const std::size_t child : each.behind) {
        child_y = place(child, x + box_width + column_gap, child_y) + gap;
      }
      each.y = each.behind.empty() ? below : (entry(each.behind.front()) + entry(each.behind.back()) - each.height) / 2;
      below = std::max(each.y + each.height + gap, child_y);
    }
    one.height = below - y;
    return below;
  }

  /// Where a link arrives.
  [[nodiscard]] int entry(std::size_t index) const { return boxes_[index].y + header_height(boxes_[index]) / 2; }

  const question& asked_;
  const tree below_;
  const int left_;
  int right_;
  int bottom_;
  std::vector<box> boxes_;
};

}  // namespace p2pmap::detail
