// SPDX-License-Identifier: BSL-1.0
/// \file
/// `dma_buf`: a buffer that several devices share. Kernel: struct dma_buf.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <stop_token>
#include <string_view>
#include <type_traits>
#include <utility>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <paddock/base/checking.hpp>
#include <paddock/base/mmio.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/attachment_node.hpp>
#include <paddock/buffer/bound_buffer.hpp>
#include <paddock/buffer/core.hpp>
#include <paddock/buffer/device.hpp>
#include <paddock/buffer/exporter.hpp>
#include <paddock/buffer/thread_work.hpp>
#include <paddock/policy/selection.hpp>
#include <paddock/resv/cursor.hpp>
#include <paddock/resv/reservation.hpp>

namespace PADDOCK_NAMESPACE {

/// A counted reference to a buffer; may be empty.
template <class Buffer>
using buffer_ptr = boost::intrusive_ptr<Buffer>;

namespace detail {

/// Who has touched the bytes since the caches were last looked after.
struct cache_state {
  std::atomic<bool> cpu_wrote{true};  ///< Fresh storage was cleared by the CPU.
  std::atomic<bool> device_wrote{false};
  std::atomic<std::uint32_t> silent_writers{0};  ///< Mappings whose jobs are not committed.
};
struct no_cache_state {};

template <exporter E>
using buffer_defaults =
    policy_set<typename residency_of<E>::type, auto_fence, hybrid_wait, sync_on_access, route_of<E>>;

template <class Buffer, device Device, class Policies>
struct turns;

}  // namespace detail

/// What a buffer shares with others, and is called.
struct buffer_options {
  /// The reservation of several buffers that move together. Requires: it outlives them. Null: one of its own, or that
  /// of its kernel object.
  paddock::reservation* reservation{nullptr};
  /// For people: describe() begins with it. Requires: it outlives the buffer, as a literal does. Null: none.
  const char* name{nullptr};
};

/// Made by create(), and kept by its references: attachments have one each. Its residency says what the exporter may
/// do; its other policies are the defaults of its attachments, and hold for CPU access to the buffer itself.
/// Thread-safety: any thread; what takes a resv_lock is for its holder.
template <exporter Exporter, class Policies>
class basic_dma_buf final : private detail::buffer_core {
 public:
  using exporter_type = Exporter;
  using policies = Policies;

  static_assert(!Policies::residency::may_move || relocating_exporter<Exporter>,
                "paddock: a movable buffer needs an exporter that can put the bytes elsewhere: place_count(), "
                "prototype(), allocate()");

  /// Errors: those of the exporter's initial_storage(); out_of_memory. Kernel: dma_buf_export.
  [[nodiscard]] static result<buffer_ptr<basic_dma_buf>> create(Exporter from, const buffer_options& options = {},
                                                                place at = place::here()) noexcept {
    might_alloc(at);
    PADDOCK_TRY(storage_ptr initial, from.initial_storage());
    reservation_ptr registered;
    if constexpr (identified_exporter<Exporter>) {
      if (options.reservation == nullptr) {
        PADDOCK_TRY(registered, reservation_of(from.id(), at));
      }
    }
    auto* const made =
        new (std::nothrow) basic_dma_buf(std::move(from), std::move(initial), options, std::move(registered));
    if (made == nullptr) {
      return fail(errc::out_of_memory, "dma_buf::create");
    }
    buffer_ptr<basic_dma_buf> held(made);
    if constexpr (bound_exporter<Exporter>) {
      PADDOCK_TRY_VOID(made->exporter_.bound(bound_buffer(*made)));
    }
    return held;
  }

  /// Bytes; never changes.
  using detail::buffer_core::size;
  /// A snapshot.
  using detail::buffer_core::status;
  /// As create() was told; empty without.
  [[nodiscard]] std::string_view name() const noexcept { return name_ != nullptr ? name_ : std::string_view(); }
  /// The fences and the lock; lock_set::held() takes the buffer itself.
  using detail::buffer_core::reservation;
  /// What happened to it so far.
  [[nodiscard]] const buffer_statistics& statistics() const noexcept { return detail::buffer_core::statistics(); }
  /// Whether the caller's reference is the only one. A snapshot.
  using detail::buffer_core::has_one_reference;

