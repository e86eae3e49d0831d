// SPDX-License-Identifier: BSL-1.0
/// \file
/// What can happen to memory of this process that devices use, and what tells of it: the concept under memory_monitor,
/// whose model of a real kernel is kernel::userfault.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <paddock/base/fd.hpp>
#include <paddock/base/result.hpp>

namespace PADDOCK_NAMESPACE {

enum class memory_change : std::uint8_t {
  removed,   ///< The pages are given back, as by madvise(MADV_DONTNEED); the addresses stay.
  unmapped,  ///< The addresses are gone, or lead to another mapping.
  remapped,  ///< The pages have other addresses; who uses them goes on there with a new watch.
  forked,    ///< A child shares the pages until one of the two writes: processor and device may part.
};

/// As it is spelled in the source.
[[nodiscard]] constexpr const char* name(memory_change c) noexcept {
  switch (c) {
    case memory_change::removed: return "removed";
    case memory_change::unmapped: return "unmapped";
    case memory_change::remapped: return "remapped";
    case memory_change::forked: return "forked";
  }
  return "unknown";
}

struct memory_event {
  memory_change what{memory_change::removed};
  std::span<std::byte> range{};  ///< What it happened to: an address and a length, not to be read or written.
  std::byte* moved_to{nullptr};  ///< Of `remapped`: where the range begins now.
};

/// What the user of a watch is told.
struct memory_report {
  memory_event event{};
  bool forced{false};  ///< The fences were not done in time, or a job was about to start: the addresses were taken away
                       ///< all the same, and a job that still runs faults in the IOMMU.
};

/// What a watch stands at.
enum class memory_status : std::uint8_t {
  live,      ///< The device has the pages that the range has.
  stale,     ///< It has not, or nobody can tell any more. For good.
  released,  ///< By release(): the device has nothing. For good.
};

/// The events of one range. The descriptor is readable while there is an event; the thread that caused it is held until
/// it is read, `removed` before it happens and all others after. read() does not wait and gives 0 when there is none.
/// The destructor lets go all who are held, and holds nobody any more.
template <class R>
concept memory_registration = std::move_constructible<R> && requires(R& r, std::span<memory_event> into) {
  { r.fd() }
  noexcept->std::same_as<borrowed_fd>;
  { r.read(into) }
  noexcept->std::same_as<result<std::size_t>>;
};

/// What memory is watched with. give_back() returns pages to the system; the addresses stay.
template <class E>
concept memory_events = std::move_constructible<E> && memory_registration<typename E::registration> &&
    requires(E& e, std::span<std::byte> range) {
  { e.watch(range) }
  noexcept->std::same_as<result<typename E::registration>>;
  { E::give_back(range) }
  noexcept->std::same_as<result<void>>;
};

}  // namespace PADDOCK_NAMESPACE
