// SPDX-License-Identifier: BSL-1.0
/// \file
/// Machines put together by hand: config space, dumps of it, and trees of sysfs.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <paddock/pci/dump_text.hpp>
#include <paddock/pci/function.hpp>
#include <paddock/pci/topology.hpp>

namespace paddock::test {

/// Config space of one function. 64 bytes until something is put behind them.
class config {
 public:
  /// A conventional function without capabilities.
  explicit config(std::uint16_t vendor = 0x1234, std::uint16_t device = 0x5678) : bytes_(64) {
    put16(0x00, vendor).put16(0x02, device).class_code(0x010802);
  }

  config& put8(std::size_t at, std::uint8_t value) {
    if (bytes_.size() <= at) {
      bytes_.resize(at + 1);
    }
    bytes_[at] = std::byte{value};
    return *this;
  }
  config& put16(std::size_t at, std::uint16_t value) {
    return put8(at, static_cast<std::uint8_t>(value)).put8(at + 1, static_cast<std::uint8_t>(value >> 8));
  }
  config& put32(std::size_t at, std::uint32_t value) {
    return put16(at, static_cast<std::uint16_t>(value)).put16(at + 2, static_cast<std::uint16_t>(value >> 16));
  }
  config& class_code(std::uint32_t code) {
    return put8(0x09, static_cast<std::uint8_t>(code)).put16(0x0a, static_cast<std::uint16_t>(code >> 8));
  }
  config& bridge(std::uint8_t secondary, std::uint8_t subordinate) {
    return class_code(0x060400).put8(0x0e, 1).put8(0x19, secondary).put8(0x1a, subordinate);
  }
  /// A PCI Express capability at 0x40, and an end of the extended capabilities.
  config& express(unsigned type) {
    put16(0x06, 0x10).put8(0x34, 0x40).put16(0x40, 0x10).put16(0x42, static_cast<std::uint16_t>(type << 4 | 2));
    return put32(0x100, 0);
  }
  /// Appends an extended capability; returns where it is in `at`.
  config& extended(std::uint16_t id, std::size_t& at, std::size_t payload = 12) {
    at = extended_at_;
    if (last_extended_ != 0) {
      put16(last_extended_ + 2, static_cast<std::uint16_t>(at << 4 | 1));
    }
    put32(at, 0x10000U | id);
    last_extended_ = at;
    extended_at_ = (at + 4 + payload + 15) & ~std::size_t{15};
    return put32(extended_at_, 0);
  }
  config& acs(std::uint16_t enabled, std::uint16_t supported = 0x5f) {
    std::size_t at = 0;
    extended(0x000d, at);
    return put16(at + 4, supported).put16(at + 6, enabled);
  }
  config& sriov(std::uint16_t count, std::uint16_t offset, std::uint16_t stride) {
    std::size_t at = 0;
    extended(0x0010, at, 60);
    return put16(at + 8, 1).put16(at + 0x10, count).put16(at + 0x14, offset).put16(at + 0x16, stride);
  }
  /// As much of it as somebody was allowed to read.
  config& first(std::size_t bytes) {
    bytes_.resize(bytes);
    return *this;
  }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] pci::config_space view() const noexcept { return pci::config_space(bytes_); }

 private:
  std::vector<std::byte> bytes_;
  std::size_t extended_at_{0x100};
  std::size_t last_extended_{0};
};

inline config endpoint() { return config().express(0); }
inline config root_port(std::uint8_t secondary, std::uint8_t subordinate) {
  return config(0x1234, 0x0001).bridge(secondary, subordinate).express(4);
}
inline config upstream(std::uint8_t secondary, std::uint8_t subordinate) {
  return config(0x1234, 0x0002).bridge(secondary, subordinate).express(5);
}
inline config downstream(std::uint8_t secondary, std::uint8_t subordinate) {
  return config(0x1234, 0x0003).bridge(secondary, subordinate).express(6);
}
inline config host_bridge(std::uint16_t vendor = 0x1234, std::uint16_t device = 0x0000) {
  return config(vendor, device).class_code(0x060000);
}
/// A function that is off, or gone.
inline config all_ones() {
  config ones;
  for (std::size_t i = 0; i < 64; ++i) {
    ones.put8(i, 0xff);
  }
  return ones;
}
/// What a virtual function answers: no vendor and no device.
inline config virtual_function() { return config(0xffff, 0xffff).express(0); }

inline pci::address at(std::string_view text) {
  const auto where = pci::address::parse(text);
  if (!where) {
    std::abort();
  }
  return *where;
}

/// Functions with their addresses.
class machine {
 public:
  machine& add(std::string_view where, config space) {
    parts_.emplace_back(at(where), std::move(space));
    return *this;
  }
  /// Changes a function that is there.
  [[nodiscard]] config& operator[](std::string_view where) {
    for (auto& [address, space] : parts_) {
      if (address == at(where)) {
        return space;
      }
    }
    std::abort();
  }