  /// The lock of its reservation. See reservation::lock().
  [[nodiscard]] result<resv_lock> lock(deadline until = deadline::never(), const std::stop_token& stop = {},
                                       place at = place::here()) noexcept {
    return reservation().lock(until, stop, at);
  }

  [[nodiscard]] Exporter& exporter() noexcept { return exporter_; }
  [[nodiscard]] const Exporter& exporter() const noexcept { return exporter_; }

  /// Where the bytes are now; moves change it. Errors: wrong_lock.
  [[nodiscard]] result<storage_ptr> storage(const resv_lock& held) const noexcept {
    PADDOCK_TRY_VOID(check(held, "dma_buf::storage"));
    return current();
  }
  /// How many attachments there are. Errors: wrong_lock.
  [[nodiscard]] result<std::size_t> attachments(const resv_lock& held) const noexcept {
    PADDOCK_TRY_VOID(check(held, "dma_buf::attachments"));
    return attachment_count();
  }
  /// Calls `visit` with the attachment_facts of each, the first one first. Requires: it detaches none.
  /// Errors: wrong_lock.
  template <std::invocable<const attachment_facts&> Visit>
  [[nodiscard]] result<void> for_each_attachment(const resv_lock& held, Visit visit) const {
    PADDOCK_TRY_VOID(check(held, "dma_buf::for_each_attachment"));
    detail::buffer_core::for_each_attachment([&](const detail::attachment_node& each) { visit(each.facts()); });
    return {};
  }

  /// How many attachments keep it where it is. Errors: wrong_lock.
  [[nodiscard]] result<std::size_t> pins(const resv_lock& held) const noexcept {
    PADDOCK_TRY_VOID(check(held, "dma_buf::pins"));
    return pin_count();
  }

  // --- fences ------------------------------------------------------------------------------------------------------

  /// What a job with this access has to wait for, by hardware or by CPU: moves and writers, and readers too before a
  /// write. Errors: out_of_memory.
  [[nodiscard]] result<fence_ptr> dependencies(access how, place at = place::here()) const noexcept {
    return reservation().dependencies(how, at);
  }
  /// The same for who calls commit() with this proof: no other job comes between. Errors: also wrong_lock.
  [[nodiscard]] result<fence_ptr> dependencies(const resv_lock& held, access how,
                                               place at = place::here()) const noexcept {
    return reservation().dependencies(held, how, at);
  }
  /// Adds a job's fence, as a writer's or a reader's; for buffers with caches to look after this is how writes of
  /// devices are known. Errors: as reservation::add(); so room must be reserved.
  [[nodiscard]] result<void> commit(const resv_lock& held, fence_ptr job, access how) noexcept {
    if (writes(how)) {
      note_device_write();
    }
    return reservation().commit(held, std::move(job), how);
  }

  // --- moving ------------------------------------------------------------------------------------------------------

  /// Who copies when the buffer moves, and for bounces; the CPU unless told. Requires: it outlives the buffer; no
  /// pinned importer works on a copy, for which it asks without the lock. Errors: wrong_lock.
  template <mover M>
  [[nodiscard]] result<void> use_mover(const resv_lock& held, M& who) noexcept {
    PADDOCK_TRY_VOID(check(held, "dma_buf::use_mover"));
    detail::buffer_core::use_mover(detail::mover_ref(who));
    return {};
  }
  /// Puts the bytes into the exporter's place of that number. All movable importers are told; jobs in flight are waited
  /// for, but for those that are requeued; the mover copies; mappings of the old storage turn stale, and it stays until
  /// the last of them is gone. The copy's fence stands as `kernel` in the reservation: every later access waits for it.
  /// Where the bytes are there already nothing happens. When it fails nothing has changed, but importers were told.
  /// Errors: wrong_lock; revoked; busy (pinned, or an importer works on a copy); timed_out (a job, or an access by CPU,
  /// did not end); reentrant; invalid_argument (no such place); not_mappable (registers); those of exporter and mover.
  [[nodiscard]] result<void> move(const resv_lock& held, std::size_t place, deadline until) noexcept {
    static_assert(Policies::residency::may_move, "paddock: only a movable buffer moves: dma_buf<Exporter, movable>");
    return move_to(held, place, until, nullptr, fallback::none);
  }
  /// The same for a thread that may not block: another one takes the reservation and does it. The fence completes when
  /// that one is through, and fails as move() does. Errors: invalid_argument (a deadline that never comes: a fence is a
  /// promise); limit_reached (no thread is to be had); out_of_memory.
  [[nodiscard]] result<fence_ptr> async_move(std::size_t place, deadline until) noexcept {
    static_assert(Policies::residency::may_move, "paddock: only a movable buffer moves: dma_buf<Exporter, movable>");
    return detail::run_in_thread("dma_buf::async_move", until,
                                 [self = buffer_ptr<basic_dma_buf>(this), place, until]() noexcept -> result<void> {
                                   PADDOCK_TRY(const resv_lock held, self->lock(until));
                                   return self->move(held, place, until);
                                 });
  }
  /// The exporter's place where the bytes are. Errors: wrong_lock.
  [[nodiscard]] result<std::size_t> where(const resv_lock& held) const noexcept requires relocating_exporter<Exporter> {
    PADDOCK_TRY_VOID(check(held, "dma_buf::where"));
    return current_place();
  }
  /// From where to where the last move went, and which fallback it was. Errors: wrong_lock.
  [[nodiscard]] result<move_report> last_move(const resv_lock& held) const noexcept {
    PADDOCK_TRY_VOID(check(held, "dma_buf::last_move"));
    return detail::buffer_core::last_move();
  }

