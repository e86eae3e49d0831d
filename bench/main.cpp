// SPDX-License-Identifier: BSL-1.0
// Google Benchmark's main with one more argument, --scale=full|quick|smoke, and with what a reader must know about the
// machine. Measurements register themselves; bench/report.py reads what this writes.
#include <benchmark/benchmark.h>
#include <sys/utsname.h>

#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <paddock/version.hpp>

#include "support/cores.hpp"
#include "support/scale.hpp"

namespace {

using paddock::bench::scale;

/// The first line of a file of /proc that begins so, without name and colon.
std::string line_of(const char* file, std::string_view name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const auto colon = line.find(':');
    if (line.starts_with(name) && colon != std::string::npos) {
      return line.substr(line.find_first_not_of(" \t", colon + 1));
    }
  }
  return "unknown";
}

void describe_machine() {
  utsname system{};
  ::uname(&system);
  benchmark::AddCustomContext("cpu", line_of("/proc/cpuinfo", "model name"));
  benchmark::AddCustomContext(
      "cpu_flags_hypervisor",
      line_of("/proc/cpuinfo", "flags").find(" hypervisor") != std::string::npos ? "yes" : "no");
  benchmark::AddCustomContext("usable_cpus", std::to_string(paddock::bench::usable_cpus().size()));
  benchmark::AddCustomContext("kernel", std::string(system.sysname) + " " + system.release + " " + system.machine);
#if defined(__clang__)
  benchmark::AddCustomContext("compiler", "clang " __clang_version__);
#else
  benchmark::AddCustomContext("compiler", "g++ " __VERSION__);
#endif
  benchmark::AddCustomContext("flags", PADDOCK_BENCH_FLAGS);
  benchmark::AddCustomContext("paddock", std::to_string(PADDOCK_VERSION_MAJOR) + "." +
                                             std::to_string(PADDOCK_VERSION_MINOR) + "." +
                                             std::to_string(PADDOCK_VERSION_PATCH));
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> arguments;
  for (int i = 0; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--scale=full") {
      paddock::bench::chosen = scale::full();
    } else if (argument == "--scale=quick") {
      paddock::bench::chosen = scale::quick();
    } else if (argument == "--scale=smoke") {
      paddock::bench::chosen = scale::smoke();
    } else {
      arguments.push_back(argv[i]);
    }
  }
  // Before the user's own, which win.
  std::string repetitions = "--benchmark_repetitions=" + std::to_string(paddock::bench::chosen.repetitions);
  std::string shuffle = "--benchmark_enable_random_interleaving=true";
  arguments.insert(arguments.begin() + 1, {repetitions.data(), shuffle.data()});

  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) {
    return 2;
  }
  describe_machine();
  // As long as a process has had one thread only, libstdc++ counts shared_ptr without locked instructions.
  std::thread([] {}).join();
  // Also the measurements on one thread: a move to another core in the middle would be seen as a slow batch.
  paddock::bench::stay_on(0);
  return benchmark::RunSpecifiedBenchmarks() > 0 ? 0 : 1;
}
