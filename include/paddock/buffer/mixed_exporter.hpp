// SPDX-License-Identifier: BSL-1.0
/// \file
/// `mixed_exporter`: one buffer of several pieces of storage, such as a header in memory and its data in device memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/result.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/buffer/segment.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/policy/residency.hpp>

namespace PADDOCK_NAMESPACE {

/// The segments of all parts, in this order, as one storage that keeps the parts.
/// Errors: invalid_argument (no parts, or an empty pointer), out_of_range (more than 64 bits), out_of_memory.
[[nodiscard]] inline result<storage_ptr> concatenate(std::span<const storage_ptr> parts,
                                                     place at = place::here()) noexcept {
  might_alloc(at);
  std::size_t count = 0;
  for (const storage_ptr& part : parts) {
    if (part == nullptr) {
      return fail(errc::invalid_argument, "concatenate: a part is no storage");
    }
    count += part->segments().size();
  }
  std::unique_ptr<storage_ptr[]> kept(new (std::nothrow) storage_ptr[parts.size()]);
  const std::unique_ptr<segment[]> all(new (std::nothrow) segment[count]);
  if (kept == nullptr || all == nullptr) {
    return fail(errc::out_of_memory, "concatenate");
  }
  std::ranges::copy(parts, kept.get());
  segment* next = all.get();
  for (const storage_ptr& part : parts) {
    next = std::ranges::copy(part->segments(), next).out;
  }
  return make_storage(std::move(kept), std::span<const segment>(all.get(), count), at);
}

/// Gives a buffer the parts of others' storage. `Revokes` is whether a part may be taken back, as a slice of a BAR is
/// when its device is reset: false is for those who know that none is. Whoever takes a part back calls revoke() of this
/// buffer too.
template <bool Revokes = true>
class mixed_exporter {
 public:
  static constexpr p2p_segments p2p = p2p_segments::maybe;
  static constexpr bool revokes = Revokes;
  using residency = std::conditional_t<Revokes, revocable, pinned>;

  /// Errors: as concatenate().
  [[nodiscard]] static result<mixed_exporter> create(std::span<const storage_ptr> parts) noexcept {
    PADDOCK_TRY(storage_ptr all, concatenate(parts));
    return mixed_exporter(std::move(all));
  }

  [[nodiscard]] result<storage_ptr> initial_storage() noexcept { return all_; }

 private:
  explicit mixed_exporter(storage_ptr all) noexcept : all_(std::move(all)) {}

  storage_ptr all_;
};
static_assert(exporter<mixed_exporter<>>);

}  // namespace PADDOCK_NAMESPACE
