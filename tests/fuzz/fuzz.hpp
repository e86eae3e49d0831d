// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the fuzz targets share: a promise that ends the process when it does not hold, and a reader of their input.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include <paddock/pci/describe.hpp>
#include <paddock/pci/route.hpp>

/// The entry point that libFuzzer calls, and replay.cpp where there is none.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace paddock::fuzz {

inline void require(bool holds, const char* promise) {
  if (!holds) {
    std::fprintf(stderr, "does not hold: %s\n", promise);
    std::abort();
  }
}

/// Takes bytes off the front; zeroes when there are no more.
class input {
 public:
  explicit input(std::span<const std::uint8_t> bytes) noexcept : bytes_(bytes) {}
  [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }
  [[nodiscard]] std::uint8_t byte() noexcept {
    const std::uint8_t value = bytes_.empty() ? std::uint8_t{0} : bytes_.front();
    bytes_ = bytes_.subspan(bytes_.empty() ? 0 : 1);
    return value;
  }
  /// A text with its length in front of it.
  [[nodiscard]] std::string text() {
    const std::size_t length = byte();
    const auto taken = bytes_.first(std::min(length, bytes_.size()));
    bytes_ = bytes_.subspan(taken.size());
    return {taken.begin(), taken.end()};
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

/// Judges all pairs of the first functions, in all ways, and looks at what every verdict has to keep.
inline void judge_routes(const pci::topology& tree) {
  constexpr std::size_t most = 12;
  const std::size_t count = std::min(tree.size(), most);
  for (std::size_t a = 0; a < count; ++a) {
    for (std::size_t b = 0; b < count; ++b) {
      for (const pci::dma_owner owner :
           {pci::dma_owner::kernel_dma, pci::dma_owner::vfio, pci::dma_owner::vfio_identity}) {
        const auto there = pci::route_between(tree.at(a), tree.at(b), transaction::read, owner);
        const auto back = pci::route_between(tree.at(b), tree.at(a), transaction::read, owner);
        require(there && back, "functions of one topology have a route");
        require(there->kernel_type() == back->kernel_type(), "the kernel's verdict is the same both ways");
        require(there->distance() == back->distance(), "there is as far as back");
        require(there->common_bridge() == back->common_bridge(), "both ways meet in one bridge");
        require((there->type() == pci::route_type::unknown) == (there->what_is_missing() != pci::missing::nothing),
                "unknown says what is missing, and nothing else does");
        std::size_t redirects = 0;
        there->for_each_redirect([&](const pci::node&) { ++redirects; });
        require(there->is_redirected() == (redirects != 0), "redirects are counted as they are found");
        require(describe(*there).back() == '\n', "every route can be described");
      }
    }
  }
}

}  // namespace paddock::fuzz
