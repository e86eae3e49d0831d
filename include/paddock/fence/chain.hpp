// SPDX-License-Identifier: BSL-1.0
/// \file
/// `fence_chain`: the links of a timeline, each a fence for its own work and all before it. Kernel: dma_fence_chain.
#pragma once

#include <algorithm>
#include <cstdint>
#include <new>
#include <utility>

#include <paddock/base/result.hpp>
#include <paddock/fence/chain_core.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/fence.hpp>
#include <paddock/fence/stub.hpp>

namespace PADDOCK_NAMESPACE {

/// A link with its own fence and the link before it; complete when its own fence and all those before it are. Its
/// sequence number is the point. The errors of the fences do not pass into the links, as in the kernel: who needs one
/// holds the fence itself. Finished links are taken out as the chain is walked, so that a chain is as long as what is
/// pending.
/// Thread-safety: as fence.
class fence_chain : public fence, private detail::chain_core<detail::std_traits, fence, fence_chain> {
 public:
  /// The link for `point` after `previous`, which may be empty, or a fence that is no chain. A point that is not above
  /// that of the link before begins a context of its own and is raised to that one: it still waits for all before it.
  /// Errors: invalid_argument for an empty or chained `contained`; out_of_memory.
  [[nodiscard]] static result<fence_ptr> create(fence_ptr previous, fence_ptr contained, std::uint64_t point,
                                                place at = place::here()) noexcept {
    might_alloc(at);
    if (!contained || contained->is_chain()) {
      return paddock::fail(errc::invalid_argument, "fence_chain::create: the fence of a link is empty, or a chain");
    }
    auto* const made =
        new (std::nothrow) fence_chain(std::move(previous), std::move(contained), point, &operations, &destroy);
    if (made == nullptr) {
      return paddock::fail(errc::out_of_memory, "fence_chain::create");
    }
    return fence_ptr::adopt(made);
  }

  /// The link that a fence is, or null.
  [[nodiscard]] static fence_chain* from(fence& f) noexcept {
    return f.is_chain() ? static_cast<fence_chain*>(&f) : nullptr;
  }

  /// The fence of this link alone.
  [[nodiscard]] fence& contained() const noexcept { return *contained_; }
  /// The nearest link before this one whose own fence is pending, or what else the chain began with; empty when there
  /// is nothing left. Takes finished links out. Kernel: dma_fence_chain_walk.
  [[nodiscard]] fence_ptr walk() noexcept { return fence_ptr::adopt(core::next_pending()); }
  /// The point of the link that this one was made after, in the same context; else 0. Stays when that link goes.
  [[nodiscard]] std::uint64_t previous_point() const noexcept { return previous_point_; }

  /// The fence to wait for so that `point` is reached: the oldest link from `head` back that covers it. A gap belongs
  /// to the point above it. Linear in the links that are pending, since a link knows only the one before it, which is
  /// what lets each go as soon as it is finished; a `timeline` answers without a search. Returns: `head` for point 0; a
  /// stub when the point was reached and its link is gone. Errors: invalid_argument when `head` is no chain;
  /// not_submitted when the point is above it. Kernel: dma_fence_chain_find_seqno.
  [[nodiscard]] static result<fence_ptr> find(fence_ptr head, std::uint64_t point) noexcept {
    if (point == 0) {
      return head;
    }
    fence_chain* const first = head ? from(*head) : nullptr;
    if (first == nullptr) {
      return paddock::fail(errc::invalid_argument, "fence_chain::find: not a chain");
    }
    if (first->seqno() < point) {
      return paddock::fail(errc::not_submitted, "fence_chain::find");
    }
    const std::uint64_t of_context = first->context();
    while (head) {
      fence_chain* const link = from(*head);
      if (link == nullptr || link->context() != of_context || link->previous_point_ < point) {
        return head;
      }
      head = link->walk();
    }
    return stub_fence();
  }

 protected:
  using destroyer = void (*)(fence_chain&) noexcept;

