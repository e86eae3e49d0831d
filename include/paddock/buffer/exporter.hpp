// SPDX-License-Identifier: BSL-1.0
/// \file
/// The concept `exporter`: who has the storage of a buffer, and what it can do with it. Kernel: struct dma_buf_ops.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/policy/residency.hpp>
#include <paddock/policy/route.hpp>

namespace PADDOCK_NAMESPACE {

class bound_buffer;

/// Whether an exporter's storage is behind a BAR, so that a device reaches it peer to peer or not at all.
enum class p2p_segments : std::uint8_t { never, maybe, always };

/// What holds for all of these together, exporters or sources of storage.
template <class... Each>
inline constexpr p2p_segments p2p_of_all = ((Each::p2p == p2p_segments::never) && ...)    ? p2p_segments::never
                                           : ((Each::p2p == p2p_segments::always) && ...) ? p2p_segments::always
                                                                                          : p2p_segments::maybe;

/// What every exporter has. All else is optional, and named by the concepts below.
///
///     E::p2p                 whether it has segments behind a BAR
///     E::revokes             whether it may take the storage back: a BAR's device is reset. Then a plain pinned
///                            importer does not compile
///     e.initial_storage()    what the buffer begins with
///
/// `using residency = ...` names the default of its buffers, else it is `pinned`. `E::maps_by_address = false` says
/// that no device can be given its storage by address: the kernel does not pin such pages for as long as a device
/// likes.
template <class E>
concept exporter = std::move_constructible<E> && requires(E& e) {
  { E::p2p } -> std::convertible_to<p2p_segments>;
  { E::revokes } -> std::convertible_to<bool>;
  { e.initial_storage() }
  noexcept->std::same_as<result<storage_ptr>>;
};

/// It can put the bytes elsewhere: places are numbered, the one that it likes best first. Called with the reservation
/// held, so it takes no reservation itself. prototype() is a segment as that place would give, for the question whether
/// devices reach it.
template <class E>
concept relocating_exporter = exporter<E> && requires(E& e, const E& seen, std::size_t where) {
  { seen.place_count() }
  noexcept->std::same_as<std::size_t>;
  { seen.initial_place() }
  noexcept->std::same_as<std::size_t>;
  { seen.prototype(where) }
  noexcept->std::same_as<segment>;
  { e.allocate(where) }
  noexcept->std::same_as<result<storage_ptr>>;
};

/// It is told when its storage must stay, and when it may go again: a cache of many objects, say. Called with the
/// reservation held; pin() may fail. Kernel: dma_buf_ops.pin and unpin, an exporter that has them is dynamic.
template <class E>
concept pinning_exporter = exporter<E> && requires(E& e) {
  { e.pin() }
  noexcept->std::same_as<result<void>>;
  { e.unpin() }
  noexcept->std::same_as<void>;
};

/// Its storage has caches between CPU and devices: what the CPU wrote is written back before a device reads
/// (sync_for_device), and what it has cached is dropped before it reads what a device wrote (sync_for_cpu). `bytes` is
/// the storage of the moment, or the copy that a device works on. Kernel: dma_sync_sgtable_for_device,
/// dma_sync_sgtable_for_cpu.
template <class E>
concept caching_exporter = exporter<E> && requires(E& e, const storage& bytes, direction dir) {
  { e.sync_for_device(bytes, dir) }
  noexcept->std::same_as<result<void>>;
  { e.sync_for_cpu(bytes, dir) }
  noexcept->std::same_as<result<void>>;
};

/// Each CPU access is bracketed, as on a kernel dma-buf. Kernel: dma_buf_ops.begin_cpu_access and end_cpu_access.
template <class E>
concept bracketing_exporter = exporter<E> && requires(E& e, access what) {
  { e.begin_cpu_access(what) }
  noexcept->std::same_as<result<void>>;
  { e.end_cpu_access(what) }
  noexcept->std::same_as<result<void>>;
};

/// The same of one whose storage is a kernel dma-buf now and something else later, maybe: it brackets itself, see
/// storage::begin_cpu_access().
template <class E>
concept storage_bracketing_exporter = exporter<E> && requires {
  requires std::bool_constant<E::brackets_storage>::value;
};

/// It has an identity in the kernel, so that all imports of it have one reservation.
template <class E>
concept identified_exporter = exporter<E> && requires(const E& e) {
  { e.id() }
  noexcept->std::same_as<buffer_id>;
};

/// It says for people what it is, which describe() prints. Kernel: dma_buf.exp_name.
template <class E>
concept named_exporter = exporter<E> && requires(const E& e) {
  { e.name() } -> std::convertible_to<std::string>;
};

/// It has to know its buffer: its storage goes with a device's reset, say. bound() is called once, at the end of
/// dma_buf::create(). hold_storage() is called by dma_buf::restore(): it fails while there is no storage to give new
/// life to, and keeps it there as long as what it returns lives. Both may take what is taken before reservations. See
/// bound_buffer.
template <class E>
concept bound_exporter = exporter<E> && requires(E& e, const E& seen, const bound_buffer& buffer) {
  { e.bound(buffer) }
  noexcept->std::same_as<result<void>>;
  { seen.hold_storage() }
  noexcept;
};

/// hold_storage() that does not wait, but fails with errc::busy: for who holds another exporter's storage meanwhile.
template <class E>
concept try_bound_exporter = bound_exporter<E> && requires(const E& seen) {
  requires std::same_as<decltype(seen.try_hold_storage()), decltype(seen.hold_storage())>;
};

/// There are registers in its storage, which are never moved, bounced or copied: attachments are p2p_only, and that is
/// their default.
template <class E>
concept register_exporter = exporter<E> && requires {
  requires std::bool_constant<E::has_registers>::value;
};

namespace detail {

template <class E>
using route_of = std::conditional_t<register_exporter<E>, p2p_only, prefer_p2p>;

template <class E>
struct residency_of {
  using type = pinned;
};
template <class E>
requires requires { typename E::residency; }
struct residency_of<E> {
  using type = typename E::residency;
};

template <class E>
[[nodiscard]] consteval bool has_pinnable_pages() noexcept {
  if constexpr (requires { E::maps_by_address; }) {
    return E::maps_by_address;
  } else {
    return true;
  }
}

}  // namespace detail
}  // namespace PADDOCK_NAMESPACE
