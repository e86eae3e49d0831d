// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/read_libpci.hpp>

#include <sys/resource.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include <paddock/pci/capture.hpp>
#include <paddock/pci/route.hpp>

#include "catch.hpp"
#include "machines.hpp"

namespace fs = std::filesystem;
using namespace paddock;
using pci::cpu_rule;
using pci::topology;
using test::machine;

namespace {

std::string parent_of(const pci::node& of) { return of.parent() ? to_string((*of.parent())->where) : "none"; }

void check_same(const topology& a, const topology& b) {
  REQUIRE(a.size() == b.size());
  CHECK(a.facts().cpu == b.facts().cpu);
  for (std::size_t i = 0; i < a.size(); ++i) {
    const pci::function& one = a.functions()[i];
    const pci::function& other = b.functions()[i];
    INFO(to_string(one.where));
    CHECK(one.where == other.where);
    CHECK(one.vendor == other.vendor);
    CHECK(one.device == other.device);
    CHECK(one.class_code == other.class_code);
    CHECK(one.config_bytes == other.config_bytes);
    CHECK(one.port == other.port);
    CHECK(one.acs == other.acs);
    CHECK(one.secondary == other.secondary);
    CHECK(one.vf_count == other.vf_count);
    CHECK(a.at(i).is_placed() == b.at(i).is_placed());
    CHECK(parent_of(a.at(i)) == parent_of(b.at(i)));
  }
}

void check_read_like_plain_text(const std::string& dump) {
  const auto by_libpci = pci::read_dump(dump, cpu_rule::none);
  const auto plainly = test::read_plainly(dump, cpu_rule::none);
  REQUIRE(by_libpci.has_value() == plainly.has_value());
  if (by_libpci) {
    check_same(*by_libpci, *plainly);
  } else {
    CHECK(by_libpci.error() == plainly.error());
  }
}

/// Fewer descriptors for this process, until the end of the scope.
class few_descriptors {
 public:
  explicit few_descriptors(rlim_t most) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit fewer{most, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &fewer);
  }
  few_descriptors(const few_descriptors&) = delete;
  few_descriptors& operator=(const few_descriptors&) = delete;
  ~few_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("libpci reads every known machine as its text says") {
  for (const fs::directory_entry& folder : fs::directory_iterator(fs::path(PADDOCK_TEST_DATA) / "topology")) {
    INFO(folder.path());
    check_read_like_plain_text(test::read_text(folder.path() / "lspci.txt"));
  }
}

TEST_CASE("libpci reads machines made by hand as their text says") {
  check_read_like_plain_text(test::two_switches().dump());
  machine wide;
  wide.add("10000:e0:01.0", test::root_port(0xe1, 0xe1)).add("10000:e1:00.0", test::endpoint().acs(4));
  wide.add("fffffffe:00:00.0", test::host_bridge()).add("00:00.0", test::all_ones());
  check_read_like_plain_text(wide.dump());
  machine virtual_functions;
  virtual_functions.add("00:01.0", test::root_port(3, 5)).add("03:00.0", test::endpoint().sriov(3, 4, 0xfe));
  virtual_functions.add("03:00.4", test::virtual_function()).add("04:00.2", test::virtual_function());
  check_read_like_plain_text(virtual_functions.dump());
  machine refused;
  refused.add("01:00.0", test::root_port(2, 2)).add("02:00.0", test::root_port(1, 1));
  check_read_like_plain_text(refused.dump());
  check_read_like_plain_text(machine().add("01:00.0", test::endpoint()).add("01:00.0", test::endpoint()).dump());
}

TEST_CASE("libpci reads as much of a function as its dump holds") {
  for (const std::size_t bytes : {0U, 1U, 17U, 63U, 64U, 65U, 100U, 256U, 272U, 1000U, 4095U, 4096U}) {
    machine m;
    m.add("00:00.0", test::host_bridge()).add("01:00.0", test::endpoint().first(bytes));
    const auto tree = pci::read_dump(m.dump());
    REQUIRE(tree);
    CHECK(tree->functions()[1].config_bytes == bytes);
    CHECK(tree->functions()[1].responds == (bytes > 0));
  }
}

TEST_CASE("a dump may be in any order, as libpci returns it in its own") {
  machine m;
  for (const char* where : {"05:00.0", "01:00.0", "03:00.0", "0001:00:00.0", "02:00.0"}) {
    const auto vendor = static_cast<std::uint16_t>(static_cast<unsigned char>(where[1]));
    m.add(where, test::config(vendor, static_cast<unsigned char>(where[3])));
  }
  check_read_like_plain_text(m.dump());
}

TEST_CASE("texts that make libpci end the process are refused, or read") {
  const std::string two(1000, 'x');
  const std::vector<std::pair<std::string, errc>> texts{
      {"", errc::not_found},
      {"no dump", errc::not_found},
      {"03:00.0 x\n00: 86 80", errc{}},                         // No end of the line.
      {"03:00.0 " + two + "\n00: 86 80\n", errc{}},             // Longer than its buffer.
      {"03:00.0 x\n00: 86 80 Text\n", errc::invalid_argument},  // Text in hex.
      {"00: 86 80\n", errc::invalid_argument},                  // Bytes of nobody.
      {"03:00.0 x\r\n00: 86 80\r\n", errc{}},
      {"03:00.0 x\n" + std::string("fff0: 00\n"), errc::invalid_argument},  // Beyond config space.
      {"03:00.0 x\n00: 00\n\n03:00.0 x\n00: 00\n", errc::already_exists}};
  for (const auto& [text, refusal] : texts) {
    const auto tree = pci::read_dump(text);
    INFO(text.substr(0, 40));
    CHECK((tree ? errc{} : tree.error().code) == refusal);
  }
}

TEST_CASE("what libpci finds wrong all the same is an error, and the next call is none") {
  const auto file = pci::detail::file_of("03:00.0 x\nzz\n00: 86 80 Text\n");
  REQUIRE(file);
  for (int i = 0; i < 3; ++i) {
    pci::detail::libpci library;
    CHECK(library.open_dump(fmt::format("/proc/self/fd/{}", file->get())).error() == errc::io);
  }
  pci::detail::libpci library;
  CHECK(library.open_dump("/nowhere").error() == errc::io);
  CHECK(pci::read_dump(test::two_switches().dump()));
}

TEST_CASE("without a descriptor for the dump there is an error") {
  const std::string dump = test::two_switches().dump();
  CHECK(pci::read_dump(dump));  // Also since UBSan needs descriptors when it meets a type for the first time.
  errc got{};
  {
    const few_descriptors few(3);
    got = pci::read_dump(dump).error().code;
  }
  CHECK(got == errc::limit_reached);
}

TEST_CASE("threads read dumps side by side, and what is wrong with one is no matter to another") {
  const std::string dump = test::two_switches().dump();
  const auto broken = pci::detail::file_of("03:00.0 x\n00: 86 80 Text\n");
  REQUIRE(broken);
  const std::string broken_name = fmt::format("/proc/self/fd/{}", broken->get());
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 1000; ++j) {
        const auto tree = pci::read_dump(j % 50 == 0 ? dump : "03:00.0 x\n00: 86 80\n");
        pci::detail::libpci library;
        good += tree && !library.open_dump(broken_name) ? 1 : 0;
      }
    });
  }
  for (std::thread& each : threads) {
    each.join();
  }
  CHECK(good == 4000);
}