  [[nodiscard]] std::vector<pci::function> functions() const {
    std::vector<pci::function> all;
    for (const auto& [where, space] : parts_) {
      all.push_back(pci::read_function(where, space.view()));
    }
    return all;
  }
  [[nodiscard]] result<pci::topology> build(pci::cpu_rule cpu = pci::cpu_rule::none) const {
    return pci::topology::build(functions(), {cpu, false});
  }
  /// As lspci -Dxxxx prints it.
  [[nodiscard]] std::string dump() const {
    std::string text;
    for (const auto& [where, space] : parts_) {
      text += to_string(where) + " Some device\n";
      const auto bytes = space.bytes();
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        text += i % 16 == 0 ? fmt::format("{:02x}:", i) : "";
        text += fmt::format(" {:02x}", std::to_integer<unsigned>(bytes[i]));
        text += i % 16 == 15 || i + 1 == bytes.size() ? "\n" : "";
      }
      text += '\n';
    }
    return text;
  }

 private:
  std::vector<std::pair<pci::address, config>> parts_;
};

/// A root port with a switch below it, a second switch below that one, and a second root port.
///
///     00:00.0 host bridge
///     00:01.0 root port - 01:00.0 upstream - 02:00.0 - 03:00.0, 03:00.1
///                                            02:01.0 - 04:00.0
///                                            02:02.0 - 05:00.0 upstream - 06:00.0 - 07:00.0
///     00:02.0 root port - 09:00.0
inline machine two_switches() {
  machine m;
  m.add("00:00.0", host_bridge()).add("00:01.0", root_port(1, 7)).add("00:02.0", root_port(9, 9));
  m.add("01:00.0", upstream(2, 7)).add("02:00.0", downstream(3, 3)).add("02:01.0", downstream(4, 4));
  m.add("02:02.0", downstream(5, 7)).add("03:00.0", endpoint()).add("03:00.1", endpoint()).add("04:00.0", endpoint());
  m.add("05:00.0", upstream(6, 7)).add("06:00.0", downstream(7, 7)).add("07:00.0", endpoint());
  m.add("09:00.0", endpoint());
  return m;
}

/// The functions of a dump without libpci's help: a screened dump is simple enough.
inline result<pci::topology> read_plainly(std::string_view text, pci::cpu_rule cpu) {
  PADDOCK_TRY(const pci::screened_dump screened, pci::screen_dump(text));
  std::vector<pci::function> functions;
  pci::detail::line_reader lines(screened.text);
  std::size_t offset = 0;
  std::string_view hex;
  bool sound = true;
  std::string_view line;
  static_cast<void>(lines.next(line));  // The first function's own line.
  for (const pci::dumped_function& each : screened.functions) {
    std::vector<std::byte> bytes;
    for (; lines.next(line) && pci::detail::read_hex_line(line, offset, hex, sound);) {
      for (std::size_t i = 0; i < hex.size(); i += 3) {
        std::uint32_t value = 0;
        static_cast<void>(pci::detail::parse_hex(hex.substr(i, 2), 0xff, value));
        bytes.push_back(std::byte{static_cast<std::uint8_t>(value)});
      }
    }
    static_cast<void>(lines.next(line));  // Past the empty line.
    functions.push_back(pci::read_function(each.where, pci::config_space(bytes)));
  }
  return pci::topology::build(std::move(functions), {cpu, false});
}

/// A folder of its own for a test.
class scratch_folder {
 public:
  scratch_folder() : path_(std::filesystem::temp_directory_path() / "paddock-test-XXXXXX") {
    std::string name = path_.string();
    if (::mkdtemp(name.data()) == nullptr) {
      std::abort();
    }
    path_ = name;
  }
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;
  ~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_text(const std::filesystem::path& file, std::string_view text) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << text;
}
[[nodiscard]] inline std::string read_text(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A tree as /sys is, below a folder of its own.
class sysfs_tree {
 public:
  sysfs_tree() { std::filesystem::create_directories(root() / "sys/bus/pci/devices"); }
  [[nodiscard]] const std::filesystem::path& root() const noexcept { return folder_.path(); }
  [[nodiscard]] std::filesystem::path entry(std::string_view where) const {
    return root() / "sys/bus/pci/devices" / where;
  }
  /// `place` is below sys/devices and ends in the address. Returns the function's folder.
  std::filesystem::path add(const std::filesystem::path& place, const config& space) {
    const std::filesystem::path home = root() / "sys/devices" / place;
    write_text(home / "config", {reinterpret_cast<const char*>(space.bytes().data()), space.bytes().size()});
    std::filesystem::create_symlink("../../../devices" / place, entry(place.filename().string()));
    return home;
  }
  /// Puts a function's group, and what translates it.
  void group(const std::filesystem::path& home, const std::string& number, std::string_view type) {
    write_text(root() / "sys/kernel/iommu_groups" / number / "type", type);
    std::filesystem::create_symlink("../../../kernel/iommu_groups/" + number, home / "iommu_group");
  }

 private:
  scratch_folder folder_;
};

}  // namespace paddock::test