  // --- other processes -----------------------------------------------------------------------------------------------

  /// A descriptor of what the buffer lives in now, for another process: see kernel/buffer_channel.hpp. Who has it is
  /// not told of moves, nor of copies to work on, so that from here on there are none (errc::shared, errc::busy):
  /// attachments that do not reach the bytes are refused. What only this process can signal must be done before it
  /// goes: kernel::implicit_sync::flush_implicit(). Errors: wrong_lock; revoked; not_exportable (the storage is no
  /// dma-buf); busy (a move still copies, and would be undone where that fails; an importer works on a copy);
  /// limit_reached.
  [[nodiscard]] result<unique_fd> export_fd(const resv_lock& held) noexcept {
    PADDOCK_TRY_VOID(check(held, "dma_buf::export_fd"));
    PADDOCK_TRY_VOID(check_live("dma_buf::export_fd"));
    undo_failed_copy();
    PADDOCK_TRY_VOID(check_copy());
    if (is_copying() || exclusive() != nullptr) {
      return fail(errc::busy, "dma_buf::export_fd: its bytes are on their way");
    }
    if (!current()->dma_buf().valid()) {
      return fail(errc::not_exportable, "dma_buf::export_fd: its storage is no dma-buf");
    }
    PADDOCK_TRY(unique_fd made, unique_fd::dup(current()->dma_buf()));
    set_exported(true);
    return made;
  }
  /// The buffer moves again, once nobody else has its dma-buf: the kernel counts every descriptor, mapping and
  /// importer, this process's own included. Errors: wrong_lock; shared (somebody has it); those of reading /proc.
  [[nodiscard]] result<void> reclaim(const resv_lock& held) noexcept {
    PADDOCK_TRY_VOID(check(held, "dma_buf::reclaim"));
    if (detail::buffer_core::is_exported()) {
      PADDOCK_TRY(const bool is_held, current()->is_held_elsewhere());
      if (is_held) {
        return fail(errc::shared, "dma_buf::reclaim");
      }
      set_exported(false);
    }
    return {};
  }
  /// Whether it was exported and not reclaimed. Errors: wrong_lock.
  [[nodiscard]] result<bool> is_exported(const resv_lock& held) const noexcept {
    PADDOCK_TRY_VOID(check(held, "dma_buf::is_exported"));
    return detail::buffer_core::is_exported();
  }

  // --- revoking ----------------------------------------------------------------------------------------------------

