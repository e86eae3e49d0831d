// SPDX-License-Identifier: BSL-1.0
/// \file
/// Reads a machine's PCI functions through libpci: the running system, a captured tree, or `lspci -x…` text.
/// The one header that needs libpci (CMake: paddock::pci).
#pragma once

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

extern "C" {
#include <pci/pci.h>
}

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/pci/dump_text.hpp>
#include <paddock/pci/sysfs.hpp>
#include <paddock/pci/topology.hpp>

namespace PADDOCK_NAMESPACE::pci {

namespace detail {

/// libpci, with its habit of ending the process taken away.
/// What reaches it is screened, so that none of its errors is expected; one that comes all the same leaves the call it
/// came from, and every later call fails. Nothing else of ours is between: the callbacks of guarded() are trivial.
/// Thread-safety: one thread an object.
class libpci {
 public:
  libpci() noexcept : access_(::pci_alloc()) {
    access_->error = give_up;
    access_->warning = say_nothing;
    access_->debug = say_nothing;
  }
  libpci(const libpci&) = delete;
  libpci& operator=(const libpci&) = delete;
  ~libpci() {
    static_cast<void>(guarded([this]() noexcept { ::pci_cleanup(access_); }));
  }

  /// Reads a screened dump from a file.
  [[nodiscard]] result<void> open_dump(std::string file) noexcept {
    return open(PCI_ACCESS_DUMP, "dump.name", file.data());
  }
  /// Lists a /sys/bus/pci.
  [[nodiscard]] result<void> open_sysfs(std::string bus_pci) noexcept {
    access_->buscentric = 1;  // Asks for no more than the names of the folder; the rest is read one by one.
    return open(PCI_ACCESS_SYS_BUS_PCI, "sysfs.path", bus_pci.data());
  }

  /// The first function, in libpci's own order; the next one is its `next`.
  [[nodiscard]] pci_dev* devices() const noexcept { return access_->devices; }

  /// Copies config space, as far as it can be read; returns how many bytes that is.
  [[nodiscard]] std::size_t read(pci_dev* of, std::span<std::byte, regs::extended_bytes> into) const noexcept {
    std::size_t done = 0;
    for (const std::size_t end : {regs::header_bytes, regs::conventional_bytes, regs::extended_bytes}) {
      if (!read(of, into, done, end)) {
        break;
      }
      done = end;
    }
    // A file that somebody made may end anywhere.
    constexpr std::size_t piece = 16;
    while (done >= regs::header_bytes && done < regs::extended_bytes && read(of, into, done, done + piece)) {
      done += piece;
    }
    return done;
  }
  [[nodiscard]] bool read(pci_dev* of, std::span<std::byte> into, std::size_t from, std::size_t to) const noexcept {
    auto* const bytes = reinterpret_cast<std::uint8_t*>(into.data() + from);
    int answer = 0;
    return guarded([&]() noexcept {
             answer = ::pci_read_block(of, static_cast<int>(from), bytes, static_cast<int>(to - from));
           }) &&
           answer != 0;
  }

 private:
  // NOLINTBEGIN(cert-dcl50-cpp): libpci's own signatures.
  [[gnu::noreturn]] static void give_up(char*, ...) { std::longjmp(*way_out(), 1); }  // NOLINT(cert-err52-cpp)
  static void say_nothing(char*, ...) {}
  // NOLINTEND(cert-dcl50-cpp)

  static std::jmp_buf*& way_out() noexcept {
    static thread_local std::jmp_buf* way = nullptr;
    return way;
  }

  /// False when libpci gave up. Requires: `calls` does nothing but call libpci.
  template <class Calls>
  [[nodiscard]] static bool guarded(const Calls& calls) noexcept {
    std::jmp_buf here;
    std::jmp_buf* const outer = std::exchange(way_out(), &here);
    const bool gave_up = setjmp(here) != 0;  // NOLINT(cert-err52-cpp): libpci is C and knows no other way.
    if (!gave_up) {
      calls();
    }
    way_out() = outer;
    return !gave_up;
  }

  [[nodiscard]] result<void> open(unsigned method, const char* parameter, char* value) noexcept {
    const bool opened = guarded([&]() noexcept {
      access_->method = method;
      ::pci_set_param(access_, const_cast<char*>(parameter), value);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
      ::pci_init(access_);
      ::pci_scan_bus(access_);
    });
    return opened ? result<void>() : fail(errc::io, "libpci");
  }

