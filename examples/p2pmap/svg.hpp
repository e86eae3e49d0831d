// SPDX-License-Identifier: BSL-1.0
/// \file
/// The tree and the matrix as a picture (SVG 1.1), which needs no fonts of its own and brings its own background.
/// Boxes are what has a bus inside: host bridges and switches; their rows are the functions on that bus. What is behind
/// a row, across a link, stands to its right: endpoints, or the next switch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <paddock/pci/topology.hpp>

#include "question.hpp"
#include "svg_layout.hpp"
#include "words.hpp"

namespace p2pmap {

namespace detail {

/// Text between tags or in an attribute.
[[nodiscard]] inline std::string escaped(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&': safe += "&amp;"; break;
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '"': safe += "&quot;"; break;
      case '\n': safe += c; break;  // Tooltips have lines.
      default: safe += printable(c);
    }
  }
  return safe;
}

/// Splits at spaces into lines of at most `most` characters; a longer word gets a line of its own.
[[nodiscard]] inline std::vector<std::string> wrapped(const std::string& text, std::size_t most) {
  std::vector<std::string> lines(1);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find_first_of(" ;", at), text.size() - 1) + 1;
    if (!lines.back().empty() && lines.back().size() + (end - at) > most) {
      lines.emplace_back();
    }
    lines.back().append(text, at, end - at);
    at = end;
  }
  return lines;
}

/// Appends SVG elements. All lengths are pixels, and whole.
class svg_writer {
 public:
  [[nodiscard]] std::string finish(int width, int height) const {
    return fmt::format(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
        "font-family=\"DejaVu Sans, Verdana, Arial, sans-serif\" font-size=\"11\" fill=\"#1c2530\">\n"
        "<style>"
        "text{{white-space:pre}}.h{{font-size:16px;font-weight:bold}}.b{{font-weight:bold}}.s{{fill:#5a6675}}"
        ".bad{{fill:#a8201a;font-weight:bold}}.c{{text-anchor:middle}}.e{{text-anchor:end}}"
        ".link{{fill:none;stroke:#66727f;stroke-width:1.5}}"
        ".root{{fill:#e9eef5;stroke:#4a6076}}.switch{{fill:#efeaf8;stroke:#6c4fa0}}.port{{fill:#fff;stroke:#8995a1}}"
        ".end{{fill:#e3f2e6;stroke:#2f7a43}}.rest{{fill:#f4f4f4;stroke:#c4c9ce}}"
        ".redirect{{stroke:#c62f26;stroke-width:2.5}}.guess{{stroke-dasharray:5 3}}"
        ".v0{{fill:#e2e6ea}}.v1{{fill:#b5e0bf}}.v2{{fill:#ffe09a}}.v3{{fill:#f3b8b3}}.v4{{fill:#fff;stroke:#8995a1}}"
        "</style>\n"
        "<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\"/>\n"
        "{2}</svg>\n",
        width, height, body_);
  }

  /// `css` is the class; a tooltip shows where a viewer has such.
  void rectangle(int x, int y, int width, int height, const std::string& css, const std::string& tooltip = "") {
    put("<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\"", css, x, y, width, height);
    if (tooltip.empty()) {
      body_ += "/>\n";
    } else {
      put("><title>{}</title></rect>\n", escaped(tooltip));
    }
  }
  void text(int x, int y, const char* css, const std::string& what) {
    put("<text class=\"{}\" x=\"{}\" y=\"{}\">{}</text>\n", css, x, y, escaped(what));
  }
  /// Right, then up or down in the middle, then right.
  void link(int x1, int y1, int x2, int y2) {
    put("<path class=\"link\" d=\"M{} {}H{}V{}H{}\"/>\n", x1, y1, (x1 + x2) / 2, y2, x2);
  }

 private:
  template <class... Arguments>
  void put(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    fmt::format_to(std::back_inserter(body_), format, std::forward<Arguments>(arguments)...);
  }

  std::string body_;
};

[[nodiscard]] inline const char* css_of(shape what) noexcept {
  switch (what) {
    case shape::host_bridge: return "root";
    case shape::bridge: return "switch";
    case shape::port: return "port";
    case shape::endpoint: return "end";
    case shape::rest: return "rest";
  }
  return "rest";
}

class svg_page {
 public:
  explicit svg_page(const question& asked) : asked_(asked) {}

