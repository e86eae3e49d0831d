// SPDX-License-Identifier: BSL-1.0
/// \file
/// NVMe drives in the hands of the kernel's own driver: O_DIRECT on their namespaces, and patterns to tell bytes by.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include <paddock/base/fd.hpp>
#include <paddock/base/mmio.hpp>
#include <paddock/pci/address.hpp>

#include "catch.hpp"

namespace paddock::test {

/// Memory of this process that O_DIRECT takes.
class direct_memory {
 public:
  explicit direct_memory(std::size_t size)
      : words_(new (std::align_val_t{4096}) std::uint64_t[size / 8]), size_(size) {}
  [[nodiscard]] void* address() const { return words_.get(); }
  [[nodiscard]] mmio_span mmio() const { return {words_.get(), size_}; }

 private:
  struct aligned_delete {
    void operator()(std::uint64_t* words) const { ::operator delete[](words, std::align_val_t{4096}); }
  };
  std::unique_ptr<std::uint64_t[], aligned_delete> words_;
  std::size_t size_;
};

/// Words that differ from each other and from those of any other seed.
inline void fill(mmio_span to, std::uint64_t seed) {
  for (std::size_t offset = 0; offset < to.size(); offset += 8) {
    to.write64_relaxed(offset, seed << 32U | offset);
  }
  flush_write_combining();
}
[[nodiscard]] inline bool holds(mmio_span what, std::uint64_t seed) {
  for (std::size_t offset = 0; offset < what.size(); offset += 8) {
    if (what.read64_relaxed(offset) != (seed << 32U | offset)) {
      return false;
    }
  }
  return true;
}

/// The first namespace of a controller, open for O_DIRECT.
class drive {
 public:
  explicit drive(const pci::address& controller) {
    namespace fs = std::filesystem;
    for (const auto& of : fs::directory_iterator("/sys/bus/pci/devices/" + to_string(controller) + "/nvme")) {
      const std::string node = "/dev/" + of.path().filename().string() + "n1";
      fd_ = unique_fd::adopt(::open(node.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
    }
    REQUIRE(fd_.valid());
  }

  [[nodiscard]] borrowed_fd fd() const { return fd_.borrow(); }

  /// The drive writes into `memory`, from the start of the namespace. Returns 0 or the errno.
  [[nodiscard]] int read(void* memory, std::size_t size) const {
    return outcome(::pread(fd_.get(), memory, size, 0), size);
  }
  /// The drive reads `memory`.
  [[nodiscard]] int write(const void* memory, std::size_t size) const {
    return outcome(::pwrite(fd_.get(), memory, size, 0), size);
  }

  /// The namespace's own way, through system memory.
  void put(std::uint64_t seed, std::size_t size) const {
    const direct_memory memory(size);
    fill(memory.mmio(), seed);
    REQUIRE(write(memory.address(), size) == 0);
  }
  [[nodiscard]] bool has(std::uint64_t seed, std::size_t size) const {
    const direct_memory memory(size);
    REQUIRE(read(memory.address(), size) == 0);
    return holds(memory.mmio(), seed);
  }

 private:
  static int outcome(ssize_t done, std::size_t wanted) {
    if (done < 0) {
      return errno;
    }
    return static_cast<std::size_t>(done) == wanted ? 0 : EIO;
  }

  unique_fd fd_;
};

}  // namespace paddock::test
