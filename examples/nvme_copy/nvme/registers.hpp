// SPDX-License-Identifier: BSL-1.0
/// \file
/// What the NVM Express Base Specification 2.0 says of registers, queue entries and identify data, as far as a copy
/// needs it. Names are the specification's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace nvme {

/// Offsets in BAR0.
namespace reg {
inline constexpr std::size_t cap = 0x00;
inline constexpr std::size_t vs = 0x08;
inline constexpr std::size_t cc = 0x14;
inline constexpr std::size_t csts = 0x1c;
inline constexpr std::size_t aqa = 0x24;
inline constexpr std::size_t asq = 0x28;
inline constexpr std::size_t acq = 0x30;
inline constexpr std::size_t cmbloc = 0x38;
inline constexpr std::size_t cmbsz = 0x3c;
inline constexpr std::size_t cmbmsc = 0x50;
inline constexpr std::size_t cmbsts = 0x58;
inline constexpr std::size_t doorbells = 0x1000;
}  // namespace reg

/// Controller Capabilities.
struct capabilities {
  std::uint64_t raw{0};

  [[nodiscard]] std::uint32_t max_queue_entries() const { return static_cast<std::uint32_t>(raw & 0xffffU) + 1; }
  [[nodiscard]] std::uint32_t timeout_ms() const { return static_cast<std::uint32_t>((raw >> 24U) & 0xffU) * 500; }
  [[nodiscard]] std::uint32_t doorbell_stride() const { return 4U << ((raw >> 32U) & 0xfU); }
  [[nodiscard]] bool nvm_command_set() const { return ((raw >> 37U) & 1U) != 0; }
  [[nodiscard]] std::uint32_t min_page_shift() const { return 12 + static_cast<std::uint32_t>((raw >> 48U) & 0xfU); }
  [[nodiscard]] bool cmb_needs_enable() const { return ((raw >> 57U) & 1U) != 0; }  ///< CAP.CMBS
};

/// The registers that describe the controller memory buffer, CMBSZ and CMBLOC.
struct memory_buffer_registers {
  std::uint32_t cmbsz{0};
  std::uint32_t cmbloc{0};

  [[nodiscard]] std::uint64_t unit() const { return std::uint64_t{4096} << (4U * ((cmbsz >> 8U) & 0xfU)); }
  [[nodiscard]] std::uint64_t size() const { return (cmbsz >> 12U) * unit(); }  ///< 0: there is none.
  [[nodiscard]] std::uint64_t offset() const { return (cmbloc >> 12U) * unit(); }
  [[nodiscard]] std::uint8_t bar() const { return static_cast<std::uint8_t>(cmbloc & 7U); }
  /// RDS: reads of this controller may put their data there.
  [[nodiscard]] bool takes_read_data() const { return ((cmbsz >> 3U) & 1U) != 0; }
  /// WDS: writes of this controller may fetch their data there.
  [[nodiscard]] bool gives_write_data() const { return ((cmbsz >> 4U) & 1U) != 0; }
};

/// What the owner of a memory buffer is in a copy that goes through it.
enum class buffer_owner : std::uint8_t { source, target, neither };

/// Why a memory buffer may not be used for a copy; null when it may. The owner's own commands need the right that CMBSZ
/// names. For other drives the buffer is plain memory, which a controller offers when it allows both.
[[nodiscard]] inline const char* refusal(const memory_buffer_registers& buffer, buffer_owner owner) {
  if (owner != buffer_owner::target && !buffer.takes_read_data()) {
    return "CMBSZ.RDS is 0: the controller memory buffer takes no read data";
  }
  if (owner != buffer_owner::source && !buffer.gives_write_data()) {
    return "CMBSZ.WDS is 0: the controller memory buffer gives no write data";
  }
  return nullptr;
}

