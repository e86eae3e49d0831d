// SPDX-License-Identifier: BSL-1.0
// Any tree is a system or a typed error, and what can be read can be captured, and reads the same then.
// Input: a byte for the machine, a text for /proc/cpuinfo, then entries; see add_entry().
#include <paddock/pci/capture.hpp>
#include <paddock/pci/read_libpci.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "fuzz.hpp"

namespace fs = std::filesystem;
using namespace paddock;
using paddock::fuzz::input;
using paddock::fuzz::require;

namespace {

/// A folder until the process ends. Trees are made and removed thousands of times, so in memory where that can be.
class scratch_folder {
 public:
  scratch_folder() {
    std::string name = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : fs::temp_directory_path().string();
    name += "/paddock-fuzz-sysfs-XXXXXX";
    require(::mkdtemp(name.data()) != nullptr, "there is room for trees");
    path_ = name;
  }
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;
  ~scratch_folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

void write(const fs::path& file, const std::string& text) { std::ofstream(file, std::ios::binary) << text; }

/// A name that stays in its folder.
std::string plain_name(std::string name) {
  for (char& c : name) {
    c = c == '/' || c == '\0' ? '_' : c;
  }
  return name.empty() || name == "." || name == ".." ? "_" : name;
}

/// What a link says; it is only read through, never written through.
void make_link(const std::string& target, const fs::path& link) {
  static_cast<void>(::symlink(target.c_str(), link.c_str()));  // Refused when empty, too long or there.
}

std::string read_name(input& in) {
  if (in.byte() % 8 == 7) {
    return plain_name(in.text());
  }
  constexpr std::array<std::uint32_t, 4> domains{0, 1, 0x10000, 0x80000000};
  const std::uint32_t domain = domains[in.byte() % domains.size()];
  const std::uint8_t bus = in.byte();
  const std::uint8_t devfn = in.byte();
  return to_string(
      pci::address{domain, bus, static_cast<std::uint8_t>(devfn >> 3), static_cast<std::uint8_t>(devfn & 7)});
}

void add_config(input& in, const fs::path& file) {
  std::error_code failed;
  if (fs::exists(fs::symlink_status(file, failed))) {
    return;  // Of an entry with the same name, and maybe a pipe.
  }
  switch (in.byte() % 8) {
    case 0: return;
    case 1: ::mkfifo(file.c_str(), 0600); return;
    case 2: ::mkdir(file.c_str(), 0700); return;
    case 3: make_link("config", file); return;
    case 4: make_link("nowhere", file); return;
    default: break;
  }
  // Pieces at offsets, in as much of config space as the next byte says.
  std::string bytes(std::size_t{in.byte()} * 16 + (in.byte() & 15U), '\0');
  for (int pieces = in.byte() % 8; pieces > 0; --pieces) {
    const std::size_t at = std::size_t{in.byte()} * 16;
    const std::string piece = in.text();
    if (at < bytes.size()) {
      bytes.replace(at, std::min(piece.size(), bytes.size() - at), piece, 0, std::min(piece.size(), bytes.size() - at));
    }
  }
  write(file, bytes);
}

void add_attributes(input& in, const fs::path& folder) {
  const unsigned which = in.byte();
  constexpr std::array<const char*, 5> names{"vendor", "device", "resource", "numa_node", "class"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    if ((which >> i & 1) != 0) {
      write(folder / names[i], in.text());
    }
  }
  if ((which & 0x20) != 0) {
    make_link(in.text(), folder / "iommu_group");
  }
  if ((which & 0x40) != 0) {
    make_link(in.text(), folder / "driver");
  }
  if ((which & 0x80) != 0) {
    std::error_code there;
    fs::create_directory(folder / "p2pmem", there);
    for (const char* name : {"size", "available", "published"}) {
      write(folder / "p2pmem" / name, in.text());
    }
  }
}

/// A name in devices/, and what it leads to: a folder right there, one on a root bus, one below an earlier entry, or
/// anything at all.
void add_entry(input& in, const fs::path& root, std::vector<fs::path>& homes) {
  const std::string name = read_name(in);
  const fs::path entry = root / "sys/bus/pci/devices" / name;
  const unsigned kind = in.byte();
  fs::path home;
  switch (kind % 4) {
    case 0: home = fs::path("sys/bus/pci/devices") / name; break;
    case 1: home = fs::path("sys/devices") / plain_name("pci" + in.text()) / name; break;
    case 2: home = homes.empty() ? fs::path() : homes[kind / 4 % homes.size()] / name; break;
    default: break;
  }
  std::error_code failed;
  if (home.empty()) {
    make_link(in.text(), entry);
    return;
  }
  if (home.parent_path() != "sys/bus/pci/devices") {
    make_link("../../../" + home.lexically_relative("sys").string(), entry);
    homes.push_back(home);
  } else if (fs::is_symlink(fs::symlink_status(entry, failed))) {
    return;
  }
  fs::create_directories(root / home, failed);
  if (failed) {
    return;  // A name may be too long, or taken by something else.
  }
  add_config(in, root / home / "config");
  add_attributes(in, root / home);
}

void same_facts(const pci::topology& a, const pci::topology& b) {
  require(a.size() == b.size(), "a capture has every function");
  require(a.facts().cpu == b.facts().cpu && a.facts().iommu_groups_told == b.facts().iommu_groups_told,
          "a capture tells the same of the machine");
  for (std::size_t i = 0; i < a.size(); ++i) {
    const pci::function& was = a.functions()[i];
    const pci::function& is = b.functions()[i];
    require(was.where == is.where && was.vendor == is.vendor && was.device == is.device &&
                was.config_bytes == is.config_bytes && was.responds == is.responds,
            "a capture tells the same of each function");
    require(was.attached.how == is.attached.how && was.attached.parent == is.attached.parent,
            "a capture has each function in its place");
    require(was.iommu_group == is.iommu_group && was.domain == is.domain && was.numa_node == is.numa_node &&
                was.driver == is.driver && was.p2pmem.has_value() == is.p2pmem.has_value(),
            "a capture has what sysfs tells");
    for (std::size_t bar = 0; bar < was.bars.size(); ++bar) {
      require(was.bars[bar].first == is.bars[bar].first && was.bars[bar].size == is.bars[bar].size,
              "a capture has the BARs");
    }
  }
}

void read_and_capture(const fs::path& root, const fs::path& into) {
  const auto tree = pci::read_system(root);
  const auto captured = pci::capture(into, root);
  if (!captured) {
    require(!fs::exists(into), "a capture is whole or not there");
  }
  if (tree) {
    fuzz::judge_routes(*tree);
    require(captured.has_value(), "what can be read can be captured");
    const auto again = pci::read_system(into);
    require(again.has_value(), "what was captured can be read");
    same_facts(*tree, *again);
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr int most_entries = 8;
  static const scratch_folder scratch;
  input in({data, size});
  const fs::path root = scratch.path() / "root";
  const unsigned machine = in.byte();
  if ((machine & 1) == 0) {
    fs::create_directories(root / "sys/bus/pci/devices");
  }
  if ((machine & 2) != 0) {
    fs::create_directories(root / "sys/kernel/iommu_groups/7");
    write(root / "sys/kernel/iommu_groups/7/type", in.text());
  }
  if ((machine & 4) != 0) {
    fs::create_directories(root / "proc");
    write(root / "proc/cpuinfo", in.text());
  }
  if ((machine & 1) == 0) {
    std::vector<fs::path> homes;
    for (int i = 0; i < most_entries && !in.empty(); ++i) {
      add_entry(in, root, homes);
    }
  }
  read_and_capture(root, scratch.path() / "captured");
  fs::remove_all(root);
  fs::remove_all(scratch.path() / "captured");
  return 0;
}