  /// Takes the storage back: every importer is told; jobs and accesses by CPU are waited for until the deadline; then
  /// importers unmap, until the same deadline; what is mapped after that is unmapped by force, and jobs that are still
  /// pending fail with ECANCELED, all that the reservation has. It always ends. Attachments and mappings of before are
  /// dead; restore() lets the buffer be attached anew.
  /// Where not even the lock is to be had by the deadline, jobs fail first, as its holder may wait for one of them.
  /// Requires: the thread does not hold the reservation. Errors: busy (an importer is attached that cannot be told, and
  /// then nothing has changed), deadlock, reentrant.
  [[nodiscard]] result<void> revoke(deadline until) noexcept {
    static_assert(Policies::residency::may_revoke,
                  "paddock: only a revocable or movable buffer is taken back: dma_buf<Exporter, revocable>");
    return detail::buffer_core::revoke(until, buffer_status::revoked);
  }
  /// The same for a thread that may not block, see async_move().
  [[nodiscard]] result<fence_ptr> async_revoke(deadline until) noexcept {
    static_assert(Policies::residency::may_revoke,
                  "paddock: only a revocable or movable buffer is taken back: dma_buf<Exporter, revocable>");
    return detail::run_in_thread(
        "dma_buf::async_revoke", until,
        [self = buffer_ptr<basic_dma_buf>(this), until]() noexcept { return self->revoke(until); });
  }
  /// As revoke(), for good: its device is closed.
  [[nodiscard]] result<void> close(deadline until) noexcept {
    static_assert(Policies::residency::may_revoke,
                  "paddock: only a revocable or movable buffer is taken back: dma_buf<Exporter, revocable>");
    return detail::buffer_core::revoke(until, buffer_status::dead);
  }
  /// Errors: no_device (it was closed), busy (it is being revoked); those of the exporter, whose storage is not there.
  [[nodiscard]] result<void> restore() noexcept {
    static_assert(Policies::residency::may_revoke,
                  "paddock: only a revocable or movable buffer is taken back: dma_buf<Exporter, revocable>");
    if constexpr (bound_exporter<Exporter>) {
      PADDOCK_TRY([[maybe_unused]] const auto there, exporter_.hold_storage());
      return detail::buffer_core::restore();
    } else {
      return detail::buffer_core::restore();
    }
  }

  // --- the CPU -----------------------------------------------------------------------------------------------------

  /// START and END for cpu_access and mmio_access of the buffer itself. It lasts as long as the buffer.
  class cpu_sync {
   public:
    explicit cpu_sync(basic_dma_buf* of, const resv_lock* held) noexcept : of_(of), held_(held) {}
    [[nodiscard]] buffer_id id() const noexcept { return of_->identity(); }
    [[nodiscard]] result<void> sync_start(access what) const noexcept {
      return of_->template start_cpu<Policies>(what, held_, nullptr, []() noexcept { return result<void>(); });
    }
    [[nodiscard]] result<void> sync_end(access what) const noexcept { return of_->template end_cpu<Policies>(what); }

   private:
    basic_dma_buf* of_;
    const resv_lock* held_;  ///< For START; null: it takes the lock.
  };
  [[nodiscard]] cpu_sync sync_handle() const noexcept { return cpu_sync(const_cast<basic_dma_buf*>(this), nullptr); }
  [[nodiscard]] cpu_sync sync_handle(const resv_lock& held) const noexcept {
    return cpu_sync(const_cast<basic_dma_buf*>(this), &held);
  }
  /// The bytes, between START and END. Errors: not_mappable: they are not memory in a row.
  [[nodiscard]] result<std::span<std::byte>> started_bytes() const noexcept {
    std::byte* const first = current()->contiguous_address();
    if (first == nullptr || current()->has(storage_kind::device_memory) || current()->has(storage_kind::registers)) {
      return fail(errc::not_mappable, "cpu_access: not memory in a row; mmio_access reaches what is behind a BAR");
    }
    return std::span(first, static_cast<std::size_t>(size()));
  }
  /// The window, between START and END. Errors: not_mappable: they are not behind a BAR, or not in a row.
  [[nodiscard]] result<mmio_span> started_window() const noexcept {
    std::byte* const first = current()->contiguous_address();
    if (first == nullptr || current()->has(storage_kind::memory)) {
      return fail(errc::not_mappable, "mmio_access: not behind a BAR in a row; cpu_access reaches memory");
    }
    return mmio_span(first, static_cast<std::size_t>(size()));
  }

 private:
  template <class, class, class>
  friend class basic_attachment;
  template <class, device, class>
  friend struct detail::turns;
  static constexpr bool has_caches = caching_exporter<Exporter>;