TEST_CASE("a tree of sysfs is read, with places that no bus number tells") {
  test::sysfs_tree tree;
  tree.add("pci0000:00/0000:00:0e.0", test::endpoint().class_code(0x010400));
  tree.add("pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:01.0", test::root_port(0xe1, 0xe1));
  const fs::path disk = tree.add("pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:01.0/10000:e1:00.0",
                                 test::endpoint().acs(0x1d).first(4096));
  tree.add("pci0000:00/0000:00:01.0", test::root_port(3, 4));
  tree.add("pci0000:00/0000:00:01.0/0000:03:00.0", test::endpoint().sriov(2, 0x80, 0x80));
  const fs::path next_bus = tree.add("pci0000:00/0000:00:01.0/0000:04:00.0", test::virtual_function());
  test::write_text(next_bus / "vendor", "0x8086\n");
  test::write_text(next_bus / "device", "0x154c\n");
  tree.group(disk, "3", "identity\n");
  test::write_text(tree.root() / "proc/cpuinfo", "vendor_id\t: AuthenticAMD\ncpu family\t: 25\n");

  const auto system = pci::read_system(tree.root());
  REQUIRE(system);
  CHECK(system->size() == 6);
  CHECK(system->facts().cpu == cpu_rule::amd_zen);
  CHECK(system->facts().iommu_groups_told);
  CHECK(system->host_bridges().size() == 2);
  const pci::node far = *system->find(test::at("10000:e1:00.0"));
  CHECK(parent_of(far) == "10000:e0:01.0");
  CHECK(far->acs.enabled == 0x1d);
  CHECK(far->iommu_group == 3U);
  CHECK(far->domain == pci::iommu_domain::passthrough);
  CHECK(far.root().domain == 0x10000);
  const pci::node virtual_function = *system->find(test::at("04:00.0"));
  CHECK(parent_of(virtual_function) == "0000:00:01.0");
  CHECK(virtual_function->device == 0x154c);
}

