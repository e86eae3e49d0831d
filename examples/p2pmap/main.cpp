// SPDX-License-Identifier: BSL-1.0
// p2pmap: a machine's PCI tree, and which of its devices reach which other one's memory, why, and why not.
#include <cstdio>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "json.hpp"
#include "machine.hpp"
#include "options.hpp"
#include "question.hpp"
#include "svg.hpp"
#include "text.hpp"

namespace {

using namespace p2pmap;

outcome<std::string> run(const options& wanted) {
  if (!wanted.capture.empty()) {
    return save(wanted.capture);
  }
  const auto machine = load(wanted.from, wanted.cpu);
  if (!machine) {
    return tl::unexpected(machine.error());
  }
  if (wanted.explain) {
    const auto& [client, provider] = *wanted.explain;
    auto asked = question::about(*machine, {&client, 1}, {&provider, 1});
    return std::move(asked).map(
        [](const question& pair) { return render_explanation(pair.clients().front(), pair.providers().front()); });
  }
  auto asked = question::about(*machine, wanted.clients, wanted.providers);
  return std::move(asked).map(wanted.format == "json"  ? render_json
                              : wanted.format == "svg" ? render_svg
                                                       : render_text);
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int failed = 1;
  constexpr int usage = 2;
  CLI::App app{
      "Shows a machine's PCI tree, and for each pair of devices whether the DMA of the one reaches the memory of the "
      "other, which way, and why: what the kernel would say (Linux 7.2), and what is known beyond that. Without "
      "privilege a running system does not tell everything; what is missing is named.",
      "p2pmap"};
  app.footer("Exit status: 0; 1 the machine could not be read, or has no such device; 2 usage.");
  options wanted;
  try {
    wanted = parse(app, argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) {
      return app.exit(e);
    }
    std::fputs(fmt::format("p2pmap: {}\n", e.what()).c_str(), stderr);
    return usage;
  }
  const auto shown = run(wanted);
  if (!shown) {
    std::fputs(fmt::format("p2pmap: {}\n", shown.error()).c_str(), stderr);
    return failed;
  }
  if (std::fwrite(shown->data(), 1, shown->size(), stdout) != shown->size() || std::fflush(stdout) != 0) {
    std::fputs("p2pmap: the output could not be written\n", stderr);
    return failed;
  }
  return 0;
}
