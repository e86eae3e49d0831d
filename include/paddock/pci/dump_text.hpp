// SPDX-License-Identifier: BSL-1.0
/// \file
/// `lspci -x…` text, screened: what comes out is in the one form at which libpci's reader never ends the process.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <paddock/base/result.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/pci/config_space.hpp>

namespace PADDOCK_NAMESPACE::pci {

/// A function of a dump, and how many bytes of its config space the dump holds.
struct dumped_function {
  address where;
  std::size_t bytes{0};
};

/// A dump in its plainest form.
struct screened_dump {
  /// For each function a line "0000:bb:dd.f ", its bytes sixteen a line, and an empty line. The domain is a number of
  /// this text only: libpci's reader knows no wide ones.
  std::string text;
  std::vector<dumped_function> functions;  ///< In the order of the text, with their real addresses.
};

namespace detail {

/// Splits a text into lines, without their ends: LF or CR LF, or the end of the text.
class line_reader {
 public:
  explicit line_reader(std::string_view text) noexcept : rest_(text) {}
  [[nodiscard]] bool next(std::string_view& line) noexcept {
    if (rest_.empty()) {
      return false;
    }
    const std::size_t end = rest_.find('\n');
    line = rest_.substr(0, end);
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
    if (!line.empty() && line.back() == '\r') {
      line.remove_suffix(1);
    }
    return true;
  }

 private:
  std::string_view rest_;
};

[[nodiscard]] constexpr bool is_hex(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
[[nodiscard]] inline bool is_hex(std::string_view text) noexcept {
  for (const char c : text) {
    if (!is_hex(c)) {
      return false;
    }
  }
  return !text.empty();
}

/// "03:00.0 NVMe…" or "0000:03:00.0 …": the line that begins a function.
[[nodiscard]] inline bool read_header(std::string_view line, address& where) noexcept {
  const std::string_view first = line.substr(0, line.find(' '));
  const std::size_t dot = first.rfind('.');
  // "bb:dd.f" at least, with the two digits of bus and device that lspci always writes.
  if (dot == std::string_view::npos || dot < 5 || first[dot - 3] != ':' || first.size() != dot + 2) {
    return false;
  }
  const auto parsed = address::parse(first);
  if (!parsed) {
    return false;
  }
  where = *parsed;
  return true;
}

/// "10: 86 80 …". Returns false for a line that is none at all; `sound` is false for one that is broken.
[[nodiscard]] inline bool read_hex_line(std::string_view line, std::size_t& offset, std::string_view& bytes,
                                        bool& sound) noexcept {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon < 2 || colon > 8 || !is_hex(line.substr(0, colon)) ||
      colon + 1 >= line.size() || line[colon + 1] != ' ') {
    return false;
  }
  std::uint32_t at = 0;
  sound = parse_hex(line.substr(0, colon), 0xffffffff, at);
  offset = at;
  bytes = line.substr(colon + 2);
  while (!bytes.empty() && bytes.back() == ' ') {
    bytes.remove_suffix(1);
  }
  sound = sound && bytes.size() % 3 == 2;
  for (std::size_t i = 0; sound && i < bytes.size(); ++i) {
    sound = i % 3 == 2 ? bytes[i] == ' ' : is_hex(bytes[i]);
  }
  return true;
}

/// Numbers the domains of a dump from 0.
class domain_numbers {
 public:
  static constexpr std::size_t most = 0x10000;

  /// Errors: limit_reached.
  [[nodiscard]] result<std::size_t> number(std::uint32_t domain) {
    for (std::size_t i = seen_.size(); i-- > 0;) {  // The last one is nearly always it.
      if (seen_[i] == domain) {
        return i;
      }
    }
    if (seen_.size() == most) {
      return fail(errc::limit_reached, "PCI dump: domains");
    }
    seen_.push_back(domain);
    return seen_.size() - 1;
  }

 private:
  std::vector<std::uint32_t> seen_;
};

}  // namespace detail

/// Reads `lspci -x`, `-xxx` or `-xxxx` text, with or without domains and with whatever else lspci prints between.
/// Errors: invalid_argument for a hex line that is broken, out of order, beyond 4096 bytes or below no function's name;
/// limit_reached for more than 65536 functions; not_found when no config space is in it.
[[nodiscard]] inline result<screened_dump> screen_dump(std::string_view text) {
  constexpr std::size_t most_functions = 65536;
  screened_dump screened;
  screened.text.reserve(text.size() + text.size() / 8);
  detail::domain_numbers domains;
  detail::line_reader lines(text);
  bool inside = false;
  bool first_line = true;
  for (std::string_view line; lines.next(line);) {
    constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
    if (std::exchange(first_line, false) && line.substr(0, byte_order_mark.size()) == byte_order_mark) {
      line.remove_prefix(byte_order_mark.size());
    }
    address where;
    std::size_t offset = 0;
    std::string_view bytes;
    bool sound = true;
    if (line.empty()) {
      inside = false;
    } else if (detail::read_header(line, where)) {
      if (screened.functions.size() == most_functions) {
        return fail(errc::limit_reached, "PCI dump: functions");
      }
      PADDOCK_TRY(const std::size_t domain, domains.number(where.domain));
      fmt::format_to(std::back_inserter(screened.text), "{}{:04x}:{:02x}:{:02x}.{:x} \n",
                     screened.functions.empty() ? "" : "\n", domain, where.bus, where.device, where.function);
      screened.functions.push_back({where, 0});
      inside = true;
    } else if (detail::read_hex_line(line, offset, bytes, sound)) {
      if (!inside) {
        // To leave them out would leave out a function, and change the verdicts of others.
        return fail(errc::invalid_argument, "PCI dump: bytes that belong to no function");
      }
      dumped_function& current = screened.functions.back();
      const std::size_t count = (bytes.size() + 1) / 3;
      if (!sound || offset != current.bytes || count > 16 || count > regs::extended_bytes - offset) {
        return fail(errc::invalid_argument, "PCI dump: hex line");
      }
      fmt::format_to(std::back_inserter(screened.text), "{:02x}: ", offset);
      screened.text.append(bytes).append("\n");
      current.bytes += count;
    }
  }
  if (std::none_of(screened.functions.begin(), screened.functions.end(),
                   [](const dumped_function& each) { return each.bytes != 0; })) {
    return fail(errc::not_found, "PCI dump: no config space in it (lspci -xxxx prints it)");
  }
  return screened;
}

}  // namespace PADDOCK_NAMESPACE::pci
