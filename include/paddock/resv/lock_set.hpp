// SPDX-License-Identifier: BSL-1.0
/// \file
/// `lock_set`: many reservations locked together, in any order, without deadlock. Kernel: drm_exec.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <ranges>
#include <stop_token>
#include <utility>

#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/resv/reservation.hpp>

namespace PADDOCK_NAMESPACE {

/// Whether a reservation may be named twice: by two buffers that share it, say.
enum class duplicates : std::uint8_t {
  refused,  ///< errc::already_locked.
  ignored,  ///< The second time it only gets its room.
};

/// Locks reservations and keeps their proofs. When an older context is in the way it lets go of everything, waits for
/// that one lock, and begins anew, so that what is to be locked is named in a function that may run several times:
///
///     lock_set locks;
///     const auto lock_both = [&]() -> result<void> {
///       PADDOCK_TRY_VOID(locks.lock(source, 1));
///       return locks.lock(target, 1);
///     };
///     PADDOCK_TRY_VOID(locks.lock_all(lock_both));
///     PADDOCK_TRY_VOID(source.add(locks.held(source), job, usage::read));
///
/// The destructor unlocks, the last one first: the reservations must live until then, and while lock_all() waits for
/// one of them. Up to sixteen locks allocate nothing.
/// Thread-safety: one thread at a time.
class lock_set {
 public:
  /// `until` and `stop` hold for every lock that is waited for.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): see slot.
  explicit lock_set(duplicates twice = duplicates::refused, deadline until = deadline::never(),
                    std::stop_token stop = {}) noexcept
      : until_(until), stop_(std::move(stop)), twice_(twice) {}
  lock_set(const lock_set&) = delete;
  lock_set& operator=(const lock_set&) = delete;
  ~lock_set() { unlock_all(); }

  /// Runs `lock_them`, which calls lock() and passes its errors on, until it succeeds with all locks held or fails for
  /// another reason than contention; then nothing is locked. Returns what it returned.
  /// Errors: those of lock() and of `lock_them`; invalid_argument when the set holds locks already.
  /// Kernel: drm_exec_until_all_locked.
  template <std::invocable LockThem>
  [[nodiscard]] result<void> lock_all(LockThem lock_them) noexcept {
    if (count_ != 0) {
      return fail(errc::invalid_argument, "lock_set::lock_all: the set holds locks");
    }
    context_.renew();
    for (;;) {
      result<void> ended = lock_them();
      first_ = nullptr;  // What was waited for is held, whether or not it was asked for again.
      reservation* const wanted = contended_;
      if (ended.has_value() && wanted == nullptr) {
        return {};
      }
      unlock_all();
      if (ended.has_value()) {
        return fail(errc::deadlock, "lock_set::lock_all: an error of lock() was not passed on");
      }
      if (ended.error() != errc::deadlock || wanted == nullptr) {
        return ended;
      }
      ++retries_;
      PADDOCK_TRY_VOID(lock_contended(*wanted));
    }
  }
  /// The same for a range whose elements are, or dereference to, reservations or buffers, each with room for so many
  /// fences.
  /// A range that is gone after the call must not own them: of a temporary container, pointers only, and a view that is
  /// not borrowed has a name.
  template <std::ranges::forward_range Range>
  requires(std::is_lvalue_reference_v<Range> || std::ranges::borrowed_range<Range> ||
           std::is_pointer_v<std::ranges::range_value_t<Range>>)
      [[nodiscard]] result<void> lock_all(Range&& reservations, std::uint32_t fences = 0,
                                          place at = place::here()) noexcept {
    return lock_all([&]() noexcept -> result<void> {
      for (auto&& each : reservations) {
        if constexpr (requires { lock(each, fences, at); }) {
          PADDOCK_TRY_VOID(lock(each, fences, at));
        } else {
          PADDOCK_TRY_VOID(lock(*each, fences, at));
        }
      }
      return {};
    });
  }

  /// One of them, with room for so many fences; what was reserved in earlier calls stays. When the room cannot be had,
  /// this lock is left again. Errors: deadlock, which lock_all() wants passed on; already_locked, unless duplicates are
  /// ignored; out_of_memory; timed_out; canceled. Kernel: drm_exec_lock_obj, drm_exec_prepare_obj.
  [[nodiscard]] result<void> lock(reservation& r, std::uint32_t fences = 0, place at = place::here()) noexcept {
    if (first_ == nullptr && count_ < inside && r.take_free(context_, at)) [[likely]] {
      const resv_lock& made = *new (&inside_[count_++]) resv_lock(r, &context_);
      return fences == 0 ? result<void>() : reserve_last(made, r, fences, at);
    }
    return lock_slowly(r, fences, at);
  }

  /// The same for a buffer, by its reservation.
  template <class Buffer>
  requires requires(Buffer& b) {
    { b.reservation() } -> std::convertible_to<reservation&>;
  }
  [[nodiscard]] result<void> lock(Buffer& buffer, std::uint32_t fences = 0, place at = place::here()) noexcept {
    return lock(static_cast<reservation&>(buffer.reservation()), fences, at);
  }