  [[nodiscard]] std::string draw() {
    out_.text(margin, y_, "h", "PCI tree and peer-to-peer routes");
    y_ += 18;
    out_.text(margin, y_, "s", "Verdicts: Linux 7.2 for DMA of kernel drivers, with what is known beyond it.");
    y_ += 16;
    draw_tree();
    draw_matrix();
    draw_notes();
    return out_.finish(width_ + margin, y_ + margin);
  }

 private:
  static constexpr int margin = 20;
  static constexpr int cell_width = 46;
  static constexpr int cell_height = 22;
  static constexpr int labels_width = 300;
  static constexpr int note_width = 780;

  void draw_tree() {
    const layout tree(asked_, margin, y_);
    for (const box& each : tree.boxes()) {
      draw(each, header_height(each));
      for (const row& one : each.rows) {
        draw(one, one.height);
        for (const std::size_t child : one.behind) {
          const box& next = tree.boxes()[child];
          out_.link(one.x + one.width, one.y + one.height / 2, next.x, next.y + header_height(next) / 2);
        }
      }
    }
    width_ = std::max(width_, tree.right());
    y_ = tree.bottom() + 2 * margin;
  }

  void draw(const label& one, int text_height) {
    std::string css = css_of(one.what);
    css += one.redirects ? " redirect" : "";
    css += one.uncertain ? " guess" : "";
    out_.rectangle(one.x, one.y, one.width, one.height, css, one.tooltip);
    int y = one.y + (text_height - static_cast<int>(one.lines.size()) * line_height) / 2 + 11;
    for (std::size_t i = 0; i < one.lines.size(); ++i, y += line_height) {
      const bool warning = one.redirects && one.lines[i].rfind("ACS", 0) == 0;
      out_.text(one.x + 8, y, warning ? "bad" : i == 0 && one.what != shape::rest ? "b" : "s", one.lines[i]);
    }
  }

  void draw_matrix() {
    if (asked_.clients().empty() || asked_.providers().empty()) {
      out_.text(margin, y_, "s", "There is no endpoint, so there are no pairs.");
      y_ += line_height;
      return;
    }
    out_.text(margin, y_, "b", "Rows are clients, whose DMA it is; columns are providers, whose memory it reaches.");
    y_ += cell_height;
    const int left = margin + labels_width;
    int x = left;
    for (const pci::node& provider : asked_.providers()) {
      out_.text(x + cell_width / 2, y_, "b c", fmt::format("#{}", asked_.number(provider)));
      x += cell_width;
    }
    width_ = std::max(width_, x);
    y_ += 6;
    for (const pci::node& client : asked_.clients()) {
      out_.text(margin + 32, y_ + 15, "b e", fmt::format("#{}", asked_.number(client)));
      out_.text(margin + 40, y_ + 15, "", fmt::format("{} {}", client->where, class_words(*client)));
      x = left;
      for (const pci::node& provider : asked_.providers()) {
        const cell what = cell_of(pair_of_routes::between(client, provider));
        draw_cell(x, what.kind, what.code);
        x += cell_width;
      }
      y_ += cell_height;
    }
    y_ += margin;
    for (const code_meaning& each : codes) {
      draw_cell(margin, each.kind, each.code);
      out_.text(margin + cell_width + 8, y_ + 15, "", each.meaning);
      y_ += cell_height;
    }
    for (const auto& [suffix, meaning] : suffixes) {
      out_.text(margin + cell_width / 2, y_ + 13, "c", std::string("..") + suffix);
      out_.text(margin + cell_width + 8, y_ + 13, "", meaning);
      y_ += line_height + 3;
    }
    width_ = std::max(width_, margin + note_width);
  }

  void draw_cell(int x, verdict kind, const std::string& code) {
    out_.rectangle(x + 1, y_ + 1, cell_width - 2, cell_height - 2, fmt::format("v{}", static_cast<int>(kind)));
    out_.text(x + cell_width / 2, y_ + 15, "c", code);
  }

  void draw_notes() {
    constexpr std::size_t characters = note_width / 7;
    y_ += margin;
    for (const std::string& note : reasons(asked_).in_words()) {
      for (const std::string& each : wrapped(note, characters)) {
        out_.text(margin, y_, "", each);
        y_ += line_height + 2;
      }
      y_ += 4;
    }
  }

  const question& asked_;
  svg_writer out_;
  int width_{margin + note_width};
  int y_{margin + 10};
};

}  // namespace detail

[[nodiscard]] inline std::string render_svg(const question& asked) { return detail::svg_page(asked).draw(); }

}  // namespace p2pmap
