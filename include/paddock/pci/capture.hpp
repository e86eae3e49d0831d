// SPDX-License-Identifier: BSL-1.0
/// \file
/// Writes down what a machine tells of its PCI functions, so that read_system() sees the same machine anywhere.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/syscall.hpp>
#include <paddock/pci/address.hpp>
#include <paddock/pci/config_space.hpp>
#include <paddock/pci/sysfs.hpp>

namespace PADDOCK_NAMESPACE::pci {

namespace detail {

[[nodiscard]] inline tl::unexpected<error> fail_code(const std::error_code& code, const char* call) noexcept {
  return fail(error_from_errno(code.value(), call));
}

/// A folder beside its final name, which it gets when it is complete. Until then it goes with this object.
class draft_folder {
 public:
  /// Errors: as mkdtemp and mkdir.
  [[nodiscard]] static result<draft_folder> beside(const std::filesystem::path& name) {
    std::string made = (name.parent_path() / ".paddock-capture-XXXXXX").string();
    if (::mkdtemp(made.data()) == nullptr) {
      return fail_errno("mkdtemp");
    }
    draft_folder draft(std::move(made));
    // What mkdtemp makes is for this user alone; the folder inside is made as any other.
    if (::mkdir(draft.path().c_str(), 0777) != 0) {
      return fail_errno("mkdir");
    }
    return draft;
  }
  draft_folder(draft_folder&& other) noexcept : outer_(std::exchange(other.outer_, {})) {}
  draft_folder& operator=(draft_folder&&) = delete;
  draft_folder(const draft_folder&) = delete;
  draft_folder& operator=(const draft_folder&) = delete;
  ~draft_folder() {
    std::error_code failed;
    if (!outer_.empty()) {
      std::filesystem::remove_all(outer_, failed);
    }
    if (failed) {
      report_lost_error(fail_code(failed, "remove_all").value());
    }
  }

  [[nodiscard]] std::filesystem::path path() const { return outer_ / "tree"; }

  /// Errors: already_exists; as rename. An empty folder that appears in this very moment is replaced.
  [[nodiscard]] result<void> finish_as(const std::filesystem::path& name) const {
    std::error_code failed;
    if (std::filesystem::exists(std::filesystem::symlink_status(name, failed))) {
      return fail(errc::already_exists, "capture");
    }
    std::filesystem::rename(path(), name, failed);
    return failed ? result<void>(fail_code(failed, "rename")) : result<void>();
  }

 private:
  explicit draft_folder(std::string outer) : outer_(std::move(outer)) {}