  /// The proof for one that is held. For any other it is one that proves nothing, so that its user gets wrong_lock.
  /// It stays where it is until the lock is left.
  [[nodiscard]] const resv_lock& held(const reservation& r) const& noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      if (const resv_lock& each = (*this)[i]; each.holds(r)) {
        return each;
      }
    }
    return none_;
  }
  /// The same for a buffer, by its reservation.
  template <class Buffer>
  requires requires(const Buffer& b) {
    { b.reservation() } -> std::convertible_to<const paddock::reservation&>;
  }
  [[nodiscard]] const resv_lock& held(const Buffer& buffer) const& noexcept {
    return held(static_cast<const paddock::reservation&>(buffer.reservation()));
  }
  /// A set that is gone after the call has no proof to give.
  template <class Any>
  const resv_lock& held(const Any&) const&& = delete;

  /// How many are held.
  [[nodiscard]] std::size_t size() const noexcept {
    return count_ - (count_ != 0 && !static_cast<bool>((*this)[0]) ? 1U : 0U);
  }
  /// How often it had to begin anew.
  [[nodiscard]] std::uint64_t retries() const noexcept { return retries_; }

  /// Leaves all of them, the last one first. The set can be used again. Kernel: drm_exec_fini.
  void unlock_all() noexcept {
    while (count_ > 0) {
      drop_last();
    }
    first_ = nullptr;
    contended_ = nullptr;
  }

 private:
  static constexpr std::size_t inside = 16;
  static constexpr std::size_t in_chunk = 64;
  /// For a proof, which is made when its lock is taken: most sets take few.
  struct slot {
    alignas(resv_lock) std::byte bytes[sizeof(resv_lock)];
  };
  struct chunk {  // NOLINT(cppcoreguidelines-pro-type-member-init): see slot.
    slot locks[in_chunk];
    std::unique_ptr<chunk> next;
  };

  [[nodiscard]] void* room_at(std::size_t index) noexcept {
    if (index < inside) {
      return &inside_[index];
    }
    index -= inside;
    chunk* at = more_.get();
    for (; index >= in_chunk; index -= in_chunk) {
      at = at->next.get();
    }
    return &at->locks[index];
  }
  [[nodiscard]] resv_lock& operator[](std::size_t index) noexcept {
    return *std::launder(static_cast<resv_lock*>(room_at(index)));
  }
  void drop_last() noexcept { (*this)[--count_].~resv_lock(); }
  [[nodiscard]] const resv_lock& operator[](std::size_t index) const noexcept {
    return const_cast<lock_set&>(*this)[index];
  }

  [[nodiscard]] void* room_for_next() noexcept {
    if (count_ >= inside) {
      std::unique_ptr<chunk>* at = &more_;
      for (std::size_t index = count_ - inside; index >= in_chunk; index -= in_chunk) {
        at = &(*at)->next;
      }
      if (*at == nullptr) {
        at->reset(new (std::nothrow) chunk);
      }
      if (*at == nullptr) {
        return nullptr;
      }
    }
    return room_at(count_);
  }

  /// One that is not free, or that there is no room for inside.
  [[nodiscard]] [[gnu::noinline]] result<void> lock_slowly(reservation& r, std::uint32_t fences, place at) noexcept {
    if (&r == first_) {
      first_ = nullptr;  // The one that was waited for; it is held.
      result<void> ended = reserve((*this)[0], r, fences, at);
      if (!ended) {
        (*this)[0].unlock();  // Its place stays, since the proofs of others do not move.
      }
      return ended;
    }
    void* const room = room_for_next();
    if (room == nullptr) {
      return fail(errc::out_of_memory, "lock_set::lock");
    }
    if (const result<void> taken = r.take(&context_, until_, stop_, at); !taken) [[unlikely]] {
      if (const resv_lock& mine = held(r);
          taken.error() == errc::already_locked && twice_ == duplicates::ignored && mine.holds(r)) {
        return reserve(mine, r, fences, at);
      }
      if (taken.error() == errc::deadlock) {
        contended_ = &r;
        contended_at_ = at;
      }
      return tl::make_unexpected(taken.error());
    }
    const resv_lock& made = *new (room) resv_lock(r, &context_);
    ++count_;
    return reserve_last(made, r, fences, at);
  }
  /// Without the room the lock is left.
  [[nodiscard]] result<void> reserve_last(const resv_lock& last, reservation& r, std::uint32_t fences,
                                          place at) noexcept {
    result<void> ended = reserve(last, r, fences, at);
    if (!ended) {
      drop_last();
    }
    return ended;
  }

  [[nodiscard]] static result<void> reserve(const resv_lock& proof, reservation& r, std::uint32_t fences,
                                            place at) noexcept {
    return fences == 0 ? result<void>() : r.reserve(proof, fences, at);
  }

  /// Waits for the lock that was in the way. Requires: nothing is held.
  [[nodiscard]] result<void> lock_contended(reservation& wanted) noexcept {
    PADDOCK_TRY_VOID(wanted.take(&context_, until_, stop_, contended_at_));
    new (&inside_[0]) resv_lock(wanted, &context_);
    count_ = 1;
    first_ = &wanted;
    return {};
  }

  acquire_context context_;
  slot inside_[inside];
  std::unique_ptr<chunk> more_;
  std::size_t count_{0};
  std::uint64_t retries_{0};
  reservation* contended_{nullptr};  ///< Which lock() was refused last.
  reservation* first_{nullptr};      ///< Held already, and not asked for yet in this round.
  [[no_unique_address]] place contended_at_;
  const deadline until_;
  const std::stop_token stop_;
  const duplicates twice_;
  const resv_lock none_;
};

}  // namespace PADDOCK_NAMESPACE