  friend void intrusive_ptr_add_ref(const basic_dma_buf* held) noexcept { held->get(); }
  friend void intrusive_ptr_release(const basic_dma_buf* held) noexcept { held->put(); }

  basic_dma_buf(Exporter from, storage_ptr initial, const buffer_options& options, reservation_ptr registered) noexcept
      : buffer_core(std::move(initial), place_of(from), options.reservation, std::move(registered)),
        exporter_(std::move(from)),
        name_(options.name) {}
  ~basic_dma_buf() override = default;

  [[nodiscard]] detail::buffer_core& core() noexcept { return *this; }
  [[nodiscard]] static std::size_t place_of(const Exporter& from) noexcept {
    if constexpr (relocating_exporter<Exporter>) {
      return from.initial_place();
    } else {
      return 0;
    }
  }
  [[nodiscard]] buffer_id identity() const noexcept {
    if constexpr (identified_exporter<Exporter>) {
      return exporter_.id();
    } else {
      return {};
    }
  }

  [[nodiscard]] result<void> exporter_pin() noexcept override {
    if constexpr (pinning_exporter<Exporter>) {
      return exporter_.pin();
    } else {
      return {};
    }
  }
  void exporter_unpin() noexcept override {
    if constexpr (pinning_exporter<Exporter>) {
      exporter_.unpin();
    }
  }
  [[nodiscard]] std::size_t place_count() const noexcept override {
    if constexpr (relocating_exporter<Exporter> && Policies::residency::may_move) {
      return exporter_.place_count();
    } else {
      return 1;
    }
  }
  [[nodiscard]] segment prototype(std::size_t where) const noexcept override {
    if constexpr (relocating_exporter<Exporter>) {
      return exporter_.prototype(where);
    } else {
      static_cast<void>(where);
      return current()->segments().front();
    }
  }
  [[nodiscard]] result<storage_ptr> allocate(std::size_t where) noexcept override {
    if constexpr (relocating_exporter<Exporter>) {
      return exporter_.allocate(where);
    } else {
      static_cast<void>(where);
      return fail(errc::unexpected, "dma_buf: an exporter without places");
    }
  }

  /// Waits for what implicit sync makes such an access wait for.
  template <wait_policy Wait>
  [[nodiscard]] result<void> wait_for(access how, deadline until, Wait policy) noexcept {
    return wait_for(how, until, policy, [](const fence&) noexcept { return true; });
  }
  /// But for those that `awaits` says no to.
  template <wait_policy Wait, class Awaits>
  [[nodiscard]] result<void> wait_for(access how, deadline until, Wait policy, Awaits awaits,
                                      place at = place::here()) noexcept {
    detail::note_wait(until, at);
    if (reservation().test_signaled(usage_for(how))) [[likely]] {
      return {};
    }
    core().statistics().count(count::waits);
    fence_cursor each(reservation(), usage_for(how));
    for (fence_ptr job = each.next(); job; job = each.next()) {
      if (awaits(*job)) {
        PADDOCK_TRY(const wait_status ended, wait(*job, until, policy));
        if (ended == wait_status::timed_out) {
          return fail(errc::timed_out, "a wait for the buffer's jobs");
        }
      }
    }
    return {};
  }

  // Cache maintenance where the other side has touched the bytes since. `asked`: by name, and so always.
  [[nodiscard]] result<void> sync_for_device([[maybe_unused]] direction dir, [[maybe_unused]] bool asked) noexcept {
    if constexpr (has_caches) {
      if (dir != direction::to_device) {
        caches_.device_wrote = true;
      }
      if (caches_.cpu_wrote.exchange(false) || asked) {
        core().statistics().count(count::syncs_for_device);
        auto done = exporter_.sync_for_device(*current(), dir);
        caches_.cpu_wrote = caches_.cpu_wrote || !done;
        return done;
      }
    }
    return {};
  }
  [[nodiscard]] result<void> sync_for_cpu([[maybe_unused]] direction dir, [[maybe_unused]] bool asked) noexcept {
    if constexpr (has_caches) {
      // While devices may be writing, or write without telling, it is to be done again the next time.
      const bool may_write = caches_.silent_writers != 0 || !reservation().test_signaled(usage::write);
      if (caches_.device_wrote.exchange(may_write) || asked) {
        core().statistics().count(count::syncs_for_cpu);
        auto done = exporter_.sync_for_cpu(*current(), dir);
        caches_.device_wrote = caches_.device_wrote || !done;
        return done;
      }
    }
    return {};
  }
  [[nodiscard]] result<void> before_copy() noexcept override {
    PADDOCK_TRY_VOID(sync_for_device(direction::to_device, false));  // For an engine.
    return sync_for_cpu(direction::from_device, false);              // For the CPU.
  }
  void note_fresh_storage() noexcept override {
    if constexpr (has_caches) {
      caches_.cpu_wrote = true;
      caches_.device_wrote = true;
    }
  }
  void count_silent_writer(bool begins) noexcept {
    if constexpr (has_caches) {
      begins ? ++caches_.silent_writers : --caches_.silent_writers;
    }
  }
  void note_device_write() noexcept {
    if constexpr (has_caches) {
      caches_.device_wrote = true;
    }
  }