  pci_access* access_;
};

/// A file in memory that holds `text`, and can be opened by name.
[[nodiscard]] inline result<unique_fd> file_of(std::string_view text) noexcept {
  const int created = ::memfd_create("paddock-pci-dump", MFD_CLOEXEC);
  if (created < 0) {
    return fail_errno("memfd_create");
  }
  unique_fd file = unique_fd::adopt(created);
  for (std::size_t done = 0; done < text.size();) {
    const auto put =
        ::paddock::detail::retry<false>([&] { return ::write(file.get(), text.data() + done, text.size() - done); });
    if (put < 0) {
      return fail_errno("write");
    }
    done += static_cast<std::size_t>(put);
  }
  return file;
}

}  // namespace detail

/// Reads the output of `lspci -x`, `-xxx` or `-xxxx`, with or without -D, -v and -n. The more x, the more is known: ACS
/// is beyond the first 256 bytes. `cpu` says what a dump cannot. Errors: invalid_argument, not_found, limit_reached
/// (screen_dump() and topology::build() say when), already_exists (one function twice), limit_reached (no FD). No text
/// whatever ends the process.
[[nodiscard]] inline result<topology> read_dump(std::string_view text, cpu_rule cpu = cpu_rule::unknown) {
  PADDOCK_TRY(const screened_dump screened, screen_dump(text));
  PADDOCK_TRY(const unique_fd file, detail::file_of(screened.text));
  detail::libpci library;
  PADDOCK_TRY_VOID(library.open_dump(fmt::format("/proc/self/fd/{}", file.get())));

  std::vector<function> functions;
  functions.reserve(screened.functions.size());
  std::array<std::byte, regs::extended_bytes> config{};
  pci_dev* device = library.devices();
  // libpci puts each function before the ones that it has read.
  for (std::size_t i = screened.functions.size(); i-- > 0 && device != nullptr; device = device->next) {
    const dumped_function& each = screened.functions[i];
    if (each.bytes != 0 && !library.read(device, config, 0, each.bytes)) {
      return fail(errc::io, "libpci: config space of a dump");
    }
    functions.push_back(read_function(each.where, config_space(std::span(config).first(each.bytes))));
  }
  if (functions.size() != screened.functions.size()) {
    return fail(errc::io, "libpci: functions of a dump");
  }
  return topology::build(std::move(functions), {cpu, false});
}

/// Reads a running system (`root` "/") or what capture() wrote. Without CAP_SYS_ADMIN only 64 bytes of each config
/// space can be read, and routes for which that is too little are unknown. Errors: not_found (no sysfs there),
/// invalid_argument (an entry that is no PCI address, or what topology::build() refuses), limit_reached, io. A function
/// that goes away meanwhile is left out. Kernel: /sys/bus/pci/devices (drivers/pci/pci-sysfs.c).
[[nodiscard]] inline result<topology> read_system(const std::filesystem::path& root = "/") {
  namespace fs = std::filesystem;
  constexpr std::uint32_t widest_domain = 0x7fffffff;  // libpci has it in an int.
  const fs::path bus = root / "sys/bus/pci";
  std::error_code failed;
  for (fs::directory_iterator entry(bus / "devices", failed), end; !failed && entry != end; entry.increment(failed)) {
    const auto where = address::parse(entry->path().filename().string());
    if (!where || where->domain > widest_domain || to_string(*where) != entry->path().filename().string()) {
      return fail(errc::invalid_argument, "sysfs: not a PCI address");
    }
    // Asked once: it may go away between two questions.
    if (const fs::file_status config = fs::status(entry->path() / "config", failed);
        fs::exists(config) && !fs::is_regular_file(config)) {
      return fail(errc::invalid_argument, "sysfs: config is not a file");
    }
    failed.clear();
  }
  if (failed) {
    error why = error_from_errno(failed.value(), "opendir(/sys/bus/pci/devices)");
    why.code = why.code == errc::unexpected ? errc::io : why.code;
    return fail(why);
  }
  detail::libpci library;
  PADDOCK_TRY_VOID(library.open_sysfs(bus.string()));

  std::vector<function> functions;
  std::array<std::byte, regs::extended_bytes> config{};
  for (pci_dev* each = library.devices(); each != nullptr; each = each->next) {
    const address where{static_cast<std::uint32_t>(each->domain), each->bus, each->dev, each->func};
    const std::size_t bytes = library.read(each, config);
    // One that has gone away is listed no more. One that is listed and cannot be read stays, unread.
    if (bytes == 0 && !fs::exists(fs::symlink_status(bus / "devices" / to_string(where), failed))) {
      continue;
    }
    functions.push_back(read_function(where, config_space(std::span(config).first(bytes))));
    add_sysfs_facts(functions.back(), root);
  }
  return topology::build(std::move(functions), read_machine_facts(root));
}

}  // namespace PADDOCK_NAMESPACE::pci
