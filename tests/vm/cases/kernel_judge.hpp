// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the kernel itself thinks of a route: the answer of its rule, caught by a probe, and what it logs.
#pragma once

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/pci/route.hpp>

#include "catch.hpp"

namespace paddock::test {

/// One answer of the kernel. Kernel: calc_map_type_and_dist() (drivers/pci/p2pdma.c).
struct kernel_answer {
  pci::route_type type{pci::route_type::unknown};
  unsigned distance{0};
};

/// Listens to the kernel between begin() and the questions. Only for root, and only one in a system.
class kernel_judge {
 public:
  kernel_judge() : log_(unique_fd::adopt(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC))) {
    REQUIRE(log_.valid());
    static_cast<void>(::mount("tracefs", tracing, "tracefs", 0, nullptr));  // It may be there already.
    // What the rule returns, and the distance that it stores through its third argument.
    put("kprobe_events", "r:paddock_route calc_map_type_and_dist type=$retval distance=+0($arg3):u32");
    put("events/kprobes/paddock_route/enable", "1");
  }
  kernel_judge(const kernel_judge&) = delete;
  kernel_judge& operator=(const kernel_judge&) = delete;
  ~kernel_judge() {
    std::ofstream(path("events/kprobes/paddock_route/enable")) << "0";
    std::ofstream(path("kprobe_events")) << "";
  }

  /// Forgets what was said before.
  void begin() const {
    std::ofstream(path("trace"), std::ios::trunc);
    REQUIRE(::lseek(log_.get(), 0, SEEK_END) >= 0);
  }

  /// The answers since begin(). The kernel remembers them: only the first transfer of a pair makes it think.
  [[nodiscard]] static std::vector<kernel_answer> answers() {
    std::ifstream file(path("trace"));
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const std::regex line("paddock_route: .* type=(0x[0-9a-f]+|[0-9]+) distance=([0-9]+)");
    std::vector<kernel_answer> found;
    for (std::sregex_iterator each(text.begin(), text.end(), line), end; each != end; ++each) {
      const unsigned long type = std::stoul((*each)[1], nullptr, 0);
      found.push_back({type < types.size() ? types[type] : pci::route_type::unknown,
                       static_cast<unsigned>(std::stoul((*each)[2]))});
    }
    return found;
  }

  /// The log since begin(): one message an entry, all of the client's.
  [[nodiscard]] std::vector<std::string> log(const pci::address& client) const {
    std::vector<std::string> messages;
    std::array<char, 8192> record{};
    ssize_t got = 0;
    while ((got = ::read(log_.get(), record.data(), record.size())) > 0) {
      const std::string text(record.data(), static_cast<std::size_t>(got));
      const std::string message = text.substr(text.find(';') + 1, text.find('\n') - text.find(';') - 1);
      const std::string from = to_string(client) + ": ";
      if (const auto at = message.find(from); at != std::string::npos) {
        messages.push_back(message.substr(at + from.size()));
      }
    }
    return messages;
  }

 private:
  static constexpr const char* tracing = "/sys/kernel/tracing";
  /// enum pci_p2pdma_map_type.
  static constexpr std::array types{pci::route_type::unknown, pci::route_type::unknown, pci::route_type::not_supported,
                                    pci::route_type::bus_addr, pci::route_type::thru_host_bridge};

  static std::string path(const std::string& name) { return std::string(tracing) + "/" + name; }
  static void put(const std::string& name, const std::string& text) {
    std::ofstream file(path(name));
    file << text << std::flush;
    INFO("this kernel does not take '" << text << "'");
    REQUIRE(file.good());
  }

  unique_fd log_;
};

}  // namespace paddock::test