TEST_CASE("a bridge in sysfs that reads all ones keeps its place, and only its ACS is unknown") {
  test::sysfs_tree tree;
  tree.add("pci0000:00/0000:00:01.0", test::root_port(1, 3));
  tree.add("pci0000:00/0000:00:01.0/0000:01:00.0", test::all_ones());
  tree.add("pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:00.0", test::endpoint().first(4096));
  tree.add("pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:01.0", test::endpoint().first(4096));
  const auto system = pci::read_system(tree.root());
  REQUIRE(system);
  const auto found =
      pci::route_between(*system->find(test::at("02:00.0")), *system->find(test::at("02:01.0")), transaction::read);
  CHECK(found->distance() == 2U);
  CHECK(found->what_is_missing() == pci::missing::acs);
}

TEST_CASE("config space in sysfs is read as far as there is some, from its header on") {
  for (const auto& [there, read] :
       {std::pair(0, 0), {63, 0}, {64, 64}, {255, 240}, {256, 256}, {272, 272}, {4095, 4080}, {4096, 4096}}) {
    test::sysfs_tree tree;
    tree.add("pci0000:00/0000:00:01.0", test::endpoint().first(static_cast<std::size_t>(there)));
    const auto system = pci::read_system(tree.root());
    REQUIRE(system);
    CHECK(system->functions()[0].config_bytes == read);
  }
}

TEST_CASE("without sysfs nothing is found") {
  const test::scratch_folder folder;
  CHECK(pci::read_system(folder.path()).error() == errc::not_found);
  CHECK(pci::read_system(folder.path() / "nowhere").error() == errc::not_found);
  test::write_text(folder.path() / "sys/bus/pci/devices", "a file");
  CHECK(pci::read_system(folder.path()).error() == errc::io);
}

TEST_CASE("a sysfs without functions is a topology of nothing") {
  const test::sysfs_tree tree;
  const auto system = pci::read_system(tree.root());
  REQUIRE(system);
  CHECK(system->size() == 0);
}

TEST_CASE("an entry of sysfs that is no PCI address is refused") {
  for (const char* name : {"slot", "00:01.0", "0000:00:1.0", "0000:00:01.0 ", "80000000:00:00.0", "000000:00:00.0"}) {
    const test::sysfs_tree tree;
    fs::create_directory(tree.entry(name));
    INFO(name);
    CHECK(pci::read_system(tree.root()).error() == errc::invalid_argument);
  }
}

TEST_CASE("a config that is no file is refused, without waiting for whom a pipe is for") {
  const test::sysfs_tree pipe;
  fs::create_directory(pipe.entry("0000:00:01.0"));
  REQUIRE(::mkfifo((pipe.entry("0000:00:01.0") / "config").c_str(), 0600) == 0);
  CHECK(pci::read_system(pipe.root()).error() == errc::invalid_argument);
  const test::sysfs_tree folder;
  fs::create_directories(folder.entry("0000:00:01.0") / "config");
  CHECK(pci::read_system(folder.root()).error() == errc::invalid_argument);
}

