// SPDX-License-Identifier: BSL-1.0
// What of examples/nvme_copy no controller of QEMU does: memory buffers with fewer rights.
#include "nvme/registers.hpp"

#include <string>

#include "catch.hpp"

using nvme::buffer_owner;
using nvme::memory_buffer_registers;

TEST_CASE("CMBSZ and CMBLOC are read as the specification lays them out") {
  // 64 units of 1 MiB, at unit 2 of BAR 4.
  const memory_buffer_registers registers{(64U << 12U) | (2U << 8U) | 0x1fU, (2U << 12U) | 4U};
  CHECK(registers.size() == 64U << 20U);
  CHECK(registers.offset() == 2U << 20U);
  CHECK(registers.bar() == 4);
  CHECK(memory_buffer_registers{}.size() == 0);
}

TEST_CASE("a memory buffer is refused for what CMBSZ does not allow") {
  const memory_buffer_registers both{0x18, 0};
  const memory_buffer_registers reads{0x08, 0};
  const memory_buffer_registers writes{0x10, 0};
  for (const auto owner : {buffer_owner::source, buffer_owner::target, buffer_owner::neither}) {
    CHECK(nvme::refusal(both, owner) == nullptr);
  }
  CHECK(nvme::refusal(reads, buffer_owner::source) == nullptr);
  CHECK(std::string(nvme::refusal(writes, buffer_owner::source)).find("RDS") != std::string::npos);
  CHECK(nvme::refusal(writes, buffer_owner::target) == nullptr);
  CHECK(std::string(nvme::refusal(reads, buffer_owner::target)).find("WDS") != std::string::npos);
  CHECK(nvme::refusal(reads, buffer_owner::neither) != nullptr);
  CHECK(nvme::refusal(writes, buffer_owner::neither) != nullptr);
}
