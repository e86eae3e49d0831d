// SPDX-License-Identifier: BSL-1.0
// The copy of examples/nvme_copy between real (QEMU's) controllers: both ways, every error, and nothing left behind.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <thread>
#include <vector>

#include <paddock/pci/address.hpp>

#include "guest.hpp"
#include "job.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace nvme_copy;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t drive_bytes = 64U << 20U;

/// What a run must give back: descriptors, mappings of this process, entries of the kernel's IOMMU table.
class nothing_left_behind {
 public:
  explicit nothing_left_behind(vfio::container space) : space_(std::move(space)) {
    // Groups stay with the container once they are attached: attach them all before counting.
    for (const char* name : {"NVME_A", "NVME_B", "NVME_ROOT", "NVME_FAR", "NVME_PLAIN"}) {
      const auto opened = unwrap(vfio::device::open(space_, role(name)));
    }
    fds_ = open_fds();
    available_ = unwrap(space_.available_mappings());
  }
  void check() const {
    CHECK(open_fds() == fds_);
    CHECK(space_.mapping_count() == 0);
    CHECK(unwrap(space_.available_mappings()) == available_);
  }

 private:
  vfio::container space_;
  std::size_t fds_{0};
  std::uint32_t available_{0};
};

/// Writes bytes that differ for every seed and block, and returns their SHA-256.
std::string fill(vfio::container space, const char* name, std::uint64_t seed, std::uint64_t bytes = drive_bytes) {
  auto drive = unwrap(nvme::controller::open(space, role(name), {.interrupts = false}));
  auto memory = unwrap(vfio::coherent_buffer::create(space, std::size_t{512} * 1024));
  sha256 hash;
  std::uint64_t state = seed;
  for (std::uint64_t first = 0; first < bytes / 512; first += 1024) {
    for (std::size_t i = 0; i < memory.size(); i += 8) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      *memory.at<std::uint64_t>(i) = state;
    }
    hash.add(memory.bytes());
    const auto written = unwrap(drive->write(first, 1024, memory.iova()));
    REQUIRE(wait(*written, deadline::in(30s), polling_wait{}) == wait_status::signaled);
  }
  return hash.hex();
}

template <class Completion = nvme::by_interrupt>
outcome<report> run(const vfio::container& space, const request& wanted, observer watch = {}) {
  job<Completion> work(space, wanted, std::move(watch), {});
  return work.run();
}

request from_to(const char* source, const char* target, through way) {
  request wanted;
  wanted.source = role(source);
  wanted.target = role(target);
  wanted.way = way;
  wanted.verify = true;
  return wanted;
}

void check_equal(const outcome<report>& ended, const std::string& digest) {
  if (!ended) {
    FAIL(ended.error().message);
  }
  CHECK(ended->source_sha256 == digest);
  CHECK(ended->target_sha256 == digest);
  CHECK(ended->bytes == drive_bytes);
}

void check_fails(const outcome<report>& ended, ending how, const std::string& text) {
  REQUIRE_FALSE(ended);
  INFO(ended.error().message);
  CHECK(ended.error().how == how);
  CHECK(ended.error().message.find(text) != std::string::npos);
}

/// The kernel wants a device back, as before an unplug: the driver's removal waits for us in a process of its own.
void begin_unbind(const char* name) {
  const std::string device = to_string(role(name));
  const std::string command = "echo " + device + " > /sys/bus/pci/drivers/vfio-pci/unbind &";
  REQUIRE(std::system(command.c_str()) == 0);  // NOLINT(cert-env33-c): a fixed command.
}

void finish_unbind(const char* name) {
  const std::string device = to_string(role(name));
  const deadline until = deadline::in(20s);
  while (std::filesystem::exists("/sys/bus/pci/devices/" + device + "/driver")) {
    REQUIRE_FALSE(until.passed());
    std::this_thread::sleep_for(20ms);
  }
  const char* const bind = std::getenv("PADDOCK_VM_BIND");
  REQUIRE(bind != nullptr);
  const std::string command = std::string(bind) + " " + device + " vfio-pci";
  REQUIRE(std::system(command.c_str()) == 0);  // NOLINT(cert-env33-c): the guest's own script.
}

/// Starts the program itself, as a user would.
pid_t start_program(std::vector<std::string> arguments) {
  std::vector<char*> raw;
  raw.reserve(arguments.size() + 2);
  arguments.insert(arguments.begin(), PADDOCK_TEST_NVME_COPY);
  for (std::string& each : arguments) {
    raw.push_back(each.data());
  }
  raw.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::execv(raw[0], raw.data());
    ::_exit(127);
  }
  return child;
}

