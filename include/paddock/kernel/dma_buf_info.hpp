// SPDX-License-Identifier: BSL-1.0
/// \file
/// What /proc says about a dma-buf: its name, its exporter, how often it is held.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/uapi/dma_buf.hpp>
#include <paddock/detail/syscall.hpp>

namespace PADDOCK_NAMESPACE::kernel {

/// For people and logs. Names are not unique, and anybody who holds the buffer may change its name.
struct dma_buf_info {
  std::string name;             ///< Empty when nobody named it.
  std::string exporter;         ///< "udmabuf", "system", the name of a GPU driver.
  std::uint64_t size{0};        ///< Bytes.
  std::uint64_t references{0};  ///< Of the file: descriptors, mappings and importers in all processes.
};

/// Reads the text of an fdinfo file. Lines are found by key, unknown ones are skipped; the first one of a key counts,
/// and nothing after "name:" does, because a name may hold newlines and with them lines that look like the kernel's.
/// Errors: not_found (no "exp_name": not a dma-buf), invalid_argument (a number that is none).
[[nodiscard]] inline result<dma_buf_info> parse_dma_buf_info(std::string_view text) {
  const auto value_of = [](std::string_view line) {
    line.remove_prefix(line.find(':') + 1);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    return line;
  };
  const auto number = [](std::string_view digits, std::uint64_t& into) {
    const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), into);
    return problem == std::errc{} && end == digits.data() + digits.size();
  };
  dma_buf_info info;
  bool has_exporter = false;
  bool has_size = false;
  bool has_count = false;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.starts_with("name:")) {
      // The kernel writes the name last: all that follows is the name, up to its longest.
      std::string_view name = value_of(text);
      if (name.ends_with('\n')) {
        name.remove_suffix(1);
      }
      info.name = name.size() <= uapi::dma_buf_name_max ? name : name.substr(0, name.find('\n'));
      break;
    }
    if (line.starts_with("exp_name:") && !has_exporter) {
      info.exporter = value_of(line);
      has_exporter = true;
    } else if (line.starts_with("size:") && !has_size) {
      has_size = number(value_of(line), info.size);
      if (!has_size) {
        return fail(errc::invalid_argument, "fdinfo size");
      }
    } else if (line.starts_with("count:") && !has_count) {
      has_count = number(value_of(line), info.references);
      if (!has_count) {
        return fail(errc::invalid_argument, "fdinfo count");
      }
    }
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  if (!has_exporter) {
    return fail(errc::not_found, "fdinfo exp_name");
  }
  return info;
}

/// Reads /proc/self/fdinfo of a dma-buf. Errors: bad_fd, as open and read, as parse_dma_buf_info().
[[nodiscard]] inline result<dma_buf_info> read_dma_buf_info(borrowed_fd fd) {
  if (!fd.valid()) {
    return fail(errc::bad_fd, "fdinfo");
  }
  char path[48];
  std::snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd.get());
  PADDOCK_TRY(const unique_fd file, detail::open(path, O_RDONLY, "open(/proc/self/fdinfo)"));
  std::string text;
  char piece[512];
  for (;;) {
    const ssize_t got = detail::retry<false>([&] { return ::read(file.get(), piece, sizeof piece); });
    if (got < 0) {
      return fail_errno("read(/proc/self/fdinfo)");
    }
    if (got == 0) {
      return parse_dma_buf_info(text);
    }
    text.append(piece, static_cast<std::size_t>(got));
  }
}

}  // namespace PADDOCK_NAMESPACE::kernel