TEST_CASE("functions that are listed and cannot be read stay, and what they would tell is unknown") {
  test::sysfs_tree tree;
  tree.add("pci0000:00/0000:00:01.0", test::root_port(1, 1));
  const fs::path gone = tree.add("pci0000:00/0000:00:02.0", test::endpoint());
  fs::remove(gone / "config");
  fs::create_symlink("../../../devices/pci0000:00/0000:00:03.0", tree.entry("0000:00:03.0"));
  fs::create_symlink("0000:00:04.0", tree.entry("0000:00:04.0"));
  fs::create_directory(tree.entry("0000:00:05.0"));
  fs::create_symlink("config", tree.entry("0000:00:05.0") / "config");
  const auto system = pci::read_system(tree.root());
  REQUIRE(system);
  CHECK(system->size() == 5);
  for (std::size_t i = 1; i < system->size(); ++i) {
    CHECK_FALSE(system->functions()[i].responds);
    CHECK(system->functions()[i].config_bytes == 0);
  }
}

TEST_CASE("a first function that is listed and cannot be read leaves its host bridge unknown") {
  test::sysfs_tree tree;
  tree.add("pci0000:00/0000:00:01.0", test::root_port(1, 1));
  fs::create_symlink("../../../devices/pci0000:00/0000:00:00.0", tree.entry("0000:00:00.0"));
  const auto system = pci::read_system(tree.root());
  REQUIRE(system);
  REQUIRE(system->host_bridges().size() == 1);
  CHECK_FALSE(system->host_bridges()[0].known);
}

TEST_CASE("functions that vanish while they are read are left out") {
  test::sysfs_tree tree;
  tree.add("pci0000:00/0000:00:01.0", test::root_port(1, 1));
  const fs::path home = tree.root() / "sys/devices/pci0000:00/0000:00:02.0";
  std::atomic<bool> done{false};
  std::thread plug([&] {
    while (!done) {
      std::error_code ignored;
      tree.add("pci0000:00/0000:00:02.0", test::endpoint());
      fs::remove(tree.entry("0000:00:02.0"), ignored);
      fs::remove_all(home, ignored);
    }
  });
  for (int i = 0; i < 300; ++i) {
    const auto system = pci::read_system(tree.root());
    if (!system || system->size() < 1 || system->size() > 2) {
      FAIL_CHECK("there are one or two functions: " << (system ? std::to_string(system->size())
                                                               : fmt::format("{}", system.error())));
    }
  }
  done = true;
  plug.join();
}

TEST_CASE("the running system can be read") {
  if (!fs::is_directory("/sys/bus/pci/devices")) {
    test::skip("this machine has no PCI");
  }
  const auto system = pci::read_system();
  REQUIRE(system);
  for (std::size_t i = 0; i < system->size(); ++i) {
    CHECK(system->at(i).is_placed());
  }
}

TEST_CASE("a capture of the running system reads as that does") {
  if (!fs::is_directory("/sys/bus/pci/devices")) {
    test::skip("this machine has no PCI");
  }
  const test::scratch_folder folder;
  REQUIRE(pci::capture(folder.path() / "captured"));
  const auto captured = pci::read_system(folder.path() / "captured");
  const auto system = pci::read_system();
  REQUIRE(captured);
  REQUIRE(system);
  check_same(*captured, *system);
  CHECK(captured->facts().iommu_groups_told == system->facts().iommu_groups_told);
  for (std::size_t i = 0; i < system->size(); ++i) {
    const pci::function& was = system->functions()[i];
    const pci::function& is = captured->functions()[i];
    CHECK(was.driver == is.driver);
    CHECK(was.iommu_group == is.iommu_group);
    CHECK(was.domain == is.domain);
    CHECK(was.numa_node == is.numa_node);
    CHECK(was.bars[0].size == is.bars[0].size);
  }
}
