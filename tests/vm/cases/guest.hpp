// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the cases in the guest share: devices by role, checked unwrapping, and counts that must not change.
#pragma once

#include <sys/klog.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>

#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/pci/address.hpp>

#include "catch.hpp"

namespace paddock::test {

/// The PCI address of a device of tests/vm/topology.toml.
inline pci::address role(const char* name) {
  const std::string variable = "PADDOCK_DEV_" + std::string(name);
  const char* text = std::getenv(variable.c_str());
  if (text == nullptr) {
    skip("not in the VM lane: no such device role");
  }
  const auto parsed = pci::address::parse(text);
  REQUIRE(parsed);
  return *parsed;
}

/// The value, or a failed test that shows the error.
template <class T>
T unwrap(result<T> outcome) {
  if (!outcome) {
    FAIL(fmt::format("{}", outcome.error()));
  }
  if constexpr (!std::is_void_v<T>) {
    return std::move(*outcome);
  }
}

/// The code of an expected failure; unexpected success fails the test.
template <class T>
errc code(const result<T>& outcome) {
  REQUIRE_FALSE(outcome);
  UNSCOPED_INFO(fmt::format("{}", outcome.error()));
  return outcome.error().code;
}

/// Descriptors that this process has open.
inline std::size_t open_fds() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

/// Lines of the kernel's log in which an IOMMU tells of a fault.
inline std::size_t iommu_faults() {
  constexpr int read_all = 3;
  constexpr int size_of_buffer = 10;
  std::string log(static_cast<std::size_t>(::klogctl(size_of_buffer, nullptr, 0)), '\0');
  const int length = ::klogctl(read_all, log.data(), static_cast<int>(log.size()));
  REQUIRE(length > 0);
  log.resize(static_cast<std::size_t>(length));
  std::size_t faults = 0;
  for (std::size_t at = log.find("DMAR: ["); at != std::string::npos; at = log.find("DMAR: [", at + 1)) {
    ++faults;
  }
  return faults;
}

/// The same, once there are more than `before` and no further ones come: the kernel tells of them by an interrupt.
inline std::size_t faults_after(std::size_t before) {
  const deadline until = deadline::in(std::chrono::seconds(10));
  while (iommu_faults() == before && !until.passed()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  for (std::size_t seen = before;;) {
    const std::size_t now = iommu_faults();
    if (now == seen) {
      return now;
    }
    seen = now;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

/// Gives a device to another driver, or takes it away: "none".
inline void bind(const pci::address& device, const std::string& driver) {
  const char* program = std::getenv("PADDOCK_VM_BIND");
  REQUIRE(program != nullptr);
  const std::string command = std::string(program) + " " + to_string(device) + " " + driver;
  REQUIRE(std::system(command.c_str()) == 0);  // NOLINT(cert-env33-c): the guest's own script.
}

/// Asks the host for a change of the machine, e.g. "unplug nvme_b".
inline int ask_host(const std::string& request) {
  const char* program = std::getenv("PADDOCK_VM_HOST");
  REQUIRE(program != nullptr);
  return std::system((std::string(program) + " " + request).c_str());  // NOLINT(cert-env33-c): the guest's own script.
}

}  // namespace paddock::test
