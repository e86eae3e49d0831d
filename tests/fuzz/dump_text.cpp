// SPDX-License-Identifier: BSL-1.0
// Any text is a dump or a typed error, and never ends the process. Input: one byte for the CPU, then the text.
#include <paddock/pci/read_libpci.hpp>

#include <string_view>

#include "fuzz.hpp"

using namespace paddock;
using paddock::fuzz::require;

namespace {

void screening_twice_changes_nothing(const pci::screened_dump& once) {
  const auto twice = pci::screen_dump(once.text);
  require(twice && twice->text == once.text, "a screened dump is in the form that screening gives");
  require(twice->functions.size() == once.functions.size(), "screening loses no function");
  for (std::size_t i = 0; i < once.functions.size(); ++i) {
    require(twice->functions[i].bytes == once.functions[i].bytes, "screening loses no byte");
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  const auto cpu = static_cast<pci::cpu_rule>(data[0] % 3);
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto screened = pci::screen_dump(text);
  if (screened) {
    screening_twice_changes_nothing(*screened);
  }
  const auto tree = pci::read_dump(text, cpu);
  if (tree) {
    require(screened && tree->size() == screened->functions.size(), "every function of the dump is in the tree");
    fuzz::judge_routes(*tree);
  } else {
    require(screened || tree.error() == screened.error(), "what screening refuses is refused");
    require(tree.error() != error{errc::io, 0, ""}, "libpci finds no fault in a screened dump");
  }
  return 0;
}
