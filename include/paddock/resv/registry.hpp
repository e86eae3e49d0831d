// SPDX-License-Identifier: BSL-1.0
/// \file
/// `reservation_of`: the one reservation that all imports of a kernel buffer have in this process.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <new>
#include <utility>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <paddock/base/checking.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/result.hpp>
#include <paddock/detail/process_page.hpp>
#include <paddock/resv/reservation.hpp>

namespace PADDOCK_NAMESPACE {

class shared_reservation;

namespace detail {

/// The reservations of this process by buffer. Shared objects with the same version of paddock have the same one.
class reservation_registry {
 public:
  /// Errors: those of process_page(), but for not_found: without /proc each shared object has its own.
  [[nodiscard]] static result<reservation_registry*> here() noexcept {
#if defined(PADDOCK_CHECKED)
    static constexpr const char* name = "paddock-reservations-0.1-checked";
#else
    static constexpr const char* name = "paddock-reservations-0.1";
#endif
    static_assert(PADDOCK_VERSION_MAJOR == 0 && PADDOCK_VERSION_MINOR == 1, "the name goes with the layout");
    static std::atomic<reservation_registry*> known{nullptr};
    if (reservation_registry* const found = known.load(); found != nullptr) {
      return found;
    }
    result<reservation_registry*> found = process_page<reservation_registry>(name);
    if (!found && found.error() == errc::not_found) {
      static reservation_registry own;
      found = &own;
    }
    if (found) {
      known = *found;
    }
    return found;
  }

  /// With a reference for the caller. Null: out of memory.
  [[nodiscard]] inline shared_reservation* find_or_make(buffer_id buffer) noexcept;
  inline void get(shared_reservation& held) noexcept;
  inline void put(shared_reservation& held) noexcept;

 private:
  static constexpr std::size_t buckets = 64;

  [[nodiscard]] shared_reservation*& first(buffer_id buffer) noexcept {
    return first_[std::hash<buffer_id>{}(buffer) % buckets];
  }

  std::mutex mutex_;
  std::array<shared_reservation*, buckets> first_{};
};

}  // namespace detail

/// A reservation that lives as long as somebody has a reservation_ptr to it.
class shared_reservation final : public reservation {
 public:
  /// Whose it is.
  [[nodiscard]] buffer_id buffer() const noexcept { return buffer_; }

 private:
  friend class detail::reservation_registry;
  friend void intrusive_ptr_add_ref(shared_reservation* held) noexcept { held->registry_.get(*held); }
  friend void intrusive_ptr_release(shared_reservation* held) noexcept { held->registry_.put(*held); }

  shared_reservation(buffer_id buffer, detail::reservation_registry& registry) noexcept
      : buffer_(buffer), registry_(registry), destroy_([](shared_reservation* gone) noexcept { delete gone; }) {}
  ~shared_reservation() = default;

  const buffer_id buffer_;
  detail::reservation_registry& registry_;
  void (*const destroy_)(shared_reservation*) noexcept;  ///< Of the shared object that made it.
  shared_reservation* next_{nullptr};
  std::uint64_t references_{1};  ///< Under the registry's lock, as it may be found while the last one goes.
};

/// A counted reference; may be empty.
using reservation_ptr = boost::intrusive_ptr<shared_reservation>;

namespace detail {

inline shared_reservation* reservation_registry::find_or_make(buffer_id buffer) noexcept {
  const std::lock_guard guard(mutex_);
  shared_reservation*& first_there = first(buffer);
  for (shared_reservation* each = first_there; each != nullptr; each = each->next_) {
    if (each->buffer_ == buffer) {
      ++each->references_;
      return each;
    }
  }
  auto* const made = new (std::nothrow) shared_reservation(buffer, *this);
  if (made != nullptr) {
    made->next_ = std::exchange(first_there, made);
  }
  return made;
}

inline void reservation_registry::get(shared_reservation& held) noexcept {
  const std::lock_guard guard(mutex_);
  ++held.references_;
}

inline void reservation_registry::put(shared_reservation& held) noexcept {
  {
    const std::lock_guard guard(mutex_);
    if (--held.references_ != 0) {
      return;
    }
    shared_reservation** at = &first(held.buffer_);
    while (*at != &held) {
      at = &(*at)->next_;
    }
    *at = held.next_;
  }
  held.destroy_(&held);
}

}  // namespace detail

/// The reservation of a buffer, made by whoever asks first: all who import it, through whatever driver, order their
/// work by the same fences, for as long as one of them has a reference; who lets go while a job of his is pending takes
/// that job's fence from the others. The shared object that asked first must stay loaded until then. Without /proc, in
/// a bare chroot, shared objects do not find each other's, and each has its own: where there are several, mount it.
/// Errors: out_of_memory; limit_reached and others of open() and mmap(), at the first call of a shared object.
/// Thread-safety: any thread.
[[nodiscard]] inline result<reservation_ptr> reservation_of(buffer_id buffer, place at = place::here()) noexcept {
  might_alloc(at);
  PADDOCK_TRY(detail::reservation_registry* const registry, detail::reservation_registry::here());
  shared_reservation* const found = registry->find_or_make(buffer);
  if (found == nullptr) {
    return fail(errc::out_of_memory, "reservation_of");
  }
  return reservation_ptr(found, false);
}

}  // namespace PADDOCK_NAMESPACE