  std::filesystem::path outer_;
};

[[nodiscard]] inline result<void> make_folders(const std::filesystem::path& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  return failed ? result<void>(fail_code(failed, "mkdir")) : result<void>();
}

[[nodiscard]] inline result<void> make_link(const std::filesystem::path& to, const std::filesystem::path& link) {
  std::error_code failed;
  std::filesystem::create_symlink(to, link, failed);
  return failed ? result<void>(fail_code(failed, "symlink")) : result<void>();
}

[[nodiscard]] inline result<void> write_file(const std::filesystem::path& file, std::span<const std::byte> bytes) {
  const int opened = ::paddock::detail::retry<false>(
      [&] { return ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
  if (opened < 0) {
    return fail_errno("open");
  }
  const unique_fd fd = unique_fd::adopt(opened);
  while (!bytes.empty()) {
    const auto put = ::paddock::detail::retry<false>([&] { return ::write(fd.get(), bytes.data(), bytes.size()); });
    if (put < 0) {
      return fail_errno("write");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

/// Writes a small attribute where there is one.
[[nodiscard]] inline result<void> copy_attribute(const std::filesystem::path& from, const std::filesystem::path& to,
                                                 const char* name) {
  auto text = read_attribute(from / name);
  if (!text) {
    return {};
  }
  *text += '\n';
  return write_file(to / name, std::as_bytes(std::span(*text)));
}

/// Config space, as far as it can be read: 64 bytes without privilege. Errors: not_found, no_device (the function is
/// gone), limit_reached.
[[nodiscard]] inline result<std::vector<std::byte>> read_config(const std::filesystem::path& file) {
  const auto fd = ::paddock::detail::open(file.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY, "open(config)");
  if (!fd && fd.error() != errc::permission) {
    return fail(fd.error());
  }
  std::vector<std::byte> config(fd ? regs::extended_bytes : 0);
  std::size_t done = 0;
  while (done < config.size()) {
    const auto got = ::paddock::detail::retry<false>(
        [&] { return ::pread(fd->get(), config.data() + done, config.size() - done, static_cast<off_t>(done)); });
    if (got <= 0) {
      break;
    }
    done += static_cast<std::size_t>(got);
  }
  config.resize(done);
  return config;
}

/// Takes out what tells one piece of hardware from another of its kind: the Device Serial Number, and what was last
/// read from the Vital Product Data, which hold one as well.
inline void remove_serial_numbers(std::vector<std::byte>& config) {
  const auto clear = [&](const capability& at, std::size_t first, std::size_t end) {
    if (at.found == capability::state::present) {
      for (std::size_t i = at.offset + first; i < std::min(at.offset + end, config.size()); ++i) {
        config[i] = std::byte{0};
      }
    }
  };
  if (config_space(config).find(regs::capability_express).found != capability::state::present &&
      config.size() > regs::conventional_bytes) {
    // Nobody reads what is behind, and its form is not known.
    std::fill(config.begin() + regs::conventional_bytes, config.end(), std::byte{0});
  }
  const config_space view(config);
  const capability serial_number = view.find_extended(regs::extended_serial_number);
  clear(view.find(regs::capability_vpd), regs::vpd_address, regs::vpd_end);
  clear(serial_number, regs::serial_number, regs::serial_number_end);
}

/// Where a function's folder goes: from its root bus on, "pci0000:00/0000:00:01.0/0000:01:00.0". What is above names
/// the platform, on Hyper-V by an identity of its own. Empty when the link tells no such place.
[[nodiscard]] inline std::filesystem::path place_below_root(const std::filesystem::path& link) {
  std::filesystem::path place;
  for (const std::filesystem::path& each : link) {
    const std::string name = each.string();
    place = parse_root_bus(name) || address::parse(name) ? place / each : std::filesystem::path();
  }
  return place.has_parent_path() ? place : std::filesystem::path();
}

/// Captures one function. `home` is its folder in the new tree, relative to `to`.
[[nodiscard]] inline result<void> capture_function(const std::filesystem::path& device, std::vector<std::byte> config,
                                                   const std::filesystem::path& root, const std::filesystem::path& home,
                                                   const std::filesystem::path& to) {
  namespace fs = std::filesystem;
  PADDOCK_TRY_VOID(make_folders(to / home));
  remove_serial_numbers(config);
  PADDOCK_TRY_VOID(write_file(to / home / "config", config));
  for (const char* name : {"resource", "vendor", "device", "class", "numa_node"}) {
    PADDOCK_TRY_VOID(copy_attribute(device, to / home, name));
  }
  if (read_attribute(device / "p2pmem/size")) {
    PADDOCK_TRY_VOID(make_folders(to / home / "p2pmem"));
    for (const char* name : {"size", "available", "published"}) {
      PADDOCK_TRY_VOID(copy_attribute(device / "p2pmem", to / home / "p2pmem", name));
    }
  }
  if (const std::string group = link_name(device / "iommu_group"); parse_number<std::uint32_t>(group)) {
    const fs::path groups = "sys/kernel/iommu_groups";
    PADDOCK_TRY_VOID(make_link((groups / group).lexically_relative(home), to / home / "iommu_group"));
    // A tree without that folder does not tell who is in a group.
    std::error_code ignored;
    if (fs::exists(to / groups, ignored) && !fs::exists(to / groups / group, ignored)) {
      PADDOCK_TRY_VOID(make_folders(to / groups / group));
      PADDOCK_TRY_VOID(copy_attribute(root / groups / group, to / groups / group, "type"));
    }
  }
  if (const std::string driver = link_name(device / "driver"); !driver.empty()) {
    const fs::path folder = fs::path("sys/bus/pci/drivers") / driver;
    PADDOCK_TRY_VOID(make_folders(to / folder));
    PADDOCK_TRY_VOID(make_link(folder.lexically_relative(home), to / home / "driver"));
  }
  return {};
}

/// What read_cpu_rule() looks for, and no more of it: other lines tell versions and, on some machines, serial numbers.
[[nodiscard]] inline result<void> capture_cpu(const std::filesystem::path& root, const std::filesystem::path& to) {
  const auto text = read_attribute(root / "proc/cpuinfo");
  if (!text || text->empty()) {
    return {};
  }
  std::string kept = "processor\t: 0\n";
  for (const std::string_view key : {"vendor_id", "cpu family"}) {
    if (const std::size_t at = text->find(key); at != std::string::npos) {
      kept.append(*text, at, text->find('\n', at) - at).append("\n");
    }
  }
  PADDOCK_TRY_VOID(make_folders(to / "proc"));
  return write_file(to / "proc/cpuinfo", std::as_bytes(std::span(kept)));
}

}  // namespace detail

/// Captures a machine's PCI functions into a new folder, which read_system() reads like the machine itself; root's
/// config space is whole, others get 64 bytes of it. Serial numbers are left out. All or nothing: `into` appears when
/// it is complete. `root` is the running system, or an earlier capture.
/// Errors: already_exists (`into`); not_found (no sysfs, or no folder for `into`); invalid_argument (an entry of sysfs
/// that is no PCI address, a config that is no file); permission, limit_reached and what else writing files gives.
/// A function that goes away meanwhile is left out. Thread-safety: any.
/// Kernel: Documentation/ABI/testing/sysfs-bus-pci, sysfs-kernel-iommu_groups.
[[nodiscard]] inline result<void> capture(const std::filesystem::path& into, const std::filesystem::path& root = "/") {
  namespace fs = std::filesystem;
  const fs::path name = into.has_filename() ? into : into.parent_path();
  std::error_code failed;
  if (fs::exists(fs::symlink_status(name, failed))) {
    return fail(errc::already_exists, "capture");
  }
  PADDOCK_TRY(const detail::draft_folder draft, detail::draft_folder::beside(name));
  const fs::path to = draft.path();
  const fs::path devices = "sys/bus/pci/devices";
  PADDOCK_TRY_VOID(detail::make_folders(to / devices));
  if (fs::is_directory(root / "sys/kernel/iommu_groups", failed)) {
    PADDOCK_TRY_VOID(detail::make_folders(to / "sys/kernel/iommu_groups"));
  }
  failed.clear();
  for (fs::directory_iterator entry(root / devices, failed), end; !failed && entry != end; entry.increment(failed)) {
    const std::string where = entry->path().filename().string();
    std::error_code gone;
    const fs::file_status config_file = fs::status(entry->path() / "config", gone);
    if (const auto parsed = address::parse(where); !parsed || to_string(*parsed) != where) {
      return fail(errc::invalid_argument, "sysfs: not a PCI address");
    }
    if (fs::exists(config_file) && !fs::is_regular_file(config_file)) {
      return fail(errc::invalid_argument, "sysfs: config is not a file");
    }
    auto config = detail::read_config(entry->path() / "config");
    if (!config && config.error() == errc::limit_reached) {
      return fail(config.error());
    }
    // One that has gone away is listed no more. One that is listed and cannot be read stays, unread.
    if (!config && !fs::exists(fs::symlink_status(entry->path(), gone))) {
      continue;
    }
    std::vector<std::byte> bytes = config ? std::move(*config) : std::vector<std::byte>();
    const fs::path place = detail::place_below_root(detail::link_target(entry->path()));
    const fs::path home = place.filename() == where ? "sys/devices" / place : devices / where;
    PADDOCK_TRY_VOID(detail::capture_function(entry->path(), std::move(bytes), root, home, to));
    if (home.parent_path() != devices) {
      PADDOCK_TRY_VOID(detail::make_link(home.lexically_relative(devices), to / devices / where));
    }
  }
  if (failed) {
    return detail::fail_code(failed, "opendir(/sys/bus/pci/devices)");
  }
  PADDOCK_TRY_VOID(detail::capture_cpu(root, to));
  return draft.finish_as(name);
}

}  // namespace PADDOCK_NAMESPACE::pci
