// SPDX-License-Identifier: BSL-1.0
/// \file
/// Moves a pattern along a route with the device itself, and tells what arrived: the last word where rules are silent.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include <paddock/base/mmio.hpp>
#include <paddock/base/result.hpp>
#include <paddock/pci/route.hpp>

namespace PADDOCK_NAMESPACE::pci {

/// A client's DMA engine with both ends mapped: memory of this process that the client reaches, and the provider's
/// memory. It copies between them by DMA, and returns when the copy is over.
template <class Engine>
concept dma_engine = requires(Engine& client) {
  /// The function whose DMA it is.
  { client.where() } -> std::convertible_to<address>;
  /// System memory that the client reaches, as large as one copy.
  { client.memory() } -> std::convertible_to<std::span<std::byte>>;
  /// The client reads all of memory() and writes it to the start of the provider's memory.
  { client.write_provider() } -> std::same_as<result<void>>;
  /// The client reads the start of the provider's memory into all of memory().
  { client.read_provider() } -> std::same_as<result<void>>;
};

/// What became of one direction.
struct arrival {
  enum class state : std::uint8_t {
    arrived,  ///< Every byte.
    lost,     ///< None: the target is as it was before.
    damaged,  ///< Some, or others.
    failed,   ///< The engine reported `why`.
  };
  state what{state::failed};
  std::optional<error> why;
  std::size_t first_wrong{0};  ///< Offset of the first four bytes that are not as sent; for damaged.

  [[nodiscard]] bool is_good() const noexcept { return what == state::arrived; }
};

[[nodiscard]] constexpr const char* name(arrival::state what) noexcept {
  switch (what) {
    case arrival::state::arrived: return "arrived";
    case arrival::state::lost: return "lost";
    case arrival::state::damaged: return "damaged";
    case arrival::state::failed: return "failed";
  }
  return "failed";
}

/// Both directions, as issued by the client.
struct verification {
  arrival reads;
  arrival writes;