  /// Waits first and holds the buffer then, so that nobody who is waited for waits for this. `is_there` is asked last,
  /// with the lock held.
  template <class By, class IsThere>
  [[nodiscard]] result<void> start_cpu(access what, const resv_lock* held, const detail::attachment_node* who,
                                       IsThere is_there) noexcept {
    if (held != nullptr) {
      PADDOCK_TRY_VOID(check(*held, "cpu_access"));
    }
    for (bool is_held = false; !is_held;) {
      if constexpr (By::fencing::waits) {
        PADDOCK_TRY_VOID(wait_for(what, deadline::never(), typename By::wait{}));
      }
      resv_lock own;
      if (held == nullptr) {
        PADDOCK_TRY(own, reservation().lock());
      }
      PADDOCK_TRY_VOID(check_live("cpu_access"));
      PADDOCK_TRY_VOID(check_exclusive(who));
      undo_failed_copy();
      PADDOCK_TRY_VOID(check_copy());
      if (!By::fencing::waits || reservation().test_signaled(usage_for(what))) {
        PADDOCK_TRY_VOID(is_there());
        hold_for_cpu();
        is_held = true;
      }
    }
    auto begun = prepare_cpu<By>(what);
    if (!begun) {
      leave_by_cpu();
    }
    return begun;
  }
  template <class By>
  [[nodiscard]] result<void> prepare_cpu(access what) noexcept {
    if constexpr (has_caches && By::cache::on_access) {
      PADDOCK_TRY_VOID(sync_for_cpu(reads(what) ? direction::from_device : direction::bidirectional, false));
    }
    count_bracket(count::syncs_for_cpu);
    if constexpr (bracketing_exporter<Exporter>) {
      PADDOCK_TRY_VOID(exporter_.begin_cpu_access(what));
    } else if constexpr (storage_bracketing_exporter<Exporter>) {
      PADDOCK_TRY_VOID(current()->begin_cpu_access(what));  // Nobody moves it while an access is open.
    }
    return {};
  }
  void count_bracket([[maybe_unused]] count which) noexcept {
    if constexpr (bracketing_exporter<Exporter>) {
      core().statistics().count(which);
    } else if constexpr (storage_bracketing_exporter<Exporter>) {
      if (current()->dma_buf().valid()) {
        core().statistics().count(which);
      }
    }
  }
  template <class By>
  [[nodiscard]] result<void> end_cpu(access what) noexcept {
    if constexpr (has_caches) {
      if (writes(what)) {
        caches_.cpu_wrote = true;
      }
    }
    result<void> ended;
    count_bracket(count::syncs_for_device);
    if constexpr (bracketing_exporter<Exporter>) {
      ended = exporter_.end_cpu_access(what);
    } else if constexpr (storage_bracketing_exporter<Exporter>) {
      ended = current()->end_cpu_access(what);
    }
    leave_by_cpu();
    return ended;
  }

  [[no_unique_address]] Exporter exporter_;
  const char* name_;
  [[no_unique_address]] std::conditional_t<has_caches, detail::cache_state, detail::no_cache_state> caches_;
};

/// A buffer of this exporter, by these policies: in any order, at most one an axis; all orders are one type.
template <exporter Exporter, class... Policies>
using dma_buf = basic_dma_buf<Exporter, detail::selection<detail::buffer_defaults<Exporter>, Policies...>>;

}  // namespace PADDOCK_NAMESPACE
