// SPDX-License-Identifier: BSL-1.0
// A server's dump is loaded: from the file to a tree whose routes can be judged. The peer is lspci, which lists what is
// in the file, with the start of its process.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <paddock/pci/read_libpci.hpp>

#include "../support/batch.hpp"
#include "../support/server_dump.hpp"

namespace paddock::bench {
namespace {

/// The dump as a file, for as long as the program runs.
class dump_file {
 public:
  dump_file() : name_((std::filesystem::temp_directory_path() / "paddock-bench-XXXXXX").string()) {
    const unique_fd made = unique_fd::adopt(::mkstemp(name_.data()));
    std::ofstream(name_, std::ios::binary) << server_dump();
  }
  dump_file(const dump_file&) = delete;
  dump_file& operator=(const dump_file&) = delete;
  ~dump_file() { std::remove(name_.c_str()); }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  std::string name_;
};

[[nodiscard]] const std::string& file() {
  static const dump_file made;
  return made.name();
}

/// Loads are long: a tenth of the usual number of them tells as much.
template <class Load>
void measure_loads(benchmark::State& state, Load&& load) {
  for ([[maybe_unused]] auto repetition : state) {
    if (!load()) {  // The file comes into the page cache.
      return;
    }
    series seen;
    for (int i = 0; i < std::max(1, chosen.batches / 10); ++i) {
      const double unit = time_unit();
      seen.add(time([&] { benchmark::DoNotOptimize(load()); }), unit);
    }
    seen.report(state);
  }
}

void load_by_paddock(benchmark::State& state) {
  measure_loads(state, [&] {
    const auto tree = pci::read_dump(read_file(file()), pci::cpu_rule::none);
    if (!tree || tree->size() != server_functions) {
      state.SkipWithError("the dump should be read");
      return false;
    }
    return true;
  });
}

/// The exit status of a program whose output nobody reads; -1 when it could not be started.
int run(std::vector<std::string> command) {
  std::vector<char*> arguments;
  for (std::string& each : command) {
    arguments.push_back(each.data());
  }
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int failed = ::posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  int status = -1;
  return failed == 0 && ::waitpid(child, &status, 0) == child ? status : -1;
}

template <bool Names>
void load_by_lspci(benchmark::State& state) {
  measure_loads(state, [&] {
    const int status = Names ? run({"lspci", "-F", file()}) : run({"lspci", "-n", "-F", file()});
    if (status != 0) {
      state.SkipWithError("left out: lspci is not installed");
    }
    return status == 0;
  });
}

const bool registered = [] {
  add_row("route: load 517 functions", "paddock", load_by_paddock);
  add_row("route: load 517 functions", "lspci -n -F", load_by_lspci<false>);
  add_row("route: load 517 functions", "lspci -F", load_by_lspci<true>);
  return true;
}();

}  // namespace
}  // namespace paddock::bench