  [[nodiscard]] const arrival& of(transaction what) const noexcept {
    return what == transaction::read ? reads : writes;
  }
  /// Whether a verdict that was certain is wrong here. An unknown one cannot be.
  [[nodiscard]] bool contradicts(const route& way) const noexcept {
    return way.type() != route_type::unknown && way.is_supported() != of(way.what()).is_good();
  }
};

namespace detail {

/// No two words of a pattern are alike, nor are those of two patterns, so that a shifted or stale word shows.
[[nodiscard]] constexpr std::uint32_t pattern_word(std::uint32_t pattern, std::size_t word) noexcept {
  return (static_cast<std::uint32_t>(word) * 0x9e3779b9U + pattern * 0x85ebca6bU) ^ (pattern << 28);
}

inline void fill(mmio_span to, std::size_t bytes, std::uint32_t pattern) noexcept {
  for (std::size_t at = 0; at < bytes; at += 4) {
    to.write32(at, pattern_word(pattern, at / 4));
  }
  flush_write_combining();
  static_cast<void>(to.read32(0));  // Posted writes are there when a read of the same device comes back.
}
inline void fill(std::span<std::byte> to, std::uint32_t pattern) noexcept {
  for (std::size_t at = 0; at < to.size(); at += 4) {
    const std::uint32_t word = pattern_word(pattern, at / 4);
    std::memcpy(&to[at], &word, sizeof word);
  }
}

/// Compares with what was sent; `before` is what was there.
template <class WordAt>
[[nodiscard]] arrival compare(std::size_t bytes, std::uint32_t sent, std::uint32_t before, const WordAt& word_at) {
  arrival seen{arrival::state::arrived, std::nullopt, 0};
  bool untouched = true;
  for (std::size_t word = bytes / 4; word-- > 0;) {
    const std::uint32_t is = word_at(word);
    if (is != pattern_word(sent, word)) {
      seen.what = arrival::state::damaged;
      seen.first_wrong = word * 4;
    }
    untouched = untouched && is == pattern_word(before, word);
  }
  if (untouched) {
    seen = {arrival::state::lost, std::nullopt, 0};
  }
  return seen;
}

}  // namespace detail

/// Has the route's client write a pattern into the provider's memory and read another one out of it, whatever the
/// verdict is, and compares both with what the CPU sees through `provider_memory`, which is the same memory. Overwrites
/// client.memory() and as many bytes of the provider's; it is the caller's to keep both to themselves meanwhile.
/// A route that loses data may also hang the client: bound the engine's own waits.
/// Returns: both directions, apart; a failure of the engine is part of the answer.
/// Errors: invalid_argument when the engine is not that of the route's client, or client.memory() is empty or no
/// multiple of 4 bytes; out_of_range when the provider's is shorter. Thread-safety: none.
template <dma_engine Engine>
[[nodiscard]] result<verification> verify(const route& way, Engine& client, mmio_span provider_memory) {
  if (address(client.where()) != way.client()->where) {
    return fail(errc::invalid_argument, "verify: another function's engine");
  }
  const std::span<std::byte> memory = client.memory();
  const std::size_t bytes = memory.size();
  if (bytes == 0 || bytes % 4 != 0) {
    return fail(errc::invalid_argument, "verify: the client's memory");
  }
  if (provider_memory.size() < bytes) {
    return fail(errc::out_of_range, "verify: the provider's memory");
  }
  constexpr std::uint32_t old = 1;
  constexpr std::uint32_t written = 2;
  constexpr std::uint32_t read = 3;
  verification found;

  detail::fill(provider_memory, bytes, old);
  detail::fill(memory, written);
  const result<void> wrote = client.write_provider();
  found.writes =
      wrote ? detail::compare(bytes, written, old, [&](std::size_t word) { return provider_memory.read32(word * 4); })
            : arrival{arrival::state::failed, wrote.error(), 0};

  detail::fill(provider_memory, bytes, read);
  detail::fill(memory, old);
  const result<void> got = client.read_provider();
  found.reads = got ? detail::compare(bytes, read, old,
                                      [&](std::size_t word) {
                                        std::uint32_t value = 0;
                                        std::memcpy(&value, &memory[word * 4], sizeof value);
                                        return value;
                                      })
                    : arrival{arrival::state::failed, got.error(), 0};
  return found;
}

/// What was found out, as a quirk for route_between(): the next verdict rests on it. It speaks of the host bridge where
/// the route goes through the root complex, else of the provider, and so of all parts of the same kind; of a success
/// between two kinds of host bridges it says nothing. `why` must outlive the quirk.
/// Errors: not_found when the places, or the ids of the part, are not known, or there is nothing to say.
[[nodiscard]] inline result<quirk> learned(const route& way, const verification& seen, const char* why) noexcept {
  if (!way.distance()) {
    return fail(errc::not_found, "learned: a function without a place");
  }
  const auto first_of = [](const node& end) { return end.tree().at(end.root().first); };
  const bool root_complex = way.root_rule() != root_complex_rule::not_asked;
  const node part = root_complex ? first_of(way.provider()) : way.provider();
  if (part->vendor == quirk::any || part->device == quirk::any) {
    return fail(errc::not_found, "learned: a part without ids");
  }
  const node other = root_complex ? first_of(way.client()) : part;
  if (seen.of(way.what()).is_good() && (other->vendor != part->vendor || other->device != part->device)) {
    return fail(errc::not_found, "learned: two kinds of host bridges");
  }
  return quirk{root_complex ? quirk::role::host_bridge : quirk::role::provider,
               part->vendor,
               part->device,
               way.what() == transaction::read ? transactions::reads : transactions::writes,
               seen.of(way.what()).is_good() ? quirk::effect::works : quirk::effect::fails,
               why};
}

}  // namespace PADDOCK_NAMESPACE::pci