inline constexpr std::uint32_t cc_enable = 1;
inline constexpr std::uint32_t cc_shutdown_mask = 3U << 14U;
inline constexpr std::uint32_t cc_shutdown_normal = 1U << 14U;
inline constexpr std::uint32_t cc_entry_sizes =
    (6U << 16U) | (4U << 20U);  ///< 64-byte submissions, 16-byte completions.
inline constexpr std::uint32_t csts_ready = 1;
inline constexpr std::uint32_t csts_fatal = 2;
inline constexpr std::uint32_t csts_shutdown_mask = 3U << 2U;
inline constexpr std::uint32_t csts_shutdown_complete = 2U << 2U;

inline constexpr std::uint64_t cmbmsc_capabilities_enable = 1;
inline constexpr std::uint64_t cmbmsc_memory_enable = 2;
inline constexpr std::uint32_t cmbsts_address_invalid = 1;

enum class admin_opcode : std::uint8_t { create_sq = 0x01, create_cq = 0x05, identify = 0x06, set_features = 0x09 };
/// Feature of Set Features: how many I/O queues the host will make.
inline constexpr std::uint32_t feature_number_of_queues = 0x07;

enum class io_opcode : std::uint8_t { flush = 0x00, write = 0x01, read = 0x02 };

/// A submission queue entry.
struct submission {
  std::uint8_t opcode{0};
  std::uint8_t flags{0};
  std::uint16_t command_id{0};
  std::uint32_t namespace_id{0};
  std::uint32_t dword2{0};
  std::uint32_t dword3{0};
  std::uint64_t metadata{0};
  std::uint64_t prp1{0};
  std::uint64_t prp2{0};
  std::array<std::uint32_t, 6> dword10_to_15{};
};
static_assert(sizeof(submission) == 64);

/// A completion queue entry.
struct completion {
  std::uint32_t result{0};
  std::uint32_t reserved{0};
  std::uint16_t sq_head{0};
  std::uint16_t sq_id{0};
  std::uint16_t command_id{0};
  std::uint16_t status_and_phase{0};
};
static_assert(sizeof(completion) == 16);

/// The status field without the phase: code, code type, more, do not retry.
struct status {
  std::uint16_t raw{0};

  [[nodiscard]] bool ok() const { return (raw & 0x7ffU) == 0; }
  [[nodiscard]] unsigned code() const { return raw & 0xffU; }
  [[nodiscard]] unsigned type() const { return (raw >> 8U) & 7U; }
};

/// What a status means, for people.
[[nodiscard]] inline const char* describe(status s) {
  switch ((s.type() << 8U) | s.code()) {
    case 0x000: return "success";
    case 0x001: return "invalid opcode";
    case 0x002: return "invalid field in command";
    case 0x004: return "data transfer error";
    case 0x006: return "internal error";
    case 0x007: return "aborted on request";
    case 0x00b: return "invalid namespace";
    case 0x012: return "invalid use of controller memory buffer";
    case 0x013: return "PRP offset invalid";
    case 0x080: return "LBA out of range";
    case 0x081: return "capacity exceeded";
    case 0x082: return "namespace not ready";
    case 0x280: return "write fault";
    case 0x281: return "unrecovered read error";
    case 0x286: return "access denied";
    case 0x287: return "deallocated or unwritten block";
    default: return "error";
  }
}

/// Offsets in the 4096 bytes that Identify returns.
namespace identify {
inline constexpr std::uint32_t cns_namespace = 0;
inline constexpr std::uint32_t cns_controller = 1;
inline constexpr std::size_t serial = 4;
inline constexpr std::size_t serial_length = 20;
inline constexpr std::size_t model = 24;
inline constexpr std::size_t model_length = 40;
inline constexpr std::size_t mdts = 77;
inline constexpr std::size_t ns_size = 0;
inline constexpr std::size_t ns_flbas = 26;
inline constexpr std::size_t ns_lbaf = 128;
}  // namespace identify

}  // namespace nvme
