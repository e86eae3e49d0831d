// SPDX-License-Identifier: BSL-1.0
// nvme_copy: copies one NVMe drive to another from userspace, peer to peer through a controller's memory where it can.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <string>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "job.hpp"

namespace {

using namespace nvme_copy;

std::atomic<bool> stop_requested{false};

/// Prints without throwing: a terminal that went away must not end a copy that is under way.
template <class... Arguments>
void print(std::FILE* to, fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  std::fputs(fmt::format(text, std::forward<Arguments>(arguments)...).c_str(), to);
}

/// A line that redraws itself; nothing where nobody watches.
class progress_bar {
 public:
  progress_bar(const char* what, bool shown) : what_(what), shown_(shown && ::isatty(STDERR_FILENO) == 1) {}
  progress_bar(const progress_bar&) = delete;
  progress_bar& operator=(const progress_bar&) = delete;
  ~progress_bar() {
    if (last_ >= 0 && last_ < 100) {
      print(stderr, "\n");
    }
  }
  void set_total(std::uint64_t total) { total_ = total; }
  void show(std::uint64_t done) {
    if (!shown_ || total_ == 0) {
      return;
    }
    const auto percent = static_cast<int>(done * 100 / total_);
    if (percent == last_) {
      return;
    }
    last_ = percent;
    print(stderr, "\r{} [{:<50}] {:3}%", what_, std::string(static_cast<std::size_t>(percent / 2), '#'), percent);
    if (percent == 100) {
      print(stderr, "\n");
    }
    std::fflush(stderr);
  }

