// SPDX-License-Identifier: BSL-1.0
// p2pmem.hpp, as far as a kernel without a provider can show it: a folder stands for sysfs, a file for the memory.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include <paddock/kernel/p2pmem.hpp>

#include "catch.hpp"

namespace paddock::kernel {

static_assert(!std::is_copy_constructible_v<p2pmem> && std::is_nothrow_move_constructible_v<p2pmem>);

namespace {

namespace fs = std::filesystem;

const std::size_t page = detail::page_size();
constexpr pci::address device{0, 0x3b, 0, 0};

/// A root folder with one provider.
class fake_root {
 public:
  fake_root() : path_(fs::temp_directory_path() / ("paddock-p2pmem-" + std::to_string(::getpid()))) {
    fs::create_directories(folder());
    put("size", std::to_string(16 * page));
    put("available", std::to_string(12 * page));
    put("published", "1");
    put("allocate", std::string(4 * page, '\0'));
  }
  ~fake_root() { fs::remove_all(path_); }
  fake_root(const fake_root&) = delete;
  fake_root& operator=(const fake_root&) = delete;

  [[nodiscard]] const fs::path& path() const { return path_; }
  [[nodiscard]] fs::path folder() const { return path_ / "sys/bus/pci/devices/0000:3b:00.0/p2pmem"; }
  void put(const std::string& name, const std::string& text) const { std::ofstream(folder() / name) << text; }
  /// The memory is some other file now.
  void link(const std::string& target) const {
    fs::remove(folder() / "allocate");
    fs::create_symlink(target, folder() / "allocate");
  }

 private:
  fs::path path_;
};

bool is_mapped(const void* address) {
  unsigned char here = 0;
  return ::mincore(const_cast<void*>(address), page, &here) == 0;
}

}  // namespace

TEST_CASE("a provider's memory is mapped in whole pages, shared, and given back") {
  const fake_root root;
  auto made = p2pmem::allocate(device, page + 1, root.path());
  REQUIRE(made);
  CHECK(made->provider() == device);
  CHECK(made->size() == 2 * page);
  CHECK(reinterpret_cast<std::uintptr_t>(made->address()) % page == 0);
  made->mmio().write32(page, 0x64636261);
  std::ifstream file(root.folder() / "allocate");
  file.seekg(static_cast<std::streamoff>(page));
  std::string word(4, ' ');
  file.read(word.data(), 4);
  CHECK(word == "abcd");

  p2pmem moved = std::move(*made);
  CHECK(made->size() == 0);
  CHECK(moved.mmio().read32(page) == 0x64636261);
  const void* const before = moved.address();
  CHECK(moved.unmap());
  CHECK_FALSE(is_mapped(before));
  CHECK(moved.size() == 0);
  CHECK(moved.address() == nullptr);
  CHECK(moved.mmio().empty());
  CHECK(moved.unmap());
}

TEST_CASE("memory of a provider is given back when it is dropped or replaced") {
  const fake_root root;
  const void* first = nullptr;
  const void* second = nullptr;
  {
    auto memory = p2pmem::allocate(device, page, root.path());
    REQUIRE(memory);
    first = memory->address();
    auto other = p2pmem::allocate(device, page, root.path());
    REQUIRE(other);
    second = other->address();
    *memory = std::move(*other);
    CHECK_FALSE(is_mapped(first));
    CHECK(memory->address() == second);
  }
  CHECK_FALSE(is_mapped(second));
}

TEST_CASE("a provider's statistics are read, and without a provider there are none") {
  const fake_root root;
  const auto read = p2pmem::statistics(device, root.path());
  REQUIRE(read);
  CHECK(read->size == 16 * page);
  CHECK(read->available == 12 * page);
  CHECK(read->published);
  root.put("published", "0\n");
  CHECK_FALSE(p2pmem::statistics(device, root.path())->published);
  for (const char* missing : {"size", "available", "published"}) {
    fs::remove(root.folder() / missing);
    CHECK(p2pmem::statistics(device, root.path()).error() == errc::not_found);
    root.put(missing, "1");
  }
  CHECK(p2pmem::statistics(pci::address{0, 0x3c, 0, 0}, root.path()).error() == errc::not_found);
}

TEST_CASE("what the kernel refuses to allocate comes back as a typed error") {
  const fake_root root;
  const auto allocate = [&](std::uint64_t size) { return p2pmem::allocate(device, size, root.path()); };
  CHECK(allocate(0).error() == errc::invalid_argument);
  CHECK(allocate(UINT64_MAX).error() == errc::out_of_range);
  // More than a process can map, as more than is free in one piece.
  CHECK(allocate(std::uint64_t{1} << 62U).error() == error{errc::limit_reached, ENOMEM, ""});
  root.link("/dev/null");
  CHECK(allocate(page).error() == error{errc::no_device, ENODEV, ""});
  root.link("/sys/devices/system/cpu/possible");
  CHECK(allocate(page).error() == errc::permission);
  root.link("nowhere");
  CHECK(allocate(page).error() == error{errc::not_found, ENOENT, ""});
  CHECK(p2pmem::allocate(pci::address{0, 0x3c, 0, 0}, page, root.path()).error() == errc::not_found);
}

}  // namespace paddock::kernel
