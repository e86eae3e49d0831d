// SPDX-License-Identifier: BSL-1.0
/// \file
/// `fence_array`: one fence for several, complete with all of them or with the first. Kernel: dma_fence_array.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include <paddock/base/result.hpp>
#include <paddock/fence/array_core.hpp>
#include <paddock/fence/context.hpp>
#include <paddock/fence/fence.hpp>

namespace PADDOCK_NAMESPACE {

/// What a fence_array completes on.
using array_mode = detail::array_mode;

/// A fence over others, none of which is a container: merge() flattens. An array of `all` is a container itself; one of
/// `any` is not, since what waits for it does not wait for its members. Callbacks are put on the members when somebody
/// is first interested in the array, and hold one reference of it together; it holds its members, so that a member
/// which everybody else has lost is not found out. An array of `any` takes its other callbacks back when the first
/// member is done.
/// Thread-safety: as fence.
class alignas(alignof(fence_callback)) fence_array final : public fence,
                                                           private detail::array_core<detail::std_traits, fence_array> {
 public:
  /// A pending array with a reference of its own to each member. One allocation.
  /// Errors: invalid_argument for no member, an empty fence_ptr, a container, or an array in an array of `any`;
  /// out_of_memory.
  [[nodiscard]] static result<fence_ptr> create(std::span<const fence_ptr> members, array_mode mode = array_mode::all,
                                                place at = place::here()) noexcept {
    might_alloc(at);
    return make(members, mode);
  }
  /// The same with the caller's references, which saves counting them. They are taken only on success.
  [[nodiscard]] static result<fence_ptr> create_from(std::span<fence_ptr> members, array_mode mode = array_mode::all,
                                                     place at = place::here()) noexcept {
    might_alloc(at);
    return make(members, mode);
  }

  /// The array that a fence is, or null.
  [[nodiscard]] static fence_array* from(fence& f) noexcept {
    return f.is_array() ? static_cast<fence_array*>(&f) : nullptr;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// Requires: index < size().
  [[nodiscard]] fence& operator[](std::size_t index) const noexcept { return *members_[index].of; }
  /// Whether all members are of one context. Kernel: dma_fence_match_context.
  [[nodiscard]] bool all_of_context(std::uint64_t context) const noexcept {
    for (std::size_t i = 0; i < size_; ++i) {
      if ((*this)[i].context() != context) {
        return false;
      }
    }
    return true;
  }

 private:
  friend class detail::array_core<detail::std_traits, fence_array>;
  using core = detail::array_core<detail::std_traits, fence_array>;

  struct member final : fence_callback {
    member(fence_array& owner, fence_ptr on) noexcept : fence_callback(&run), array(owner), of(std::move(on)) {}
    member(const member&) = delete;
    member& operator=(const member&) = delete;
    ~member() { retire(); }
    static void run(fence_callback& node, const fence_outcome& outcome) noexcept {
      static_cast<member&>(node).array.member_done(outcome);
    }
    fence_array& array;
    fence_ptr of;
  };

  static const fence_ops operations;

  /// `Pointer` is fence_ptr, which is taken, or const fence_ptr, which is shared.
  template <class Pointer>
  [[nodiscard]] static result<fence_ptr> make(std::span<Pointer> members, array_mode mode) noexcept {
    if (members.empty() || members.size() >= UINT32_MAX) {
      return paddock::fail(errc::invalid_argument, "fence_array::create: no member, or too many");
    }
    for (const fence_ptr& each : members) {
      if (!each || each->is_container() || (mode == array_mode::any && each->is_array())) {
        return paddock::fail(errc::invalid_argument, "fence_array::create: a member is empty, or a container");
      }
    }
    void* const room = ::operator new(sizeof(fence_array) + members.size() * sizeof(member), std::nothrow);
    if (room == nullptr) {
      return paddock::fail(errc::out_of_memory, "fence_array::create");
    }
    return fence_ptr::adopt(new (room) fence_array(members, mode));
  }

  template <class Pointer>
  fence_array(std::span<Pointer> of, array_mode mode) noexcept
      : fence(parts{detail::allocate_context_ids(1), 1, "fence_array", &operations, nullptr,
                    detail::fence_tag::array | (mode == array_mode::any ? detail::fence_tag::any : 0)}),
        core(mode, static_cast<std::uint32_t>(of.size())),
        size_(of.size()),
        members_(reinterpret_cast<member*>(reinterpret_cast<char*>(this) + sizeof(fence_array))),
        mode_(mode) {
    for (std::size_t i = 0; i < size_; ++i) {
      new (&members_[i]) member(*this, std::move(of[i]));
    }
  }
  ~fence_array() { std::destroy_n(members_, size_); }

  // What array_core asks for.
  add_outcome add(std::size_t i) noexcept { return (*this)[i].add_callback(members_[i]); }
  [[nodiscard]] fence_outcome outcome_of(std::size_t i) const noexcept { return (*this)[i].outcome(); }
  bool try_remove(std::size_t i) noexcept { return (*this)[i].try_remove_callback(members_[i]); }
  bool complete(const fence_outcome& outcome) noexcept {
    return outcome.sys_errno == 0 ? signal(outcome.timestamp)
                                  : fail(outcome.sys_errno, given_timestamp(outcome.timestamp));
  }

  /// Asks the members, whether or not callbacks were put on them, and completes with what they say.
  bool poll_members() noexcept {
    fence_outcome found;
    for (std::size_t i = 0; i < size_; ++i) {
      const bool done = (*this)[i].poll();
      if (done && mode_ == array_mode::any) {
        return first_done(outcome_of(i));
      }
      if (!done && mode_ == array_mode::all) {
        return false;
      }
      if (done && found.sys_errno == 0) {
        const fence_outcome outcome = outcome_of(i);
        found = {outcome.sys_errno, std::max(found.timestamp, outcome.timestamp)};
      }
    }
    return mode_ == array_mode::all && complete(found);
  }

  std::size_t size_;
  member* members_;
  array_mode mode_;
};

inline constexpr fence_ops fence_array::operations{
    .enable_signaling =
        [](fence& f) noexcept {
          static_cast<fence_array&>(f).arm();
          return true;
        },
    .poll = [](fence& f) noexcept { return static_cast<fence_array&>(f).poll_members(); },
    .set_deadline =
        [](fence& f, deadline wish) noexcept {
          auto& array = static_cast<fence_array&>(f);
          for (std::size_t i = 0; i < array.size_; ++i) {
            array[i].set_deadline(wish);
          }
        },
    .release =
        [](fence& f) noexcept {
          auto& array = static_cast<fence_array&>(f);
          array.~fence_array();
          ::operator delete(static_cast<void*>(&array));
        },
};

}  // namespace PADDOCK_NAMESPACE
