// SPDX-License-Identifier: BSL-1.0
/// \file
/// The rules of fences and reservations that no type can carry, checked while the program runs: what the kernel's
/// lockdep checks around dma_fence and dma_resv. Only in a program that is built with the CMake target
/// paddock::checked; elsewhere all of this is empty.
#pragma once

#include <cstdint>

#include <paddock/version.hpp>

#if defined(PADDOCK_CHECKED)
#include <paddock/detail/checker.hpp>
#endif

namespace PADDOCK_NAMESPACE {

/// Whether this program is checked.
#if defined(PADDOCK_CHECKED)
inline constexpr bool is_checked = true;
#else
inline constexpr bool is_checked = false;

/// Where something was done: the last argument of what is checked, filled in by itself. Here it holds nothing.
struct place {
  [[nodiscard]] static constexpr place here() noexcept { return {}; }
};
#endif

/// While one lives, the thread is on the way to signal a fence that others may wait for: it must not wait for a fence,
/// allocate memory, lock a reservation, or take a lock under which somebody waits for a fence. To be put around the
/// path from the hardware's completion to fence::signal(), which is in such a section by itself, callbacks included.
/// Thread-safety: begun and ended by one thread, the latest first. Kernel: dma_fence_begin_signalling.
class signaling_section {
 public:
#if defined(PADDOCK_CHECKED)
  explicit signaling_section(place at = place::here()) noexcept : at_(at) {
    detail::checker::acquired(detail::lock_kind::fence, this, nullptr, at);  // To be on the way is not to wait.
  }
  ~signaling_section() { detail::checker::release(detail::lock_kind::fence, this, at_); }
#else
  explicit signaling_section(place = place::here()) noexcept {}
  ~signaling_section() = default;
#endif
  signaling_section(const signaling_section&) = delete;
  signaling_section& operator=(const signaling_section&) = delete;

#if defined(PADDOCK_CHECKED)
 private:
  place at_;
#endif
};

/// While one lives, the thread is in a memory monitor, or has its lock: it was told that pages will go. It may wait for
/// fences, and so must not allocate nor lock a reservation, and nobody may enter it on the way to signal a fence.
/// Thread-safety: as signaling_section. Kernel: the rules of an MMU notifier.
class monitor_section {
 public:
#if defined(PADDOCK_CHECKED)
  explicit monitor_section(place at = place::here()) noexcept : at_(at) {
    detail::checker::acquire(detail::lock_kind::monitor, this, nullptr, at);
  }
  ~monitor_section() { detail::checker::release(detail::lock_kind::monitor, this, at_); }
#else
  explicit monitor_section(place = place::here()) noexcept {}
  ~monitor_section() = default;
#endif
  monitor_section(const monitor_section&) = delete;
  monitor_section& operator=(const monitor_section&) = delete;

#if defined(PADDOCK_CHECKED)
 private:
  place at_;
#endif
};

/// While one lives, the thread has a lock of the program's own, whose order to all the others is learned.
/// All locks of one `kind`, a string literal, are one. Thread-safety: as signaling_section.
class checked_lock_section {
 public:
#if defined(PADDOCK_CHECKED)
  checked_lock_section(const char* kind, const void* lock, place at = place::here()) noexcept
      : kind_(detail::checker::kind_of(kind)), lock_(lock), at_(at) {
    detail::checker::acquire(kind_, lock_, nullptr, at);
  }
  ~checked_lock_section() { detail::checker::release(kind_, lock_, at_); }
#else
  checked_lock_section(const char*, const void*, place = place::here()) noexcept {}
  ~checked_lock_section() = default;
#endif
  checked_lock_section(const checked_lock_section&) = delete;
  checked_lock_section& operator=(const checked_lock_section&) = delete;

#if defined(PADDOCK_CHECKED)
 private:
  detail::lock_kind kind_;
  const void* lock_;
  place at_;
#endif
};

/// Says that what follows may allocate: memory may have to be reclaimed for it, from users of memory monitors, who wait
/// for fences. Kernel: might_alloc.
inline void might_alloc([[maybe_unused]] place at = place::here()) noexcept {
#if defined(PADDOCK_CHECKED)
  detail::checker::touch(detail::lock_kind::allocation, at);
#endif
}

/// Says that what follows may wait for a fence; waits do so themselves, also for fences that are complete.
inline void might_wait([[maybe_unused]] place at = place::here()) noexcept {
#if defined(PADDOCK_CHECKED)
  detail::checker::touch(detail::lock_kind::fence, at);
#endif
}

namespace detail {

/// While one lives, a memory monitor waits for this thread. As monitor_section, but nobody waits in order to enter, so
/// who is on the way to signal a fence may.
class monitor_use_section {
 public:
#if defined(PADDOCK_CHECKED)
  explicit monitor_use_section(place at) noexcept : at_(at) {
    checker::acquired(lock_kind::monitor, this, nullptr, at);
  }
  ~monitor_use_section() { checker::release(lock_kind::monitor, this, at_); }
#else
  explicit monitor_use_section(place) noexcept {}
  ~monitor_use_section() = default;
#endif
  monitor_use_section(const monitor_use_section&) = delete;
  monitor_use_section& operator=(const monitor_use_section&) = delete;

#if defined(PADDOCK_CHECKED)
 private:
  place at_;
#endif
};

// What the fences and reservations say of themselves.

inline void note_fence_made([[maybe_unused]] const void* fence, [[maybe_unused]] place at) noexcept {
#if defined(PADDOCK_CHECKED)
  checker::fence_made(fence, at);
#endif
}
inline void note_fence_gone([[maybe_unused]] const void* fence) noexcept {
#if defined(PADDOCK_CHECKED)
  checker::fence_gone(fence);
#endif
}
inline void note_fence_abandoned([[maybe_unused]] const void* fence, [[maybe_unused]] const char* name,
                                 [[maybe_unused]] std::uint64_t context, [[maybe_unused]] std::uint64_t seqno,
                                 [[maybe_unused]] const void* dropped_by) noexcept {
#if defined(PADDOCK_CHECKED)
  checker::fence_abandoned(fence, name, context, seqno, dropped_by);
#endif
}
/// A pin or mapping, which was begun there, is left when its attachment goes here.
inline void note_unbalanced_use([[maybe_unused]] const char* text, [[maybe_unused]] place ended,
                                [[maybe_unused]] place begun) noexcept {
#if defined(PADDOCK_CHECKED)
  checker::unbalanced_use(text, ended, begun);
#endif
}
/// About to wait for it; note_locked() or note_refused() follows.
inline void note_locking([[maybe_unused]] const void* reservation, [[maybe_unused]] const void* context,
                         [[maybe_unused]] place at) noexcept {
#if defined(PADDOCK_CHECKED)
  checker::acquire(lock_kind::reservation, reservation, context, at);
#endif
}
inline void note_locked([[maybe_unused]] const void* reservation) noexcept {
#if defined(PADDOCK_CHECKED)
  checker::locked(reservation);
#endif
}
inline void note_refused([[maybe_unused]] const void* reservation) noexcept {
#if defined(PADDOCK_CHECKED)
  checker::refused(reservation);
#endif
}
inline void note_locked_at_once([[maybe_unused]] const void* reservation, [[maybe_unused]] place at) noexcept {
#if defined(PADDOCK_CHECKED)
  checker::acquired(lock_kind::reservation, reservation, nullptr, at);
  checker::locked(reservation);
#endif
}
inline void note_unlocked([[maybe_unused]] const void* reservation) noexcept {
#if defined(PADDOCK_CHECKED)
  checker::unlocked(reservation);
#endif
}
inline void note_reservation_gone([[maybe_unused]] const void* reservation) noexcept {
#if defined(PADDOCK_CHECKED)
  checker::reservation_gone(reservation);
#endif
}
inline void note_context_gone([[maybe_unused]] const void* context) noexcept {
#if defined(PADDOCK_CHECKED)
  checker::context_gone(context);
#endif
}

}  // namespace detail
}  // namespace PADDOCK_NAMESPACE