 private:
  const char* what_;
  bool shown_;
  std::uint64_t total_{0};
  int last_{-1};
};

void print_report(const report& r, bool verified) {
  print(stdout, "source            {} {}, {} blocks of {} bytes\n", r.source.model, r.source.serial, r.source.blocks,
        r.source.block_bytes);
  print(stdout, "target            {} {}, {} blocks of {} bytes\n", r.target.model, r.target.serial, r.target.blocks,
        r.target.block_bytes);
  print(stdout, "route             {}\n", r.route);
  print(stdout, "copied            {} bytes in {:.3f} s, {:.1f} MiB/s\n", r.bytes, r.seconds,
        static_cast<double>(r.bytes) / (1024 * 1024) / r.seconds);
  print(stdout, "in flight         at most {} reads and {} writes at once\n", r.reads_in_flight, r.writes_in_flight);
  print(stdout, "device memory     {} bytes passed through it\n", r.device_memory_bytes);
  print(stdout, "system memory     {} bytes passed through it\n", r.system_memory_bytes);
  if (verified) {
    print(stdout, "SHA-256 source    {}\nSHA-256 target    {}\n", r.source_sha256, r.target_sha256);
    print(stdout, "verified          {}\n", r.source_sha256 == r.target_sha256 ? "equal" : "THE DRIVES DIFFER");
  }
}

void print_json(const report& r) {
  print(stdout,
        R"({{"bytes": {}, "seconds": {:.6f}, "peer_to_peer": {}, "route": "{}", "system_memory_bytes": {}, )"
        R"("device_memory_bytes": {}, "source_sha256": "{}", "target_sha256": "{}"}})"
        "\n",
        r.bytes, r.seconds, r.peer_to_peer, r.route, r.system_memory_bytes, r.device_memory_bytes, r.source_sha256,
        r.target_sha256);
}

template <class Completion>
outcome<report> run(const request& wanted, bool quiet) {
  auto space = paddock::vfio::container::create();
  if (!space) {
    if (space.error() == paddock::errc::permission) {
      return failed(ending::not_opened, fmt::format("no permission to open VFIO: {}", space.error()));
    }
    return failed(ending::not_opened,
                  fmt::format("this kernel offers no VFIO with an IOMMU ({}). Load it: modprobe vfio-pci "
                              "vfio_iommu_type1; and switch the IOMMU on (intel_iommu=on on the kernel command line)",
                              space.error()));
  }
  progress_bar copying("copying  ", !quiet);
  progress_bar verifying("verifying", !quiet);
  observer on_copy;
  on_copy.stop = &stop_requested;
  on_copy.progress = [&](std::uint64_t done) { copying.show(done); };
  observer on_verify;
  on_verify.stop = &stop_requested;
  on_verify.progress = [&](std::uint64_t done) { verifying.show(done); };
  job<Completion> work(std::move(*space), wanted, on_copy, on_verify);
  work.on_size_known([&](std::uint64_t blocks) {
    copying.set_total(blocks);
    verifying.set_total(blocks);
  });
  return work.run();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Copies one NVMe drive to another from userspace, over VFIO: peer to peer, through the memory of one of "
      "the controllers, or through system memory. Everything on the target is overwritten."};
  app.footer(
      "Exit status: 0 copied; 1 a drive failed; 2 usage; 3 a device could not be opened; 4 no peer-to-peer way; "
      "5 sizes differ; 6 verification failed; 7 a device was taken away; 130 interrupted.");
  std::string source;
  std::string target;
  std::string provider;
  std::string way = "auto";
  std::string completions = "interrupt";
  request wanted;
  bool json = false;
  app.add_option("--source", source, "PCI address of the drive to read, e.g. 0000:03:00.0")->required();
  app.add_option("--target", target, "PCI address of the drive to overwrite")->required();
  app.add_option("--provider", provider,
                 "PCI address of the controller whose memory is used (default: source, then target)");
  app.add_option("--through", way, "Memory that the bytes pass through: p2p, system or auto")
      ->check(CLI::IsMember({"p2p", "system", "auto"}));
  app.add_option("--blocks", wanted.blocks, "Copy only so many blocks")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 48U));
  app.add_option("--queue-depth", wanted.queue_depth, "Transfers in flight (default 16)")->check(CLI::Range(2, 63));
  app.add_option("--completions", completions, "Notice completions by interrupt or by polling")
      ->check(CLI::IsMember({"interrupt", "polling"}));
  app.add_flag("--verify", wanted.verify, "Read both drives back and compare their SHA-256");
  app.add_flag("--json", json, "Print the summary as one line of JSON");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? 0 : static_cast<int>(ending::usage);
  }
  for (auto [text, into] : {std::pair{&source, &wanted.source}, std::pair{&target, &wanted.target}}) {
    const auto parsed = paddock::pci::address::parse(*text);
    if (!parsed) {
      print(stderr, "nvme_copy: '{}' is no PCI address: expected domain:bus:device.function\n", *text);
      return static_cast<int>(ending::usage);
    }
    *into = *parsed;
  }
  if (!provider.empty()) {
    const auto parsed = paddock::pci::address::parse(provider);
    if (!parsed) {
      print(stderr, "nvme_copy: '{}' is no PCI address: expected domain:bus:device.function\n", provider);
      return static_cast<int>(ending::usage);
    }
    wanted.provider = *parsed;
  }
  wanted.way = way == "p2p" ? through::p2p : way == "system" ? through::system : through::automatic;

  struct sigaction on_signal {};
  on_signal.sa_handler = [](int) { stop_requested.store(true); };
  for (const int each : {SIGINT, SIGTERM, SIGHUP}) {
    // What the shell or nohup told us to ignore stays ignored.
    struct sigaction before {};
    if (::sigaction(each, nullptr, &before) == 0 && before.sa_handler != SIG_IGN) {
      ::sigaction(each, &on_signal, nullptr);
    }
  }

  const auto ended =
      completions == "polling" ? run<nvme::by_polling>(wanted, json) : run<nvme::by_interrupt>(wanted, json);
  if (!ended) {
    print(stderr, "nvme_copy: {}\n", ended.error().message);
    return static_cast<int>(ended.error().how);
  }
  if (json) {
    print_json(*ended);
  } else {
    print_report(*ended, wanted.verify);
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    print(stderr, "nvme_copy: the copy is done, but its summary could not be written\n");
    return static_cast<int>(ending::failed);
  }
  if (wanted.verify && ended->source_sha256 != ended->target_sha256) {
    print(stderr, "nvme_copy: the target differs from the source\n");
    return static_cast<int>(ending::not_equal);
  }
  return 0;
}