/// Stops a program and lets the drives do what it asked of them: QEMU does not survive the reset that follows a
/// program's death while a drive still moves data (tests/vm/README.md). The program has one such
/// transfer in flight, of at most 128 pieces.
void let_the_transfer_end(pid_t child) {
  REQUIRE(::kill(child, SIGSTOP) == 0);
  std::this_thread::sleep_for(1s);
}

/// How it ended by itself, or, below 0, which signal ended it.
int exit_code(pid_t child) {
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace

TEST_CASE("nvme_copy: peer to peer, no byte passes through system memory") {
  auto space = unwrap(vfio::container::create());
  const nothing_left_behind guard(space);
  const std::string digest = fill(space, "NVME_A", 1);
  const auto ended = run(space, from_to("NVME_A", "NVME_B", through::p2p));
  check_equal(ended, digest);
  CHECK(ended->peer_to_peer);
  CHECK(ended->system_memory_bytes == 0);
  CHECK(ended->device_memory_bytes == drive_bytes);
  // Reads and writes overlap: eight of each are in flight in a window of sixteen.
  CHECK(ended->reads_in_flight > 4);
  CHECK(ended->writes_in_flight > 1);
  guard.check();

  // Nothing may take addresses for its own memory once the copy is over.
  auto source = unwrap(vfio::device::open(space, role("NVME_A")));
  const auto registers = unwrap(source.map_bar(bar_index(0)));
  CHECK(unwrap(registers.mmio()).read64(nvme::reg::cmbmsc) == 0);
}

TEST_CASE("nvme_copy: through system memory, every byte does") {
  auto space = unwrap(vfio::container::create());
  const nothing_left_behind guard(space);
  const std::string digest = fill(space, "NVME_A", 2);
  const auto ended = run<nvme::by_polling>(space, from_to("NVME_A", "NVME_B", through::system));
  check_equal(ended, digest);
  CHECK_FALSE(ended->peer_to_peer);
  CHECK(ended->system_memory_bytes == drive_bytes);
  CHECK(ended->device_memory_bytes == 0);
  guard.check();
}

TEST_CASE("nvme_copy: through the memory of the target, and of a third controller below another host bridge") {
  auto space = unwrap(vfio::container::create());
  const nothing_left_behind guard(space);
  const std::string digest = fill(space, "NVME_A", 3);
  for (const char* provider : {"NVME_B", "NVME_FAR"}) {
    request wanted = from_to("NVME_A", "NVME_B", through::p2p);
    wanted.provider = role(provider);
    const auto ended = run<nvme::by_polling>(space, wanted);
    check_equal(ended, digest);
    CHECK(ended->system_memory_bytes == 0);
    guard.check();
  }
}

TEST_CASE("nvme_copy: blocks that a copy does not name stay as they are") {
  auto space = unwrap(vfio::container::create());
  fill(space, "NVME_A", 4, 2U << 20U);
  const std::string before = fill(space, "NVME_B", 5, 2U << 20U);
  request wanted = from_to("NVME_A", "NVME_B", through::automatic);
  wanted.blocks = 1001;  // No multiple of a chunk.
  wanted.queue_depth = 3;
  const auto ended = run(space, wanted);
  REQUIRE(ended);
  CHECK(ended->bytes == std::uint64_t{1001} * 512);
  CHECK(ended->source_sha256 == ended->target_sha256);

  auto drive = unwrap(nvme::controller::open(space, role("NVME_B"), {.interrupts = false}));
  auto memory = unwrap(vfio::coherent_buffer::create(space, 4096));
  const auto read = unwrap(drive->read(1000, 2, memory.iova()));
  REQUIRE(wait(*read, deadline::in(10s), polling_wait{}) == wait_status::signaled);
  std::uint64_t state = 5;
  for (std::size_t word = 0; word <= std::size_t{1001} * 64; ++word) {
    state = state * 6364136223846793005U + 1442695040888963407U;
  }
  CHECK(*memory.at<std::uint64_t>(512) == state);
}

TEST_CASE("nvme_copy: a block that cannot be read is named") {
  auto space = unwrap(vfio::container::create());
  const nothing_left_behind guard(space);
  check_fails(run(space, from_to("NVME_ROOT", "NVME_B", through::p2p)), ending::failed, "block 5000 (byte 2560000)");
  guard.check();
  check_fails(run<nvme::by_polling>(space, from_to("NVME_ROOT", "NVME_B", through::system)), ending::failed,
              "block 5000 (byte 2560000)");
  guard.check();
}

TEST_CASE("nvme_copy: drives that do not fit, and controllers without memory, are refused") {
  auto space = unwrap(vfio::container::create());
  const nothing_left_behind guard(space);
  check_fails(run(space, from_to("NVME_A", "NVME_PLAIN", through::automatic)), ending::sizes_differ, "--blocks");
  guard.check();
  request too_many = from_to("NVME_A", "NVME_PLAIN", through::automatic);
  too_many.blocks = 65537;
  check_fails(run(space, too_many), ending::sizes_differ, "do not fit");
  guard.check();
  request no_cmb = from_to("NVME_A", "NVME_B", through::p2p);
  no_cmb.provider = role("NVME_PLAIN");
  check_fails(run(space, no_cmb), ending::no_route, "CMB");
  guard.check();
  check_fails(run(space, from_to("NVME_A", "NVME_A", through::p2p)), ending::usage, "same drive");
  check_fails(run(space, from_to("NVME_A", "EDU", through::p2p)), ending::not_opened, "NVMe");
  check_fails(run(space, from_to("NVME_A", "GPU", through::p2p)), ending::not_opened, "virtio-pci");
}

TEST_CASE("nvme_copy: where there is no peer-to-peer way, auto says why it went through system memory") {
  auto space = unwrap(vfio::container::create());
  request wanted = from_to("NVME_A", "NVME_B", through::automatic);
  wanted.provider = role("NVME_PLAIN");
  wanted.blocks = 4096;
  const auto ended = run(space, wanted);
  REQUIRE(ended);
  CHECK_FALSE(ended->peer_to_peer);
  CHECK(ended->route.find("CMB") != std::string::npos);
}

TEST_CASE("nvme_copy: a drive that stops answering is reset, and the copy ends") {
  auto space = unwrap(vfio::container::create());
  const nothing_left_behind guard(space);
  request wanted = from_to("NVME_A", "NVME_B", through::system);
  wanted.io_timeout = 500ms;
  // Without bus mastering a controller neither fetches commands nor completes them. Nobody but this test does that to
  // it.
  observer watch;
  const std::string config = "/sys/bus/pci/devices/" + to_string(role("NVME_B")) + "/config";
  watch.progress = [&](std::uint64_t) {
    const unique_fd file = unwrap(paddock::detail::open(config.c_str(), O_WRONLY, "open(config)"));
    const std::array<char, 2> memory_only{2, 0};  // Memory on, bus mastering off.
    unwrap(paddock::detail::pwrite_exactly(file, memory_only.data(), memory_only.size(), vfio::pci_regs::command,
                                           "pwrite"));
  };
  check_fails(run<nvme::by_polling>(space, wanted, watch), ending::failed, "did not answer within 0.5 s");
  guard.check();
}

TEST_CASE("nvme_copy: killed in the middle, it leaves drives that the next run can use") {
  auto space = std::make_optional(unwrap(vfio::container::create()));
  const std::string digest = fill(*space, "NVME_A", 6);
  space.reset();
  const std::string source = to_string(role("NVME_A"));
  const std::string target = to_string(role("NVME_B"));
  // However fast the machine is, one of these hits the middle.
  int killed = 0;
  for (const auto delay : {100ms, 200ms, 400ms, 800ms, 1600ms}) {
    // With two commands in flight through the target's own memory, one of them at most goes to a peer.
    const pid_t child = start_program(
        {"--source", source, "--target", target, "--through", "p2p", "--provider", target, "--queue-depth", "2"});
    std::this_thread::sleep_for(delay);
    let_the_transfer_end(child);
    ::kill(child, SIGKILL);
    const int code = exit_code(child);
    CHECK((code == -SIGKILL || code == 0));
    killed += code == 0 ? 0 : 1;
  }
  CHECK(killed > 0);
  // Through system memory: a controller that still took these addresses for its own memory would lose the data.
  auto again = unwrap(vfio::container::create());
  check_equal(run(again, from_to("NVME_A", "NVME_B", through::system)), digest);
}

TEST_CASE("nvme_copy: interrupted, it ends cleanly and says so") {
  bool interrupted = false;
  for (const auto delay : {200ms, 400ms, 800ms, 1600ms, 3200ms}) {
    const pid_t child = start_program({"--source", to_string(role("NVME_A")), "--target", to_string(role("NVME_B")),
                                       "--through", "p2p", "--completions", "polling"});
    std::this_thread::sleep_for(delay);
    ::kill(child, SIGINT);
    const int code = exit_code(child);
    // Too early, before the program listens; in the middle; or too late.
    CHECK((code == -SIGINT || code == static_cast<int>(ending::interrupted) || code == 0));
    interrupted = interrupted || code == static_cast<int>(ending::interrupted);
  }
  CHECK(interrupted);
}

TEST_CASE("nvme_copy: a target that is unplugged in the middle ends the copy with an error") {
  auto space = unwrap(vfio::container::create());
  const nothing_left_behind guard(space);
  std::atomic<bool> asked{false};
  observer watch;
  watch.progress = [&](std::uint64_t) {
    if (!asked.exchange(true)) {
      CHECK(ask_host("unplug --no-wait nvme_b") == 0);
    }
  };
  request wanted = from_to("NVME_A", "NVME_B", through::system);
  check_fails(run(space, wanted, watch), ending::device_lost, "taken away");
  REQUIRE(asked);
  CHECK(space.mapping_count() == 0);
  CHECK(ask_host("wait-unplugged nvme_b") == 0);
  CHECK(ask_host("plug nvme_b") == 0);
  guard.check();
}

TEST_CASE("nvme_copy: a drive that is given back ends what is in flight first, and takes no more") {
  auto space = unwrap(vfio::container::create());
  auto drive = unwrap(nvme::controller::open(space, role("NVME_B"), {.interrupts = false}));
  const auto memory = unwrap(vfio::coherent_buffer::create(space, std::size_t{512} * 1024));
  std::vector<fence_ptr> writes;
  for (std::uint64_t i = 0; i < 8; ++i) {
    writes.push_back(unwrap(drive->write(i * 1024, 1024, memory.iova())));
  }
  drive->lose();
  for (const fence_ptr& each : writes) {
    CHECK(wait(*each, deadline::in(0s), polling_wait{}) == wait_status::signaled);
  }
  CHECK(code(drive->write(0, 1, memory.iova())) == errc::no_device);
}

TEST_CASE("nvme_copy: a source whose memory carries the copy is taken away in the middle") {
  auto space = unwrap(vfio::container::create());
  std::atomic<bool> asked{false};
  observer watch;
  watch.progress = [&](std::uint64_t) {
    if (!asked.exchange(true)) {
      begin_unbind("NVME_A");
    }
  };
  check_fails(run<nvme::by_polling>(space, from_to("NVME_A", "NVME_B", through::p2p), watch), ending::device_lost,
              "taken away");
  CHECK(space.mapping_count() == 0);
  finish_unbind("NVME_A");
}

TEST_CASE("nvme_copy: a provider that is taken away in the middle is no success") {
  auto space = unwrap(vfio::container::create());
  std::atomic<bool> asked{false};
  observer watch;
  watch.progress = [&](std::uint64_t) {
    if (!asked.exchange(true)) {
      begin_unbind("NVME_B");
    }
  };
  request wanted = from_to("NVME_A", "NVME_FAR", through::p2p);
  wanted.provider = role("NVME_B");
  check_fails(run(space, wanted, watch), ending::device_lost, "provider");
  CHECK(space.mapping_count() == 0);
  finish_unbind("NVME_B");
}

TEST_CASE("nvme_copy: verification finds a target that did not keep what was written") {
  auto space = unwrap(vfio::container::create());
  const std::string digest = fill(space, "NVME_A", 7, 1U << 20U);
  request wanted = from_to("NVME_A", "NVME_FORGETFUL", through::automatic);
  wanted.blocks = 2048;
  const auto ended = run(space, wanted);
  REQUIRE(ended);
  CHECK(ended->source_sha256 == digest);
  CHECK(ended->target_sha256 != digest);
}

TEST_CASE("nvme_copy: the program tells scripts what happened") {
  const std::string a = to_string(role("NVME_A"));
  const std::string b = to_string(role("NVME_B"));
  const auto code_of = [](std::vector<std::string> arguments) {
    return exit_code(start_program(std::move(arguments)));
  };
  CHECK(code_of({"--source", a, "--target", b, "--blocks", "100", "--verify"}) == 0);
  CHECK(code_of({"--source", a, "--target", b, "--blocks", "100", "--json"}) == 0);
  CHECK(code_of({"--source", a, "--target", to_string(role("NVME_FORGETFUL")), "--blocks", "100", "--verify"}) == 6);
  CHECK(code_of({"--source", a, "--target", b, "--through", "system", "--provider", a}) == 2);
  CHECK(code_of({}) == 2);
  CHECK(code_of({"--help"}) == 0);
  CHECK(code_of({"--source", "nonsense", "--target", b}) == 2);
  CHECK(code_of({"--source", a, "--target", b, "--through", "nowhere"}) == 2);
  CHECK(code_of({"--source", "0000:fe:1f.7", "--target", b}) == 3);
  CHECK(code_of({"--source", a, "--target", to_string(role("GPU"))}) == 3);
  CHECK(code_of({"--source", a, "--target", b, "--through", "p2p", "--provider", to_string(role("NVME_PLAIN"))}) == 4);
  CHECK(code_of({"--source", a, "--target", to_string(role("NVME_PLAIN"))}) == 5);
}
