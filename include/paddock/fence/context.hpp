// SPDX-License-Identifier: BSL-1.0
/// \file
/// `fence_context`: where fences come from. It gives them their identity and states the bound of their completion.
#pragma once

#include <sys/random.h>

#include <atomic>
#include <chrono>
#include <cstdint>

#include <paddock/base/result.hpp>
#include <paddock/fence/fence.hpp>

namespace paddock {

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
/// the promise of whoever submits: a queue that hangs is reset and its fences are failed with fail_all().
/// Thread-safety: create() and the accessors from any thread. The context must outlive the creation of its fences, not
/// the fences.
class fence_context {
 public:
  /// Requires: `name` is a string literal, or outlives every fence. Kernel: dma_fence_context_alloc.
  fence_context(const char* name, std::chrono::nanoseconds timeout) noexcept
      : id_(detail::allocate_context_ids(1)), name_(name), timeout_(timeout) {}
  fence_context(const fence_context&) = delete;
  fence_context& operator=(const fence_context&) = delete;

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] const char* name() const noexcept { return name_; }
  /// After this long without completion a fence counts as hung.
  [[nodiscard]] std::chrono::nanoseconds timeout() const noexcept { return timeout_; }

  /// The sequence number of the next fence; each is given once.
  [[nodiscard]] std::uint64_t next_seqno() noexcept { return next_seqno_.fetch_add(1); }

  /// A pending fence with the next sequence number, on the heap. `ops` and `source` as in fence's constructor.
  /// Errors: out_of_memory.
  [[nodiscard]] result<fence_ptr> create(const fence_ops* ops = nullptr, void* source = nullptr) noexcept {
    auto* made = new (std::nothrow) fence(*this, ops, source);
    if (made == nullptr) {
      return fail(errc::out_of_memory, "fence_context::create");
    }
    if (made->release_ == nullptr) {
      made->release_ = &fence::delete_from_heap;
    }
    return fence_ptr::adopt(made);
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
  std::uint64_t id_;
  const char* name_;
  std::chrono::nanoseconds timeout_;
  std::atomic<std::uint64_t> next_seqno_{1};
};

inline fence::fence(fence_context& context, const fence_ops* ops, void* source) noexcept
    : ops_(ops != nullptr ? ops : &no_ops),
      release_(ops_->release),
      source_(source),
      name_(context.name()),
      context_(context.id()),
      seqno_(context.next_seqno()) {}

}  // namespace paddock
