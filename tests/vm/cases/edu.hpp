// SPDX-License-Identifier: BSL-1.0
/// \file
/// QEMU's `edu` device: a register file, an interrupt, and a DMA engine with 4 KiB of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>
#include <utility>

#include <paddock/base/ids.hpp>
#include <paddock/base/mmio.hpp>
#include <paddock/base/time.hpp>
#include <paddock/vfio/device.hpp>

namespace paddock::test {

class edu {
 public:
  static constexpr std::uint64_t buffer = 0x40000;
  static constexpr std::uint64_t longest = 2048;  ///< QEMU 7.2 refuses a transfer of all 4096 bytes.

  explicit edu(vfio::bar bar) : bar_(std::move(bar)), registers_(*bar_.mmio()) {}

  [[nodiscard]] std::uint32_t id() const { return registers_.read32(0x00); }
  [[nodiscard]] std::uint32_t inverted(std::uint32_t value) const {
    registers_.write32(0x04, value);
    return registers_.read32(0x04);
  }
  void raise_interrupt(std::uint32_t value) const { registers_.write32(0x60, value); }
  [[nodiscard]] std::uint32_t interrupt_status() const { return registers_.read32(0x24); }
  void acknowledge(std::uint32_t value) const { registers_.write32(0x64, value); }

  /// Copies between an IOVA and the device's own buffer; false when it does not end in ten seconds.
  [[nodiscard]] bool read_from(iova source, std::uint64_t bytes) const {
    return transfer(source.value(), buffer, bytes, 1);
  }
  [[nodiscard]] bool write_to(iova target, std::uint64_t bytes) const {
    return transfer(buffer, target.value(), bytes, 1 | 2);
  }

 private:
  [[nodiscard]] bool transfer(std::uint64_t source, std::uint64_t target, std::uint64_t bytes,
                              std::uint32_t command) const {
    registers_.write64(0x80, source);
    registers_.write64(0x88, target);
    registers_.write64(0x90, bytes);
    registers_.write32(0x98, command);
    const deadline until = deadline::in(std::chrono::seconds(10));
    while ((registers_.read32(0x98) & 1U) != 0) {
      if (until.passed()) {
        return false;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // QEMU's takes 100 of them.
    }
    return true;
  }

  vfio::bar bar_;
  mmio_span registers_;
};

}  // namespace paddock::test
