// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a VFIO region is, read from the kernel's answer with its whole capability chain.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <paddock/base/fd.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/uapi/vfio.hpp>
#include <paddock/detail/syscall.hpp>

namespace PADDOCK_NAMESPACE::vfio {

/// A part of a region that the CPU can map; page-aligned.
struct mappable_area {
  std::uint64_t offset{0};
  std::uint64_t size{0};

  friend constexpr bool operator==(const mappable_area&, const mappable_area&) noexcept = default;
};

/// One region of a device: a BAR, the ROM, config space.
struct region {
  std::uint32_t index{0};
  std::uint64_t size{0};         ///< 0: the device does not have it.
  std::uint64_t file_offset{0};  ///< Where it begins in the device's FD.
  bool readable{false};
  bool writable{false};
  bool msix_mappable{false};  ///< The page of the MSI-X table may be mapped too.
  std::uint32_t type{0};      ///< Of a device-specific region; 0 for those that every PCI device has.
  std::uint32_t subtype{0};
  std::vector<mappable_area> areas{};  ///< Sorted; empty where only read and write work.

  /// Takes a hole out of what can be mapped, widened to pages: the MSI-X table on kernels that guard it.
  void carve_out(std::uint64_t offset, std::uint64_t length, std::uint64_t page) {
    const std::uint64_t hole_begin = offset / page * page;
    const std::uint64_t hole_end = (offset + length + page - 1) / page * page;
    std::vector<mappable_area> kept;
    for (const mappable_area& area : areas) {
      const std::uint64_t end = area.offset + area.size;
      if (const std::uint64_t left = std::min(end, hole_begin); left > area.offset) {
        kept.push_back({area.offset, left - area.offset});
      }
      if (const std::uint64_t right = std::max(area.offset, hole_end); right < end) {
        kept.push_back({right, end - right});
      }
    }
    areas = std::move(kept);
  }
};

namespace detail {

/// Reads a structure out of the kernel's answer. Errors: out_of_range.
template <class Structure>
[[nodiscard]] result<Structure> read_structure(std::span<const std::byte> answer, std::size_t offset,
                                               const char* where) noexcept {
  if (!range_fits(offset, sizeof(Structure), answer.size())) {
    return fail(errc::out_of_range, where);
  }
  Structure value;
  std::memcpy(&value, answer.data() + offset, sizeof value);
  return value;
}

/// Calls `visit(header, offset)` for every entry of a capability chain. Errors: out_of_range when an entry leaves the
/// answer or the chain does not move on, so that a damaged chain ends instead of looping.
template <class Visit>
[[nodiscard]] result<void> for_each_capability(std::span<const std::byte> answer, std::uint32_t first, Visit visit) {
  std::uint32_t offset = first;
  // Each entry has a header of its own, so there cannot be more of them than headers fit.
  for (std::size_t budget = answer.size() / sizeof(uapi::vfio_info_cap_header); offset != 0; --budget) {
    if (budget == 0) {
      return fail(errc::out_of_range, "VFIO capability chain");
    }
    PADDOCK_TRY(const auto header, read_structure<uapi::vfio_info_cap_header>(answer, offset, "VFIO capability chain"));
    PADDOCK_TRY_VOID(visit(header, static_cast<std::size_t>(offset)));
    offset = header.next;
  }
  return {};
}

}  // namespace detail

/// Reads the complete answer of VFIO_DEVICE_GET_REGION_INFO.
/// Errors: out_of_range for an answer that contradicts itself.
[[nodiscard]] inline result<region> parse_region(std::span<const std::byte> answer) {
  PADDOCK_TRY(const auto head, detail::read_structure<uapi::vfio_region_info>(answer, 0, "vfio_region_info"));
  region parsed;
  parsed.index = head.index;
  parsed.size = head.size;
  parsed.file_offset = head.offset;
  parsed.readable = (head.flags & uapi::vfio_region_info_flag_read) != 0;
  parsed.writable = (head.flags & uapi::vfio_region_info_flag_write) != 0;
  bool sparse = false;

  if ((head.flags & uapi::vfio_region_info_flag_caps) != 0) {
    PADDOCK_TRY_VOID(detail::for_each_capability(
        answer, head.cap_offset, [&](const uapi::vfio_info_cap_header& header, std::size_t offset) -> result<void> {
          if (header.id == uapi::vfio_region_info_cap_msix_mappable) {
            parsed.msix_mappable = true;
          }
          if (header.id == uapi::vfio_region_info_cap_type) {
            PADDOCK_TRY(const auto kind, detail::read_structure<uapi::vfio_region_info_cap_type_body>(
                                             answer, offset, "vfio region type capability"));
            parsed.type = kind.type;
            parsed.subtype = kind.subtype;
          }
          if (header.id != uapi::vfio_region_info_cap_sparse_mmap) {
            return {};
          }
          sparse = true;
          PADDOCK_TRY(const auto list, detail::read_structure<uapi::vfio_region_info_cap_sparse>(
                                           answer, offset, "vfio sparse mmap capability"));
          for (std::uint32_t i = 0; i < list.nr_areas; ++i) {
            PADDOCK_TRY(const auto area,
                        detail::read_structure<uapi::vfio_region_sparse_mmap_area>(
                            answer, offset + sizeof list + i * sizeof(uapi::vfio_region_sparse_mmap_area),
                            "vfio sparse mmap area"));
            if (!range_fits(area.offset, area.size, parsed.size)) {
              return fail(errc::out_of_range, "vfio sparse mmap area");
            }
            if (area.size != 0) {
              parsed.areas.push_back({area.offset, area.size});
            }
          }
          return {};
        }));
  }
  if (!sparse && (head.flags & uapi::vfio_region_info_flag_mmap) != 0 && parsed.size != 0) {
    parsed.areas.push_back({0, parsed.size});
  }
  std::sort(parsed.areas.begin(), parsed.areas.end(),
            [](const mappable_area& a, const mappable_area& b) { return a.offset < b.offset; });
  // Areas that touch are one to whoever maps across them.
  std::vector<mappable_area> merged;
  for (const mappable_area& area : parsed.areas) {
    if (!merged.empty() && area.offset <= merged.back().offset + merged.back().size) {
      merged.back().size = std::max(merged.back().size, area.offset + area.size - merged.back().offset);
    } else {
      merged.push_back(area);
    }
  }
  parsed.areas = std::move(merged);
  return parsed;
}

namespace detail {

/// Asks twice: once for the size, once for the whole. Errors: as the ioctl, out_of_memory.
template <class Head>
[[nodiscard]] result<std::vector<std::byte>> complete_answer(borrowed_fd fd, unsigned long request, Head head,
                                                             const char* name) {
  std::vector<std::byte> answer(sizeof(Head));
  std::uint32_t needed = sizeof(Head);
  do {
    answer.assign(needed, std::byte{0});
    head.argsz = needed;
    std::memcpy(answer.data(), &head, sizeof head);
    PADDOCK_TRY_VOID(paddock::detail::ioctl_once(fd, request, answer.data(), name));
    std::memcpy(&needed, answer.data(), sizeof needed);  // argsz comes first in every VFIO structure.
  } while (needed > answer.size());
  return answer;
}

}  // namespace detail

}  // namespace PADDOCK_NAMESPACE::vfio