  fence_chain(fence_ptr previous, fence_ptr contained, std::uint64_t point, const fence_ops* ops,
              destroyer destroy_this) noexcept
      : fence_chain(placed(previous, point), std::move(previous), std::move(contained), ops, destroy_this) {}
  ~fence_chain() = default;

  static const fence_ops operations;

 private:
  template <class, class, class>
  friend class detail::chain_core;
  using core = detail::chain_core<detail::std_traits, fence, fence_chain>;

  struct placement {
    std::uint64_t context;
    std::uint64_t point;
    std::uint64_t previous_point;
  };
  [[nodiscard]] static placement placed(const fence_ptr& previous, std::uint64_t point) noexcept {
    const fence_chain* const before = previous ? from(*previous) : nullptr;
    if (before != nullptr && point > before->seqno()) {
      return {before->context(), point, before->seqno()};
    }
    return {detail::allocate_context_ids(1), before != nullptr ? std::max(point, before->seqno()) : point, 0};
  }

  struct callback final : fence_callback {
    explicit callback(fence_chain& owner) noexcept : fence_callback(&run), link(owner) {}
    callback(const callback&) = delete;
    callback& operator=(const callback&) = delete;
    ~callback() { retire(); }
    static void run(fence_callback& node, const fence_outcome&) noexcept {
      static_cast<callback&>(node).link.wait_for_next();
    }
    fence_chain& link;
  };

  fence_chain(const placement& place, fence_ptr&& previous, fence_ptr&& contained, const fence_ops* ops,
              destroyer destroy_this) noexcept
      : fence(parts{place.context, place.point, "fence_chain", ops, nullptr, detail::fence_tag::chain}),
        core(previous.release()),
        previous_point_(place.previous_point),
        contained_(std::move(contained)),
        callback_(*this),
        destroy_(destroy_this) {}

  // What chain_core asks for.
  add_outcome add_to(fence& pending) noexcept { return pending.add_callback(callback_); }
  void complete() noexcept { signal(); }

  bool poll_links() noexcept {
    // All of them, also behind one that is pending: each may need to be asked.
    bool done = contained().poll();
    for (fence_ptr held = walk(); held;) {
      fence_chain* const link = from(*held);
      done = (link != nullptr ? link->contained() : *held).poll() && done;
      held = link != nullptr ? link->walk() : fence_ptr();
    }
    return done;
  }

  static void destroy(fence_chain& link) noexcept { delete &link; }

  /// Frees a link, and those that only it kept, one after the other: a chain may be longer than the stack is deep.
  static void release_links(fence& f) noexcept {
    static thread_local fence_chain* waiting = nullptr;
    static thread_local bool busy = false;
    auto& link = static_cast<fence_chain&>(f);
    link.next_released_ = std::exchange(waiting, &link);
    if (busy) {
      return;
    }
    busy = true;
    while (waiting != nullptr) {
      fence_chain* const gone = std::exchange(waiting, waiting->next_released_);
      // What these two put may come back here, and only adds to the list.
      const fence_ptr previous = fence_ptr::adopt(gone->slot().take());
      const fence_ptr contained = std::move(gone->contained_);
      gone->destroy_(*gone);
    }
    busy = false;
  }

  std::uint64_t previous_point_;
  fence_ptr contained_;
  callback callback_;
  destroyer destroy_;
  fence_chain* next_released_{nullptr};
};

inline constexpr fence_ops fence_chain::operations{
    .enable_signaling =
        [](fence& f) noexcept {
          auto& link = static_cast<fence_chain&>(f);
          link.get();  // The callback's, until there is nothing left to wait for.
          link.wait_for_next();
          return true;
        },
    .poll = [](fence& f) noexcept { return static_cast<fence_chain&>(f).poll_links(); },
    .set_deadline =
        [](fence& f, deadline wish) noexcept {
          fence_ptr held(f);
          while (held) {
            fence_chain* const link = from(*held);
            (link != nullptr ? link->contained() : *held).set_deadline(wish);
            held = link != nullptr ? link->walk() : fence_ptr();
          }
        },
    .release = &fence_chain::release_links,
};

}  // namespace PADDOCK_NAMESPACE
