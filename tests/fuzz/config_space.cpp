// SPDX-License-Identifier: BSL-1.0
// Any bytes are a config space, and who reads fewer of them knows less and nothing else. Input: the bytes.
#include <paddock/pci/capture.hpp>
#include <paddock/pci/function.hpp>

#include <array>
#include <span>
#include <vector>

#include "fuzz.hpp"

using namespace paddock;
using paddock::fuzz::require;

namespace {

constexpr auto unreadable = pci::capability::state::unreadable;

void look(const pci::config_space& part, const pci::config_space& whole) {
  for (const std::uint8_t id : std::to_array<std::uint8_t>({0x00, 0x01, 0x03, 0x05, 0x10, 0x11, 0xff})) {
    const pci::capability found = part.find(id);
    require(found.offset < pci::regs::conventional_bytes, "a capability is in the first 256 bytes");
    require(found.found == unreadable || found == whole.find(id), "what the beginning tells of a capability stays");
  }
  for (const std::uint16_t id : std::to_array<std::uint16_t>({0x0000, 0x0001, 0x0003, 0x000d, 0x0010, 0xffff})) {
    const pci::capability found = part.find_extended(id);
    require(found.offset < pci::regs::extended_bytes, "an extended capability is in config space");
    require(found.found == unreadable || found == whole.find_extended(id),
            "what the beginning tells of an extended capability stays");
  }
  const pci::function some = pci::read_function({}, part);
  const pci::function all = pci::read_function({}, whole);
  require(!some.acs.is_known() || some.acs == all.acs, "what the beginning tells of ACS stays");
  require(some.port == pci::port_type::unknown || some.port == all.port, "what the beginning tells of a port stays");
  require(!some.responds || all.responds, "who answers, answers");
  require(some.responds || !some.acs.is_known(), "who does not answer tells nothing");
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const pci::config_space whole(bytes);
  for (const std::size_t part : {std::size_t{0}, std::size_t{63}, pci::regs::header_bytes, std::size_t{100},
                                 pci::regs::conventional_bytes, std::size_t{260}, size / 2, size}) {
    look(pci::config_space(bytes.first(std::min(part, size))), whole);
  }
  std::vector<std::byte> copy(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(whole.size()));
  pci::detail::remove_serial_numbers(copy);
  const pci::capability serial = whole.find_extended(pci::regs::extended_serial_number);
  if (serial.found == pci::capability::state::present) {
    for (std::size_t i = serial.offset + std::size_t{4}; i < std::min(copy.size(), serial.offset + std::size_t{12});
         ++i) {
      require(copy[i] == std::byte{0}, "no serial number is left");
    }
  }
  return 0;
}
