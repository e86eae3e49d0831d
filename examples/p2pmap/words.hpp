// SPDX-License-Identifier: BSL-1.0
/// \file
/// The words and the short codes that the text and the picture share.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <paddock/pci/function.hpp>
#include <paddock/pci/host_bridge.hpp>
#include <paddock/pci/route.hpp>

#include "question.hpp"

namespace p2pmap {

/// Replaces what a terminal or an XML reader may take amiss; the names that sysfs holds are ASCII.
[[nodiscard]] constexpr char printable(char c) noexcept { return c >= ' ' && c <= '~' ? c : '?'; }
[[nodiscard]] inline std::string printable(std::string_view text) {
  std::string clean(text);
  for (char& c : clean) {
    c = printable(c);
  }
  return clean;
}

/// The class for people. The codes are those of the PCI Code and ID Assignment Specification.
[[nodiscard]] inline std::string class_words(const pci::function& of) {
  struct named {
    std::uint32_t code;
    const char* name;
  };
  constexpr named classes[] = {
      {0x0100, "SCSI controller"},
      {0x0101, "IDE controller"},
      {0x0104, "RAID controller"},
      {0x0106, "SATA controller"},
      {0x0107, "SAS controller"},
      {0x0108, "NVMe drive"},
      {0x0180, "storage controller"},
      {0x0200, "Ethernet controller"},
      {0x0207, "InfiniBand controller"},
      {0x0280, "network controller"},
      {0x0300, "VGA controller"},
      {0x0302, "3D controller"},
      {0x0380, "display controller"},
      {0x0400, "video device"},
      {0x0401, "audio device"},
      {0x0403, "audio device"},
      {0x0480, "multimedia controller"},
      {0x0500, "RAM"},
      {0x0502, "CXL memory"},
      {0x0580, "memory controller"},
      {0x0600, "host bridge"},
      {0x0601, "ISA bridge"},
      {0x0604, "PCI bridge"},
      {0x0607, "CardBus bridge"},
      {0x0680, "bridge"},
      {0x0700, "serial port"},
      {0x0703, "modem"},
      {0x0780, "communication controller"},
      {0x0800, "interrupt controller"},
      {0x0801, "DMA controller"},
      {0x0805, "SD host controller"},
      {0x0806, "IOMMU"},
      {0x0807, "event collector"},
      {0x0880, "system peripheral"},
      {0x0c00, "FireWire controller"},
      {0x0c03, "USB controller"},
      {0x0c05, "SMBus"},
      {0x0c80, "serial bus controller"},
      {0x0d80, "wireless controller"},
      {0x1000, "network encryption"},
      {0x1080, "encryption controller"},
      {0x1101, "performance counters"},
      {0x1180, "signal processing"},
      {0x1200, "processing accelerator"},
      {0x1300, "instrumentation"},
  };
  if (!of.responds) {
    return of.config_bytes == 0 ? "could not be read" : "does not answer";
  }
  for (const named& each : classes) {
    if (each.code == of.class_code >> 8) {
      return each.name;
    }
  }
  return fmt::format("class {:04x}", of.class_code >> 8);
}

[[nodiscard]] constexpr const char* port_words(pci::port_type port) noexcept {
  switch (port) {
    case pci::port_type::unknown: return "port type not readable";
    case pci::port_type::conventional: return "conventional PCI";
    case pci::port_type::endpoint: return "endpoint";
    case pci::port_type::legacy_endpoint: return "legacy endpoint";
    case pci::port_type::root_port: return "root port";
    case pci::port_type::upstream: return "switch upstream port";
    case pci::port_type::downstream: return "switch downstream port";
    case pci::port_type::pcie_to_pci_bridge: return "PCIe to PCI bridge";
    case pci::port_type::pci_to_pcie_bridge: return "PCI to PCIe bridge";
    case pci::port_type::rc_endpoint: return "integrated endpoint";
    case pci::port_type::rc_event_collector: return "event collector";
  }
  return "";
}

/// "8086:4c43".
[[nodiscard]] inline std::string id(const pci::function& of) {
  return fmt::format("{:04x}:{:04x}", of.vendor, of.device);
}

/// "0000:00".
[[nodiscard]] inline std::string name(const pci::host_bridge& of) {
  return fmt::format("{:04x}:{:02x}", of.domain, of.bus);
}

/// "buses 01-18"; empty for what leads nowhere.
[[nodiscard]] inline std::string bus_words(const pci::function& of) {
  return of.bridge && of.secondary != 0 ? fmt::format("buses {:02x}-{:02x}", of.secondary, of.subordinate) : "";
}

[[nodiscard]] inline std::string list_words(const pci::host_bridge& of) {
  if (!of.known) {
    return "could not be read";
  }
  return of.entry == nullptr ? "not on the kernel's list" : fmt::format("on the kernel's list: {}", of.entry->name);
}

/// What keeps peers apart at this function, or might; empty for nothing.
[[nodiscard]] inline std::string acs_words(const pci::function& of) {
  if (of.acs.redirects()) {
    return "ACS redirects: " + pci::acs_names(of.acs.enabled & pci::acs_bits::redirect);
  }
  return of.acs.is_known() || !of.responds ? "" : "ACS not readable";
}

/// What the system adds: group, driver, and memory for peers; empty for nothing.
[[nodiscard]] inline std::string system_words(const pci::function& of) {
  std::string text;
  const auto add = [&text](const std::string& word) { text += (text.empty() ? "" : ", ") + word; };
  if (of.iommu_group) {
    add(fmt::format("IOMMU group {}", *of.iommu_group));
  }
  if (!of.driver.empty()) {
    add("driver " + printable(of.driver));
  }
  if (of.p2pmem) {
    add(fmt::format("{} KiB of {}memory for peers", of.p2pmem->size / 1024,
                    of.p2pmem->published ? "" : "unpublished "));
  }
  return text;
}

/// How a cell of the matrix is to be read, besides its code.
enum class verdict : std::uint8_t { itself, direct, through_root, refused, unknown };

struct cell {
  verdict kind;
  std::string code;
};

struct code_meaning {
  verdict kind;
  const char* code;
  const char* meaning;
};

/// The codes, and after them what may follow one.
inline constexpr auto codes = std::to_array<code_meaning>({
    {verdict::itself, "X", "the function itself, with nothing in its way"},
    {verdict::direct, "B4", "BUS_ADDR: directly, below a common bridge; the number counts the hops"},
    {verdict::through_root, "H4", "THRU_HOST_BRIDGE: up to the root complex and down again"},
    {verdict::refused, "-", "NOT_SUPPORTED: the kernel refuses, or it is known to fail"},
    {verdict::unknown, "?", "not known"},
});
inline constexpr auto suffixes = std::to_array<std::pair<const char*, const char*>>({
    {"a", "ACS redirects on the way, which is below a common bridge"},
    {"q", "what is known of a part decides, not the kernel's rule"},
    {"r, w", "only reads, only writes"},
});

namespace detail {

[[nodiscard]] inline cell cell_of(const pci::route& of, bool quirk_decided) {
  const std::string suffix = std::string(of.is_redirected() ? "a" : "") + (quirk_decided ? "q" : "");
  const unsigned hops = of.distance().value_or(0);
  switch (of.type()) {
    case pci::route_type::bus_addr:
      return hops == 0 ? cell{verdict::itself, "X" + suffix}
                       : cell{verdict::direct, fmt::format("B{}{}", hops, suffix)};
    case pci::route_type::thru_host_bridge: return {verdict::through_root, fmt::format("H{}{}", hops, suffix)};
    case pci::route_type::not_supported: return {verdict::refused, "-" + suffix};
    case pci::route_type::unknown: break;
  }
  return {verdict::unknown, "?" + suffix};
}

}  // namespace detail

/// The cell of a pair: one verdict for both, unless reads and writes differ.
[[nodiscard]] inline cell cell_of(const pair_of_routes& of) {
  const bool quirk_decided = of.reads.decided_by() != nullptr || of.writes.decided_by() != nullptr;
  if (of.reads.type() == of.writes.type()) {
    return detail::cell_of(of.reads, quirk_decided);
  }
  if (of.reads.is_supported() == of.writes.is_supported()) {
    return {verdict::unknown, "?"};  // One is refused, of the other nothing is known.
  }
  cell one = detail::cell_of(of.reads.is_supported() ? of.reads : of.writes, quirk_decided);
  one.code += of.reads.is_supported() ? "r" : "w";
  return one;
}

}  // namespace p2pmap
