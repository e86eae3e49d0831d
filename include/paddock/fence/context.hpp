// SPDX-License-Identifier: BSL-1.0
/// \file
/// `fence_context`: where fences come from. It gives them their identity and states the bound of their completion.
#pragma once

#include <sys/random.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include <paddock/base/result.hpp>
#include <paddock/fence/fence.hpp>

namespace PADDOCK_NAMESPACE {

namespace detail {

/// A random 64-bit base a shared object, so that two plugins never share an id; consecutive within it.
/// 0 is kept for fences without a timeline.
inline std::uint64_t allocate_context_ids(std::uint64_t count) noexcept {
  static std::atomic<std::uint64_t> next{[] {
    std::uint64_t base = 0;
    if (::getrandom(&base, sizeof base, 0) != static_cast<ssize_t>(sizeof base)) {
      base = static_cast<std::uint64_t>(monotonic_clock::now().time_since_epoch().count());
    }
    return base | (std::uint64_t{1} << 32U);
  }()};
  return next.fetch_add(count);
}

}  // namespace detail

/// One timeline of fences: those of a queue, say. Its fences complete within `timeout()` of their submission, which is
/// the promise of whoever submits: a queue that hangs is reset and its fences are failed with fail_all(). They complete
/// in the order of their numbers, which is what merge() goes by: of one context it keeps the latest. Thread-safety:
/// create() and the accessors from any thread. The context must outlive the creation of its fences, not the fences.
class fence_context {
 public:
  /// How the sequence numbers of a context compare.
  enum class seqno_order : std::uint8_t {
    never_wraps,      ///< As 64-bit numbers.
    wraps_at_32_bits  ///< As the signed difference of their lower halves, for hardware that counts in 32 bits.
  };

  /// Requires: `name` is a string literal, or outlives every fence. Kernel: dma_fence_context_alloc.
  fence_context(const char* name, std::chrono::nanoseconds timeout,
                seqno_order order = seqno_order::never_wraps) noexcept
      : id_(detail::allocate_context_ids(1)),
        name_(name),
        timeout_(timeout),
        tag_(order == seqno_order::wraps_at_32_bits ? detail::fence_tag::wrapping : 0) {}
  fence_context(const fence_context&) = delete;
  fence_context& operator=(const fence_context&) = delete;

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] const char* name() const noexcept { return name_; }
  /// After this long without completion a fence counts as hung.
  [[nodiscard]] std::chrono::nanoseconds timeout() const noexcept { return timeout_; }

  /// The sequence number of the next fence; each is given once.
  [[nodiscard]] std::uint64_t next_seqno() noexcept {
    // order: relaxed: a number, which publishes nothing.
    return next_seqno_.fetch_add(1, std::memory_order_relaxed);
  }

  /// A pending fence with the next sequence number, on the heap. `ops` and `source` as in fence's constructor.
  /// Errors: out_of_memory.
  [[nodiscard]] result<fence_ptr> create(const fence_ops* ops = nullptr, void* source = nullptr,
                                         place made = place::here()) noexcept {
    return create(fence_seqno(next_seqno()), ops, source, made);
  }
  /// The same with a sequence number that the driver counts itself.
  [[nodiscard]] result<fence_ptr> create(fence_seqno seqno, const fence_ops* ops = nullptr, void* source = nullptr,
                                         place made = place::here()) const noexcept {
    might_alloc(made);
    fence::parts parts = describe(seqno, ops, source);
    parts.tag |= detail::fence_tag::on_heap;
    void* const room = std::malloc(sizeof(fence));  // NOLINT(cppcoreguidelines-no-malloc): see delete_from_heap().
    if (room == nullptr) {
      return fail(errc::out_of_memory, "fence_context::create");
    }
    detail::note_fence_made(room, made);
    return fence_ptr::adopt(new (room) fence(parts));
  }

  /// Recovery: fails every pending fence of the range, in its order. The range is the driver's own record of what is in
  /// flight, oldest first; its elements dereference to fence. Returns how many were still pending.
  template <class Range>
  static std::size_t fail_all(Range&& pending, errc why) noexcept {
    std::size_t failed = 0;
    for (auto&& each : pending) {
      failed += (*each).fail(why) ? 1U : 0U;
    }
    return failed;
  }

 private:
  friend class fence;

  [[nodiscard]] fence::parts describe(fence_seqno seqno, const fence_ops* ops, void* source) const noexcept {
    return {id_, seqno.value(), name_, ops, source, tag_};
  }

  std::uint64_t id_;
  const char* name_;
  std::chrono::nanoseconds timeout_;
  std::uint32_t tag_;
  std::atomic<std::uint64_t> next_seqno_{1};
};

inline fence::fence(fence_context& context, const fence_ops* ops, void* source, place made) noexcept
    : fence(context, fence_seqno(context.next_seqno()), ops, source, made) {}

inline fence::fence(const fence_context& context, fence_seqno seqno, const fence_ops* ops, void* source,
                    place made) noexcept
    : fence(context.describe(seqno, ops, source)) {
  detail::note_fence_made(this, made);
}

}  // namespace PADDOCK_NAMESPACE
