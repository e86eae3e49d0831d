// SPDX-License-Identifier: BSL-1.0
/// \file
/// `memory_monitor`: memory of this process that devices use is not taken from under them; `memory_watch`, one range of
/// it. What tells of events is a concept, whose model of a real kernel is kernel::userfault.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/memory_event.hpp>
#include <paddock/buffer/monitor_core.hpp>
#include <paddock/buffer/watched_memory.hpp>
#include <paddock/resv/reservation.hpp>

namespace PADDOCK_NAMESPACE {

namespace detail {
/// In a forked child: what it inherited is never destroyed, so that no lock in it is looked at.
inline void abandon(const std::shared_ptr<monitor_core>& inherited) noexcept {
  static_cast<void>(new (std::nothrow) std::shared_ptr<monitor_core>(inherited));
}
}  // namespace detail

/// What becomes of pages that no device uses any more.
enum class released_memory : std::uint8_t {
  given_back,  ///< To the system: they read as zeroes afterwards, or as the file.
  kept,
};

/// A range of memory that is watched. It ends when dropped: it waits for its functions where they run in another thread
/// and for an event that has begun, at most the monitor's patience; it unmaps nothing that no event took; then none of
/// its functions runs any more. A function may drop its own watch.
/// Thread-safety: any thread for all but moving and dropping.
class [[nodiscard]] memory_watch {
 public:
  memory_watch() noexcept = default;
  memory_watch(memory_watch&& other) noexcept
      : core_(std::move(other.core_)), watched_(std::exchange(other.watched_, nullptr)) {}
  memory_watch& operator=(memory_watch&& other) noexcept {
    if (this != &other) {
      reset();
      core_ = std::move(other.core_);
      watched_ = std::exchange(other.watched_, nullptr);
    }
    return *this;
  }
  memory_watch(const memory_watch&) = delete;
  memory_watch& operator=(const memory_watch&) = delete;
  ~memory_watch() { reset(); }

  /// Drops it now.
  void reset() noexcept {
    if (detail::watched_memory* const gone = std::exchange(watched_, nullptr); gone != nullptr) {
      const std::shared_ptr<detail::monitor_core> core = std::move(core_);
      if (core->is_foreign_process()) {
        detail::abandon(core);
      } else {
        core->drop(*gone);
      }
    }
  }
  /// False when default-made, moved from or dropped; nothing else may be asked then.
  [[nodiscard]] bool valid() const noexcept { return watched_ != nullptr; }

  [[nodiscard]] std::span<std::byte> range() const noexcept { return watched_->range; }
  [[nodiscard]] memory_status status() const noexcept { return watched_->status; }

  /// Starts a job, if the device may have the memory: calls `start()`, which adds the job's fence to the reservation
  /// and hands the job over; whoever wants the pages waits until it returns, and then for the fence. Room in the
  /// reservation is made before: `start` must not allocate, lock or wait. Never waits itself. Returns what `start`
  /// does. Errors: revoked, for good; busy while a release is under way that may still fail; those of `start`.
  template <std::invocable Start>
  [[nodiscard]] auto use(Start&& start, place at = place::here()) noexcept {
    using returned = std::invoke_result_t<Start>;
    using answer = std::conditional_t<std::is_void_v<returned>, result<void>, returned>;
    if (auto may = watched_->gate.enter(); !may) {
      return answer(fail(may.error()));
    }
    const in_use inside(*this, at);
    if constexpr (std::is_void_v<returned>) {
      std::forward<Start>(start)();
      return answer();
    } else {
      return answer(std::forward<Start>(start)());
    }
  }

  /// The orderly way: no job starts any more, all fences are waited for, the addresses are unmapped, and then the pages
  /// are given back. A second call, after the first one or beside it, does nothing. Errors: timed_out, and all is as it
  /// was: jobs may start again; revoked (the watch is stale: nothing was given back; the device has nothing, or the
  /// monitor is gone and the addresses are the caller's to unmap); reentrant (from its own function); those of giving
  /// back, after all the rest was done.
  [[nodiscard]] result<void> release(deadline until, released_memory pages = released_memory::given_back,
                                     place at = place::here()) noexcept {
    return core_->release({watched_, watched_->range, pages == released_memory::kept}, until, at);
  }

 private:
  template <memory_events>
  friend class memory_monitor;

  memory_watch(std::shared_ptr<detail::monitor_core> core, detail::watched_memory& watched) noexcept
      : core_(std::move(core)), watched_(&watched) {}

  class in_use {
   public:
    in_use(const memory_watch& what, place at) noexcept : what_(what), section_(at) {}
    in_use(const in_use&) = delete;
    in_use& operator=(const in_use&) = delete;
    ~in_use() {
      if (what_.watched_->gate.leave()) {
        what_.core_->wake();
      }
    }

   private:
    const memory_watch& what_;
    detail::monitor_use_section section_;
  };

