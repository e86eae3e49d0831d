// SPDX-License-Identifier: BSL-1.0
#include <paddock/pci/dump_text.hpp>

#include <string>
#include <string_view>

#include "catch.hpp"
#include "machines.hpp"

using namespace paddock;
using namespace std::string_view_literals;
using pci::screen_dump;

namespace {

constexpr const char* sixteen = "86 80 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d";

std::string text_of(std::string_view dump) {
  const auto screened = screen_dump(dump);
  return screened ? screened->text : std::string(name(screened.error().code));
}

errc refusal(std::string_view dump) {
  const auto screened = screen_dump(dump);
  return screened ? errc{} : screened.error().code;
}

std::string lines_of(std::size_t bytes) {
  std::string text;
  for (std::size_t at = 0; at < bytes; at += 16) {
    text += fmt::format("{:02x}: {}\n", at, sixteen);
  }
  return text;
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace

TEST_CASE("a dump is brought into one form") {
  CHECK(text_of("03:00.0 NVMe disk: of somebody\n00: 86 80\n\n0001:04:1f.7 x\n00: 01\n10: ff\n") == "invalid_argument");
  CHECK(text_of("03:00.0 NVMe disk: of somebody\n00: 86 80\n\n0001:04:1f.7 x\n00: 01\n") ==
        "0000:03:00.0 \n00: 86 80\n\n0001:04:1f.7 \n00: 01\n");
  CHECK(text_of("03:00.0\n00: 86 80") == "0000:03:00.0 \n00: 86 80\n");
}

TEST_CASE("what screening gives, it gives again") {
  const std::string once = text_of(test::two_switches().dump());
  CHECK(text_of(once) == once);
  CHECK(screen_dump(once)->functions.size() == 14);
}

TEST_CASE("a dump may end its lines as it likes, the last one not at all") {
  const std::string dump = test::two_switches().dump();
  const std::string screened = text_of(dump);
  CHECK(text_of(replace_all(dump, "\n", "\r\n")) == screened);
  CHECK(text_of(dump.substr(0, dump.size() - 1)) == screened);
  CHECK(text_of(dump.substr(0, dump.size() - 2)) == screened);
  CHECK(text_of(dump + "\n\n\n") == screened);
  CHECK(text_of(replace_all(dump, "\n\n", " \n\n")) == screened);
}

TEST_CASE("lines of any length are no trouble") {
  for (const std::size_t length : {253U, 254U, 255U, 256U, 1000U, 100000U}) {
    const std::string name(length, 'x');
    CHECK(text_of(fmt::format("03:00.0 {0}\n00: 86 80\n{0}\n10", name)) == "0000:03:00.0 \n00: 86 80\n");
  }
}

TEST_CASE("what lspci -vvv prints between the lines is passed over") {
  const std::string dump =
      "pcilib: Cannot open /proc/bus/pci\n"
      "some words first: 12 34\n"
      "03:00.0 Non-Volatile memory controller: X (prog-if 02 [NVM Express])\n"
      "\tSubsystem: Y\n"
      "\tControl: I/O- Mem+ BusMaster+\n"
      "\tRegion 0: Memory at 00: 11 22\n"
      "\tCapabilities: [100 v2] Advanced Error Reporting\n"
      "\t\tHeaderLog: 00000000 00000000 00000000 00000000\n"
      "\tKernel driver in use: nvme\n"
      "00: 86 80 01\n"
      "\n"
      "# the end: 00: 00\n";
  CHECK(text_of(dump) == "0000:03:00.0 \n00: 86 80 01\n");
}

TEST_CASE("bytes that belong to no function are refused: theirs would be missing") {
  CHECK(refusal("03:00.0 x\n00: 86 80\n\n02: ff\n") == errc::invalid_argument);
  CHECK(refusal("00: 86 80\n\n03:00.0 x\n00: 86 80\n") == errc::invalid_argument);
  // A name that is none, as lspci -P writes it, or with something before it.
  CHECK(refusal("03:00.0 x\n00: 86 80\n\n00:02.0/00.0 y\n00: 86 80\n") == errc::invalid_argument);
  CHECK(refusal(" 03:00.0 x\n00: 86 80\n") == errc::invalid_argument);
}

TEST_CASE("a byte order mark before the first function is none of its name") {
  CHECK(text_of("\xef\xbb\xbf"
                "03:00.0 x\n00: 86 80\n") == "0000:03:00.0 \n00: 86 80\n");
}

TEST_CASE("a function without a byte is one all the same, but not alone") {
  const auto screened = screen_dump("03:00.0 x\n\n04:00.0 y\n00: 86 80\n");
  REQUIRE(screened);
  CHECK(screened->functions[0].bytes == 0);
  CHECK(screened->functions[1].bytes == 2);
  // As lspci prints without -x, or where lines end in an old way.
  CHECK(refusal("03:00.0 x\n04:00.0 y\n") == errc::not_found);
  CHECK(refusal("03:00.0 x\r00: 86 80\r") == errc::not_found);
}

TEST_CASE("hex lines that are broken are refused, never guessed at") {
  for (const char* line : {"00: 8", "00: 860", "00: 86 8", "00: 86  80", "00: 86 gg", "00: 86 80 Text", "00: 86-80",
                           "00: \t86", "00: 86 80 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e"}) {
    INFO(line);
    CHECK(refusal("03:00.0 x\n" + std::string(line) + "\n") == errc::invalid_argument);
  }
}

TEST_CASE("hex lines out of order, doubled or with a gap are refused") {
  CHECK(refusal("03:00.0 x\n10: 00\n") == errc::invalid_argument);
  CHECK(refusal("03:00.0 x\n00: 00 01\n00: 00 01\n") == errc::invalid_argument);
  CHECK(refusal(std::string("03:00.0 x\n00: ") + sixteen + "\n20: 00\n") == errc::invalid_argument);
  CHECK(refusal("03:00.0 x\n00: 00\n01: 01\n") == errc{});
  CHECK(refusal("03:00.0 x\nffffffff: 00\n") == errc::invalid_argument);
}

TEST_CASE("a config space has 4096 bytes and no more") {
  CHECK(screen_dump("03:00.0 x\n" + lines_of(4096))->functions[0].bytes == 4096);
  CHECK(refusal("03:00.0 x\n" + lines_of(4112)) == errc::invalid_argument);
  CHECK(refusal("03:00.0 x\n" + lines_of(4096) + "1000: 00\n") == errc::invalid_argument);
}

TEST_CASE("domains are kept as they are, and numbered for libpci") {
  const auto screened = screen_dump(
      "10000:e1:00.0 x\n00: 00\n\nffffffff:00:00.0 x\n00: 00\n\n10000:e1:00.1 x\n00: 00\n\n0000:00:00.0 x\n");
  REQUIRE(screened);
  CHECK(screened->functions[0].where.domain == 0x10000);
  CHECK(screened->functions[1].where.domain == 0xffffffff);
  CHECK(screened->functions[3].where.domain == 0);
  CHECK(screened->text == "0000:e1:00.0 \n00: 00\n\n0001:00:00.0 \n00: 00\n\n0000:e1:00.1 \n00: 00\n\n0002:00:00.0 \n");
}

TEST_CASE("a text without a function is no dump") {
  for (const char* text : {"", "\n", "no dump at all\n", "3:00.0 x\n", "03:20.0 x\n", "03:00.8 x\n", "03:00:0 x\n",
                           "03:00.00 x\n", "100000000:03:00.0 x\n", "\t03:00.0 x\n", "03 00.0\n"}) {
    INFO(text);
    CHECK(refusal(text) == errc::not_found);
  }
}

TEST_CASE("zeroes and bytes of any other kind are no trouble") {
  CHECK(text_of("03:00.0 \0\xff\n00: 86 80\n\0\0\n\x80: 00\n"sv) == "0000:03:00.0 \n00: 86 80\n");
}

TEST_CASE("more functions than a dump can have are refused") {
  std::string dump;
  for (int i = 0; i <= 65536; ++i) {
    dump += fmt::format("{:02x}:{:02x}.{} \n00: 86\n", i >> 8 & 0xff, i >> 3 & 31, i & 7);
  }
  CHECK(refusal(dump) == errc::limit_reached);
  CHECK(refusal(dump.substr(0, dump.rfind("00:00.0"))) == errc{});
}
