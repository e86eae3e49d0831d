// SPDX-License-Identifier: BSL-1.0
// A main for compilers without libFuzzer: runs the target once on each file of the folders that are named.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "fuzz.hpp"

int main(int argc, char** argv) {
  int files = 0;
  for (int i = 1; i < argc; ++i) {
    std::error_code failed;
    for (std::filesystem::directory_iterator entry(argv[i], failed), end; !failed && entry != end;
         entry.increment(failed)) {
      std::ifstream in(entry->path(), std::ios::binary);
      const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
      std::printf("%s\n", entry->path().c_str());
      LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
      ++files;
    }
  }
  if (files == 0) {
    std::fprintf(stderr, "usage: %s FOLDER...: there is no file to run\n", argv[0]);
    return 2;
  }
  return 0;
}
