// SPDX-License-Identifier: BSL-1.0
#include <paddock/buffer/mmio_copy.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "catch.hpp"

namespace paddock {
namespace {

constexpr std::size_t guard = 32;
constexpr std::size_t most_misaligned = 15;
constexpr std::size_t most_bytes = 64;
constexpr std::byte untouched{0xee};

/// Bytes somewhere in a page of their own, with guards around them.
struct arena {
  arena() { memory.fill(untouched); }
  std::span<std::byte> at(std::size_t misaligned, std::size_t length) {
    return std::span(memory).subspan(guard + misaligned, length);
  }
  mmio_span window(std::size_t misaligned, std::size_t length) { return {at(misaligned, length).data(), length}; }
  void fill(std::size_t misaligned, std::size_t length) {
    std::size_t i = 0;
    for (std::byte& each : at(misaligned, length)) {
      each = static_cast<std::byte>(++i);
    }
  }
  bool is_filled(std::size_t misaligned, std::size_t length) const {
    arena expected;
    expected.fill(misaligned, length);
    return memory == expected.memory;
  }
  alignas(64) std::array<std::byte, guard + most_misaligned + most_bytes + guard> memory{};
};

struct access_made {
  std::size_t offset;
  std::size_t width;
};

/// Device memory that writes down how it is accessed.
class recorder {
 public:
  recorder(mmio_span memory, std::vector<access_made>& reads, std::vector<access_made>& writes)
      : memory_(memory), reads_(&reads), writes_(&writes) {}
  std::uintptr_t address() const noexcept { return memory_.address(); }
  std::size_t size() const noexcept { return memory_.size(); }
  std::uint8_t read8_relaxed(std::size_t at) const { return reads_->push_back({at, 1}), memory_.read8_relaxed(at); }
  std::uint16_t read16_relaxed(std::size_t at) const { return reads_->push_back({at, 2}), memory_.read16_relaxed(at); }
  std::uint32_t read32_relaxed(std::size_t at) const { return reads_->push_back({at, 4}), memory_.read32_relaxed(at); }
  std::uint64_t read64_relaxed(std::size_t at) const { return reads_->push_back({at, 8}), memory_.read64_relaxed(at); }
  void write8_relaxed(std::size_t at, std::uint8_t value) const {
    writes_->push_back({at, 1});
    memory_.write8_relaxed(at, value);
  }
  void write16_relaxed(std::size_t at, std::uint16_t value) const {
    writes_->push_back({at, 2});
    memory_.write16_relaxed(at, value);
  }
  void write32_relaxed(std::size_t at, std::uint32_t value) const {
    writes_->push_back({at, 4});
    memory_.write32_relaxed(at, value);
  }
  void write64_relaxed(std::size_t at, std::uint64_t value) const {
    writes_->push_back({at, 8});
    memory_.write64_relaxed(at, value);
  }

 private:
  mmio_span memory_;
  std::vector<access_made>* reads_;
  std::vector<access_made>* writes_;
};

/// Each byte once, in order, nothing beside, aligned, and each access the widest that was possible there.
bool is_exact(const std::vector<access_made>& made, std::uintptr_t address, std::size_t length, std::size_t widest) {
  std::size_t done = 0;
  for (const access_made& each : made) {
    std::size_t width = widest;
    while ((address + done) % width != 0 || width > length - std::min(done, length)) {
      width /= 2;
      if (width == 0) {
        return false;
      }
    }
    if (each.offset != done || each.width != width) {
      return false;
    }
    done += width;
  }
  return done == length;
}

/// The widest access that both addresses allow at once.
std::size_t common_width(std::uintptr_t a, std::uintptr_t b) {
  std::size_t width = 8;
  while (a % width != b % width) {
    width /= 2;
  }
  return width;
}

template <class Try>
void for_each_place(Try attempt) {
  for (std::size_t to = 0; to <= most_misaligned; ++to) {
    for (std::size_t from = 0; from <= most_misaligned; ++from) {
      for (std::size_t length = 0; length <= most_bytes; ++length) {
        attempt(to, from, length);
      }
    }
  }
}

/// error() of a success is nothing that can be compared.
template <class T>
errc code_of(const result<T>& answer) {
  return answer ? errc{} : answer.error().code;
}

}  // namespace

TEST_CASE("copies to, from and between devices move each byte and no other, however it lies") {
  for_each_place([](std::size_t to_at, std::size_t from_at, std::size_t length) {
    arena from;
    from.fill(from_at, length);
    arena to;
    REQUIRE(copy_to_device(to.window(to_at, length), from.at(from_at, length)));
    REQUIRE(to.is_filled(to_at, length));
    arena back;
    REQUIRE(copy_from_device(back.at(to_at, length), from.window(from_at, length)));
    REQUIRE(back.is_filled(to_at, length));
    arena peer;
    REQUIRE(copy_device_to_device(peer.window(to_at, length), from.window(from_at, length)));
    REQUIRE(peer.is_filled(to_at, length));
    REQUIRE(from.is_filled(from_at, length));
  });
}

TEST_CASE("device memory is accessed once a byte, aligned, and as widely as it can be") {
  for_each_place([](std::size_t to_at, std::size_t from_at, std::size_t length) {
    arena from;
    arena to;
    from.fill(from_at, length);
    const mmio_span to_window = to.window(to_at, length);
    const mmio_span from_window = from.window(from_at, length);
    std::vector<access_made> reads;
    std::vector<access_made> writes;
    const recorder device(to_window, reads, writes);
    detail::copy_to_window(device, from.at(from_at, length));
    REQUIRE(reads.empty());
    REQUIRE(is_exact(writes, to_window.address(), length, 8));

    writes.clear();
    detail::copy_from_window(to.at(to_at, length), recorder(from_window, reads, writes));
    REQUIRE(writes.empty());
    REQUIRE(is_exact(reads, from_window.address(), length, 8));

    reads.clear();
    detail::copy_between_windows(device, recorder(from_window, reads, writes));
    const std::size_t widest = common_width(to_window.address(), from_window.address());
    REQUIRE(is_exact(writes, to_window.address(), length, widest));
    REQUIRE(is_exact(reads, from_window.address(), length, widest));
  });
}

TEST_CASE("a copy between different sizes, or onto itself, is refused and moves nothing") {
  arena from;
  from.fill(0, 16);
  arena to;
  for (const std::size_t other : {std::size_t{0}, std::size_t{15}, std::size_t{17}}) {
    CHECK(code_of(copy_to_device(to.window(0, other), from.at(0, 16))) == errc::invalid_argument);
    CHECK(code_of(copy_from_device(to.at(0, other), from.window(0, 16))) == errc::invalid_argument);
    CHECK(code_of(copy_device_to_device(to.window(0, other), from.window(0, 16))) == errc::invalid_argument);
  }
  CHECK(to.memory == arena().memory);
  CHECK(code_of(copy_device_to_device(from.window(15, 16), from.window(0, 16))) == errc::invalid_argument);
  CHECK(code_of(copy_device_to_device(from.window(0, 16), from.window(15, 16))) == errc::invalid_argument);
  CHECK(code_of(copy_device_to_device(from.window(0, 16), from.window(0, 16))) == errc::invalid_argument);
  CHECK(from.is_filled(0, 16));
  CHECK(copy_device_to_device(from.window(16, 16), from.window(0, 16)));
  CHECK(copy_to_device({}, {}));
}

}  // namespace paddock