  std::shared_ptr<detail::monitor_core> core_;
  detail::watched_memory* watched_{nullptr};
};

struct memory_monitor_options {
  /// How long an event may wait for the fences of its watch. Afterwards the addresses are unmapped by force, so that
  /// nobody is held for longer; the report says so. The IOMMU protects what the pages are used for next.
  std::chrono::nanoseconds patience{std::chrono::seconds(1)};
  /// A thread of the monitor handles events, and takes no signals. Without it the caller's event loop does.
  bool own_thread{true};
};

/// Watches ranges of this process's memory. When pages go (see memory_change), who takes them is held; the watch
/// becomes stale, so that no job starts; when the fences of its reservation are done, the user's `unmap` takes the
/// addresses away; then whoever is held goes on, and the user is told. Every event ends its watch: who wants the memory
/// watched again, a moved one for instance, begins a new watch.
///
/// Watch memory of mmap's, not malloc's: malloc gives memory back with its locks held, so a thread that is held would
/// hold everybody who allocates, `unmap` among them. A thread that handles events must not itself give watched memory
/// back but by release(): it would wait for itself; nor must what leads to a fence of the watch.
///
/// Requires: not dropped by its watches' functions. Dropping it lets events that have begun come to their end, and
/// makes the other watches stale, without a word and without unmapping. Thread-safety: any thread for all but moving
/// and dropping. Kernel: as an MMU notifier.
template <memory_events Events>
class [[nodiscard]] memory_monitor {
 public:
  /// Errors: limit_reached, out_of_memory; invalid_argument for a patience below zero.
  [[nodiscard]] static result<memory_monitor> create(Events events, const memory_monitor_options& options = {}) {
    if (options.patience < std::chrono::nanoseconds::zero()) {
      return fail(errc::invalid_argument, "memory_monitor::create: patience");
    }
    auto core = std::make_shared<detail::monitor_core>(options.patience, &Events::give_back);
    PADDOCK_TRY_VOID(core->open());
    if (options.own_thread) {
      PADDOCK_TRY_VOID(core->start_thread());
    }
    return memory_monitor(std::move(events), std::move(core));
  }
  memory_monitor(memory_monitor&&) noexcept = default;
  memory_monitor& operator=(memory_monitor&&) = delete;
  ~memory_monitor() {
    if (core_ && core_->is_foreign_process()) {
      detail::abandon(core_);
    } else if (core_) {
      core_->stop_thread();
      core_->close();
    }
  }

  /// Watches a range; `fences` are those of the jobs that use it, up to `bookkeep`. `unmap()` takes the device's
  /// addresses away; it must not allocate or lock a reservation, and what it locks must not be held by who does. `tell`
  /// is called with each memory_report, after whoever was held went on. Each is noexcept, runs in the thread that
  /// handles the event or releases, and `unmap` at most once. Watch before mapping, and look at the status after it:
  /// where it is stale, unmap() may have come too early. Requires: the reservation outlives the watch. Errors: those of
  /// Events::watch(), of which busy means that a part of the range is watched; out_of_memory, limit_reached. Where the
  /// monitor's thread had to end for want of something, the error that ended it.
  template <class Unmap, class Tell>
  [[nodiscard]] result<memory_watch> watch(std::span<std::byte> range, const reservation& fences, Unmap unmap,
                                           Tell tell) noexcept {
    static_assert(std::is_nothrow_invocable_v<Unmap&>,
                  "paddock: what takes the device's addresses away is called without arguments and is noexcept, since "
                  "whoever gave the memory back is held until it has returned");
    static_assert(std::is_nothrow_invocable_v<Tell&, const memory_report&>,
                  "paddock: what is told of a watch takes a memory_report and is noexcept");
    PADDOCK_TRY(auto registration, events_.watch(range));
    std::unique_ptr<detail::watched_memory> made(new (std::nothrow) watched<Unmap, Tell>(
        range, fences, core_->wake_fd(), std::move(registration), std::move(unmap), std::move(tell)));
    if (!made) {
      return fail(errc::out_of_memory, "memory_monitor::watch");
    }
    detail::watched_memory& added = *made;
    PADDOCK_TRY_VOID(core_->add(made));
    return memory_watch(core_, added);
  }

  /// Releases every watch that has a page of the range, as a whole, or none of them; gives back the range alone. As
  /// memory_watch::release(), but for `revoked`: then one of them was stale, and all others are released.
  [[nodiscard]] result<void> release(std::span<std::byte> range, deadline until,
                                     released_memory pages = released_memory::given_back,
                                     place at = place::here()) noexcept {
    return core_->release({nullptr, range, pages == released_memory::kept}, until, at);
  }

  /// Readable when dispatch() has something to do. For an event loop's poll, select or epoll; not to be read.
  [[nodiscard]] borrowed_fd fd() const noexcept { return core_->fd(); }
  /// Handles what there is, and does not wait for more, nor for fences. A thread's first call allocates: make it before
  /// the first watch. One thread does so at a time: beside it, or
  /// inside a function of a watch, it returns at once. Errors: none but those of a descriptor closed by mistake.
  [[nodiscard]] result<void> dispatch() noexcept { return core_->dispatch(); }

 private:
  memory_monitor(Events events, std::shared_ptr<detail::monitor_core> core) noexcept
      : events_(std::move(events)), core_(std::move(core)) {}

  template <class Unmap, class Tell>
  class watched final : public detail::watched_memory {
   public:
    watched(std::span<std::byte> its_range, const reservation& its_fences, borrowed_fd wake,
            typename Events::registration registration, Unmap unmap, Tell tell) noexcept
        : watched_memory(its_range, its_fences, wake),
          registration_(std::move(registration)),
          unmap_(std::move(unmap)),
          tell_(std::move(tell)) {}

    [[nodiscard]] borrowed_fd fd() noexcept override { return registration_->fd(); }
    [[nodiscard]] result<std::size_t> read(std::span<memory_event> into) noexcept override {
      return registration_->read(into);
    }
    void let_go() noexcept override { registration_.reset(); }
    void unmap() noexcept override { unmap_(); }
    void tell(const memory_report& what) noexcept override { tell_(what); }

   private:
    std::optional<typename Events::registration> registration_;
    Unmap unmap_;
    Tell tell_;
  };

  Events events_;
  std::shared_ptr<detail::monitor_core> core_;
};

}  // namespace PADDOCK_NAMESPACE
