// SPDX-License-Identifier: BSL-1.0
/// \file
/// What all buffers have, whatever their exporter and policies are: the reservation, the attachments, the storage of
/// the moment, and how it moves or goes. Kernel: drivers/dma-buf/dma-buf.c.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include <boost/intrusive/list.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <paddock/base/checking.hpp>
#include <paddock/base/ids.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/attachment_node.hpp>
#include <paddock/buffer/jobs.hpp>
#include <paddock/buffer/mover.hpp>
#include <paddock/buffer/statistics.hpp>
#include <paddock/buffer/status.hpp>
#include <paddock/buffer/storage.hpp>
#include <paddock/detail/futex.hpp>
#include <paddock/fence/wait.hpp>
#include <paddock/resv/cursor.hpp>
#include <paddock/resv/registry.hpp>
#include <paddock/resv/reservation.hpp>

namespace PADDOCK_NAMESPACE {

namespace detail {

/// Counted by boost::intrusive_ptr. Members that take a proof are for the holder of the reservation.
class buffer_core {
 public:
  using count = buffer_statistics::what;

  buffer_core(const buffer_core&) = delete;
  buffer_core& operator=(const buffer_core&) = delete;

  [[nodiscard]] paddock::reservation& reservation() const noexcept { return *reservation_; }
  [[nodiscard]] buffer_status status() const noexcept { return status_.load(); }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] const buffer_statistics& statistics() const noexcept { return statistics_; }
  [[nodiscard]] buffer_statistics& statistics() noexcept { return statistics_; }

  [[nodiscard]] result<void> check(const resv_lock& proof, const char* where) const noexcept {
    if (!proof.holds(*reservation_)) {
      return fail(errc::wrong_lock, where);
    }
    return {};
  }
  [[nodiscard]] result<void> check_live(const char* where) const noexcept {
    if (status_.load() != buffer_status::live) {
      return fail(errc::revoked, where);
    }
    return {};
  }

  // --- with the lock -----------------------------------------------------------------------------------------------

  [[nodiscard]] const storage_ptr& current() const noexcept { return current_; }
  [[nodiscard]] std::size_t current_place() const noexcept { return place_; }
  /// Counts revocations: an attachment of before one is dead.
  [[nodiscard]] std::uint32_t life() const noexcept { return life_; }
  [[nodiscard]] std::size_t attachment_count() const noexcept { return attachments_.size(); }
  [[nodiscard]] const move_report& last_move() const noexcept { return last_move_; }

  /// For describe().
  template <class Visit>
  void for_each_attachment(Visit visit) const {
    std::for_each(attachments_.begin(), attachments_.end(), visit);
  }

  void link(attachment_node& node) noexcept { attachments_.push_back(node); }
  void unlink(attachment_node& node) noexcept { attachments_.erase(attachments_.iterator_to(node)); }

  [[nodiscard]] result<void> pin() noexcept {
    if (pins_ == 0) {
      PADDOCK_TRY_VOID(exporter_pin());
    }
    ++pins_;
    return {};
  }
  void unpin() noexcept {
    if (--pins_ == 0) {
      exporter_unpin();
    }
  }
  [[nodiscard]] std::size_t pin_count() const noexcept { return pins_; }

  /// While an importer works on a copy of the bytes, nobody else may change them.
  [[nodiscard]] const attachment_node* exclusive() const noexcept { return exclusive_; }
  void set_exclusive(const attachment_node* who) noexcept { exclusive_ = who; }

  /// The copy of the latest move has failed: where the buffer is now there is nothing.
  [[nodiscard]] bool has_failed_copy() const noexcept {
    return retired_ != nullptr && retired_->copy->status() == wait_status::failed;
  }
  /// Then the bytes are where they were before it, unless somebody uses where they are not. Old storage of copies that
  /// are done goes.
  void undo_failed_copy() noexcept {
    if (retired_ == nullptr) [[likely]] {
      return;
    }
    drop_copied();
    if (has_failed_copy() && pins_ == 0 && exclusive_ == nullptr && cpu_accesses_.load() == 0) {
      for (attachment_node& each : attachments_) {
        each.set_stale();
      }
      current_ = std::move(retired_->from);
      place_ = retired_->place;
      retired_ = std::move(retired_->next);
    }
  }
  /// Errors: that of the copy; the next who takes the lock finds the bytes where they were.
  [[nodiscard]] result<void> check_copy() const noexcept {
    return has_failed_copy() ? fail(retired_->copy->error()) : result<void>();
  }
  /// Waits for the copies of moves, so that there are none while who maps without the lock has the buffer pinned.
  /// Errors: timed_out; that of a copy, and then the bytes are where they were.
  [[nodiscard]] result<void> end_copies(deadline until) noexcept {
    if (retired_ == nullptr) [[likely]] {
      return {};
    }
    PADDOCK_TRY(const wait_status ended, wait(*retired_->copy, until));  // The latest: it came after the others.
    if (ended == wait_status::timed_out) {
      return fail(errc::timed_out, "a copy of the buffer, which has moved");
    }
    const auto copied = check_copy();
    undo_failed_copy();
    return copied;
  }
  /// Inside on_invalidate or on_revoke.
  [[nodiscard]] bool is_telling() const noexcept { return telling_; }
  /// Errors: busy, when another importer works on a copy that this one would not see, or overwrite.
  [[nodiscard]] result<void> check_exclusive(const attachment_node* who) const noexcept {
    if (exclusive_ != nullptr && exclusive_ != who) {
      return fail(errc::busy, "an importer works on a copy of the buffer");
    }
    return {};
  }
  /// Errors: busy, when somebody else is in the middle of using the bytes.
  [[nodiscard]] result<void> check_alone(const attachment_node& who) const noexcept {
    const bool others = std::ranges::any_of(attachments_, [&](const attachment_node& each) {
      return &each != &who && (each.has_mappings() || each.is_unrevocable());  // Which maps without the lock.
    });
    if (exclusive_ != nullptr || others || cpu_accesses_.load() != 0 || is_exported_) {
      return fail(errc::busy, "a copy of the buffer would part from what others see");
    }
    return {};
  }
  /// Bytes are on their way: where the copy fails, they are where they were. Requires: undo_failed_copy() just now.
  [[nodiscard]] bool is_copying() const noexcept { return retired_ != nullptr && !has_failed_copy(); }
  /// Somebody who is not told of moves may have the storage's descriptor. See dma_buf::export_fd().
  [[nodiscard]] bool is_exported() const noexcept { return is_exported_; }
  void set_exported(bool is) noexcept { is_exported_ = is; }
  /// Between a storage and its shadow; returns when it is done. A copy's fence is a promise, so that it ends.
  [[nodiscard]] result<void> copy_for_bounce(const storage& to, const storage& from, deadline until) noexcept {
    // Whatever the fencing policy is: the copy is paddock's own job on the bytes.
    PADDOCK_TRY(const wait_status quiet, reservation_->wait(usage::write, until));
    if (quiet == wait_status::timed_out) {
      return fail(errc::timed_out, "a writer of the buffer, before it is copied");
    }
    PADDOCK_TRY_VOID(check_copy());
    statistics_.count(count::bounce_copies);
    PADDOCK_TRY_VOID(before_copy());
    PADDOCK_TRY(const fence_ptr copied, mover_.copy(to, from));
    PADDOCK_TRY(const wait_status ended, wait(*copied, deadline::never()));
    note_fresh_storage();
    return ended == wait_status::failed ? fail(copied->error()) : result<void>();
  }

  /// A mapping is gone; a revocation may wait for it.
  void note_unmapped() noexcept {
    if (status_.load() == buffer_status::revoking) {
      turn_.fetch_add(1);
      futex_wake_all(&turn_);
    }
  }

  /// Finds a place that all attachments are content with, and `causer`, which may be one of them, too, and that has
  /// room; moves there if it is another one. Returns what causer finds at the end. Errors: as move().
  [[nodiscard]] result<route_choice> settle_for(const resv_lock& held, attachment_node& causer,
                                                deadline until) noexcept;

  /// Gives the buffer other storage. `causer` is not told. See dma_buf::move().
  [[nodiscard]] result<void> move_to(const resv_lock& held, std::size_t place, deadline until,
                                     const attachment_node* causer, fallback why) noexcept;

  // --- without it --------------------------------------------------------------------------------------------------

  /// See dma_buf::revoke().
  [[nodiscard]] result<void> revoke(deadline until, buffer_status after) noexcept {
    return revoke(until, after, any_place);
  }
  /// The storage of one place goes: where the bytes are elsewhere, only what is still mapped from before a move.
  [[nodiscard]] result<void> revoke_place(std::size_t place, deadline until, buffer_status after) noexcept {
    return revoke(until, after, place);
  }
  /// With other storage where the exporter has places: what was in the old one is lost anyway.
  [[nodiscard]] result<void> restore() noexcept;

  /// A CPU access begins, or ends. Requires, for the beginning: the lock is held.
  void hold_for_cpu() noexcept { cpu_accesses_.fetch_add(1); }
  void leave_by_cpu() noexcept {
    if (cpu_accesses_.fetch_sub(1) == (cpu_is_awaited | 1U)) {
      futex_wake_all(&cpu_accesses_);
    }
  }

  void get() const noexcept {
    // order: relaxed: who adds a reference has one.
    references_.fetch_add(1, std::memory_order_relaxed);
  }
  void put() const noexcept {
    // order: acq_rel: what was done under a reference comes before the end, in whoever drops the last one.
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      delete this;
    }
  }
  /// A snapshot: others may be made from that one.
  [[nodiscard]] bool has_one_reference() const noexcept { return references_.load() == 1; }
  /// Takes a reference if somebody has one: for those who know the buffer without, and are told when it goes. Returns
  /// whether it did.
  [[nodiscard]] bool try_get() const noexcept {
    std::uint32_t seen = references_.load();
    while (seen != 0 && !references_.compare_exchange_weak(seen, seen + 1)) {
    }
    return seen != 0;
  }

  void use_mover(mover_ref who) noexcept { mover_ = who; }

 protected:
  /// `shared` is the reservation of several buffers, or null for one of its own. Requires: it outlives the buffer.
  buffer_core(storage_ptr initial, std::size_t place, paddock::reservation* shared, reservation_ptr registered) noexcept
      : registered_(std::move(registered)),
        reservation_(shared != nullptr ? shared
                     : registered_     ? registered_.get()
                                       : &own_),
        current_(std::move(initial)),
        size_(current_->size()),
        place_(place) {}
  virtual ~buffer_core() {
    if (cpu_accesses_.load() != 0) {
      report_lost_error({errc::busy, 0, "a buffer goes while the CPU accesses it"});
    }
    wait_for_copies();
  }

  [[nodiscard]] virtual result<void> exporter_pin() noexcept = 0;
  virtual void exporter_unpin() noexcept = 0;
  /// The bytes are in memory, and nowhere else, for whoever copies them.
  [[nodiscard]] virtual result<void> before_copy() noexcept = 0;
  /// Whoever wrote the storage of the moment, the caches know of it.
  virtual void note_fresh_storage() noexcept = 0;
  [[nodiscard]] virtual std::size_t place_count() const noexcept = 0;
  [[nodiscard]] virtual segment prototype(std::size_t place) const noexcept = 0;
  [[nodiscard]] virtual result<storage_ptr> allocate(std::size_t place) noexcept = 0;

 private:
  using list = boost::intrusive::list<attachment_node, boost::intrusive::constant_time_size<false>>;

  /// Old storage that a copy still reads.
  struct retired {
    storage_ptr from;
    std::size_t place;
    fence_ptr copy;
    std::unique_ptr<retired> next;
  };
  void drop_copied() noexcept {
    for (std::unique_ptr<retired>* at = &retired_; *at != nullptr;) {
      if ((*at)->copy->is_signaled() && !(at == &retired_ && has_failed_copy())) {
        *at = std::move((*at)->next);
      } else {
        at = &(*at)->next;
      }
    }
  }
  /// Fences are promises: this ends.
  void wait_for_copies() noexcept {
    for (; retired_ != nullptr; retired_ = std::move(retired_->next)) {
      static_cast<void>(wait(*retired_->copy, deadline::never()));
    }
  }

  template <class Tell>
  void tell_all(Tell tell) noexcept {
    telling_ = true;
    for (auto at = attachments_.begin(); at != attachments_.end();) {
      attachment_node& each = *at++;
      tell(each);
    }
    telling_ = false;
  }
  /// Requires: the reservation is held, so that nobody else waits.
  [[nodiscard]] bool wait_for_cpu(deadline until) noexcept {
    if (cpu_accesses_.load() == 0) {
      return true;
    }
    std::uint32_t seen = cpu_accesses_.fetch_or(cpu_is_awaited) | cpu_is_awaited;
    while (seen != cpu_is_awaited && futex_sleep(&cpu_accesses_, seen, until)) {
      seen = cpu_accesses_.load();
    }
    return cpu_accesses_.fetch_and(~cpu_is_awaited) == cpu_is_awaited;
  }
  [[nodiscard]] bool is_mapped() const noexcept {
    return std::ranges::any_of(attachments_, [](const attachment_node& each) { return each.has_mappings(); });
  }
  [[nodiscard]] result<void> wait_for_jobs(std::span<const jobs> answers, deadline until) noexcept;
  [[nodiscard]] result<void> check_movable(const resv_lock& held, std::size_t place) const noexcept;
  static constexpr std::size_t any_place = SIZE_MAX;
  [[nodiscard]] result<void> revoke(deadline until, buffer_status after, std::size_t from) noexcept;
  [[nodiscard]] result<void> allocate_anew() noexcept;
  /// All that the reservation has.
  void fail_jobs() noexcept;
  [[nodiscard]] result<resv_lock> lock_at_last(deadline until) noexcept;
  /// Another thread's revocation is under way: returns when it is over.
  void wait_while_revoking() const noexcept {
    while (status_.load() == buffer_status::revoking) {
      static_cast<void>(futex_sleep(&status_, static_cast<std::uint32_t>(buffer_status::revoking), deadline::never()));
    }
  }

  mutable std::atomic<std::uint32_t> references_{0};
  static constexpr std::uint32_t cpu_is_awaited = 1U << 31U;
  std::atomic<std::uint32_t> cpu_accesses_{0};  ///< How many are open, and whether somebody waits for them.
  std::atomic<buffer_status> status_{buffer_status::live};
  std::atomic<std::uint32_t> turn_{0};  ///< Counts unmaps while the buffer is being revoked.
  reservation_ptr registered_;
  paddock::reservation* const reservation_;

  // Under the reservation.
  storage_ptr current_;
  const std::uint64_t size_;
  std::size_t place_;
  list attachments_;
  const attachment_node* exclusive_{nullptr};
  std::unique_ptr<retired> retired_;
  std::uint32_t pins_{0};
  std::uint32_t life_{0};
  mover_ref mover_{mover_ref::by_cpu()};
  move_report last_move_;
  bool telling_{false};
  bool is_exported_{false};

  buffer_statistics statistics_;
  paddock::reservation own_;
};

inline result<void> buffer_core::wait_for_jobs(std::span<const jobs> answers, deadline until) noexcept {
  fence_cursor each(*reservation_, usage::bookkeep);
  for (fence_ptr job = each.next(); job; job = each.next()) {
    if (std::ranges::all_of(answers, [&](const jobs& some) { return some.awaits(*job); })) {
      PADDOCK_TRY(const wait_status ended, wait(*job, until));
      if (ended == wait_status::timed_out) {
        return fail(errc::timed_out, "a job on the buffer did not end in time");
      }
    }
  }
  return {};
}

inline result<void> buffer_core::check_movable(const resv_lock& held, std::size_t place) const noexcept {
  PADDOCK_TRY_VOID(check(held, "dma_buf::move"));
  PADDOCK_TRY_VOID(check_live("dma_buf::move"));
  if (telling_) {
    return fail(errc::reentrant, "dma_buf::move");
  }
  if (place >= place_count()) {
    return fail(errc::invalid_argument, "dma_buf::move: no such place");
  }
  if (current_->has(storage_kind::registers)) {
    return fail(errc::not_mappable, "dma_buf::move: registers do not move");
  }
  if (pins_ != 0) {
    return fail(errc::busy, "dma_buf::move: the buffer is pinned");
  }
  if (exclusive_ != nullptr) {
    return fail(errc::busy, "dma_buf::move: an importer works on a copy");
  }
  if (is_exported_) {
    return fail(errc::shared, "dma_buf::move: another process may have it");
  }
  return {};
}

inline result<void> buffer_core::move_to(const resv_lock& held, std::size_t place, deadline until,
                                         const attachment_node* causer, fallback why) noexcept {
  undo_failed_copy();
  PADDOCK_TRY_VOID(check_movable(held, place));
  if (place == place_) {
    return {};
  }
  // What may fail for want of memory comes before anybody is told.
  PADDOCK_TRY(storage_ptr to, allocate(place));
  if (to->size() != size_) {
    return fail(errc::unexpected, "dma_buf::move: the exporter's new storage has another size");
  }
  PADDOCK_TRY_VOID(reservation_->reserve(held, 1));
  drop_copied();
  std::unique_ptr<retired> old(new (std::nothrow) retired{current_, place_, {}, nullptr});
  const std::unique_ptr<jobs[]> answers(new (std::nothrow) jobs[attachments_.size() + 1]);
  if (old == nullptr || answers == nullptr) {
    return fail(errc::out_of_memory, "dma_buf::move");
  }
  std::size_t requeued = 0;
  tell_all([&](attachment_node& each) noexcept {
    if (&each != causer) {
      if (jobs answer = each.tell_invalidated(held); answer.are_requeued()) {
        answers[requeued++] = std::move(answer);
      }
    }
  });
  if (!wait_for_cpu(until)) {
    return fail(errc::timed_out, "dma_buf::move: the CPU accesses the buffer");
  }
  PADDOCK_TRY_VOID(wait_for_jobs({answers.get(), requeued}, until));
  PADDOCK_TRY_VOID(check_copy());  // An earlier one's, which was waited for.
  PADDOCK_TRY_VOID(before_copy());
  PADDOCK_TRY(old->copy, mover_.copy(*to, *current_));
  if (old->copy->status() == wait_status::failed) {
    return fail(old->copy->error());
  }
  note_fresh_storage();

  for (attachment_node& each : attachments_) {
    each.set_stale();
  }
  current_ = std::move(to);
  last_move_ = {place_, place, why};
  place_ = place;
  statistics_.count(count::moves);
  if (why != fallback::none) {
    statistics_.count(count::migrations);
    statistics_.routes().count(why);
  }
  if (!old->copy->is_signaled()) {
    static_cast<void>(reservation_->add(held, old->copy, usage::kernel));  // There is room.
    old->next = std::move(retired_);
    retired_ = std::move(old);
  }
  return {};
}

inline result<route_choice> buffer_core::settle_for(const resv_lock& held, attachment_node& causer,
                                                    deadline until) noexcept {
  const route_choice here = causer.accepts(current_->segments());
  if (here.direct || !check_movable(held, place_)) {
    return here;
  }
  result<route_choice> answer = here;
  for (std::size_t place = 0; place < place_count(); ++place) {
    const segment there = prototype(place);
    const auto is_content = [&](const attachment_node& each) { return each.accepts({&there, 1}).direct; };
    if (place != place_ && is_content(causer) && std::ranges::all_of(attachments_, is_content)) {
      const result<void> moved = move_to(held, place, until, &causer, here.why);
      if (moved) {
        return causer.accepts(current_->segments());
      }
      answer = fail(moved.error());
      if (moved.error() != errc::limit_reached && moved.error() != errc::out_of_memory &&
          moved.error() != errc::revoked && moved.error() != errc::no_device && moved.error() != errc::busy) {
        break;  // Not for want of room, which another place may have, nor since the place itself is gone.
      }
    }
  }
  return answer;
}

inline void buffer_core::fail_jobs() noexcept {
  fence_cursor each(*reservation_, usage::bookkeep);
  for (fence_ptr job = each.next(); job; job = each.next()) {
    if (each.current_usage() != usage::kernel) {  // A mover's: it uses both storages until it is done.
      job->fail(errc::canceled);
    }
  }
}

inline result<resv_lock> buffer_core::lock_at_last(deadline until) noexcept {
  auto taken = reservation_->lock(until);
  if (!taken && taken.error() == errc::timed_out) {
    fail_jobs();  // Whoever has it may be waiting for a job that does not end.
    return reservation_->lock();
  }
  return taken;
}

inline result<void> buffer_core::revoke(deadline until, buffer_status after, std::size_t from) noexcept {
  PADDOCK_TRY(resv_lock held, lock_at_last(until));
  if (telling_) {
    return fail(errc::reentrant, "dma_buf::revoke");
  }
  // The move has waited for the jobs of before; those of now are elsewhere, and may need the lock to begin. What may
  // still use the place is the move's copy: where that does not end in time all of it goes.
  if (from != any_place && from != place_ && reservation_->wait(usage::kernel, until) == wait_status::signaled) {
    for (attachment_node& each : attachments_) {
      each.end_stale(held);
    }
    return {};
  }
  while (status_.load() == buffer_status::revoking) {
    held.unlock();
    wait_while_revoking();
    PADDOCK_TRY(held, reservation_->lock());
  }
  if (status_.load() != buffer_status::live) {
    if (after == buffer_status::dead) {
      status_ = after;
    }
    return {};
  }
  if (std::ranges::any_of(attachments_, [](const attachment_node& each) { return each.is_unrevocable(); })) {
    return fail(errc::busy, "dma_buf::revoke: an importer is attached that cannot be told");
  }
  status_ = buffer_status::revoking;
  ++life_;
  tell_all([&](attachment_node& each) noexcept { each.tell_revoked(held); });
  bool in_time = wait_for_cpu(until);
  in_time = wait_for_jobs({}, until).has_value() && in_time;
  for (attachment_node& each : attachments_) {
    each.end_mappings(held, false);
  }
  held.unlock();

  // Importers need the lock to unmap.
  for (;;) {
    const std::uint32_t turn = turn_.load();
    PADDOCK_TRY(held, reservation_->lock());
    if (!is_mapped()) {
      break;
    }
    held.unlock();
    if (!futex_sleep(&turn_, turn, until)) {
      PADDOCK_TRY(held, reservation_->lock());
      break;
    }
  }
  for (attachment_node& each : attachments_) {
    each.end_mappings(held, true);
  }
  held.unlock();
  if (!in_time) {
    // Nothing can reach the storage any more, so that nobody waits for what will not come.
    fail_jobs();
  }
  statistics_.count(count::revocations);
  status_ = after;
  futex_wake_all(&status_);
  return {};
}

inline result<void> buffer_core::allocate_anew() noexcept {
  if (cpu_accesses_.load() != 0) {
    return fail(errc::busy, "dma_buf::restore: the CPU still accesses what was there");
  }
  drop_copied();
  if (retired_ != nullptr && !has_failed_copy()) {
    return fail(errc::busy, "dma_buf::restore: a mover still copies what was there");
  }
  result<storage_ptr> made = fail(errc::unexpected, "dma_buf::restore");
  std::size_t place = 0;
  for (; place < place_count(); ++place) {
    if (made = allocate(place); made) {
      break;
    }
  }
  PADDOCK_TRY(current_, std::move(made));
  place_ = place;
  retired_.reset();  // At most one that failed.
  note_fresh_storage();
  return {};
}

inline result<void> buffer_core::restore() noexcept {
  PADDOCK_TRY(const resv_lock held, reservation_->lock());
  switch (status_.load()) {
    case buffer_status::live: return {};
    case buffer_status::revoking: return fail(errc::busy, "dma_buf::restore: it is being revoked");
    case buffer_status::revoked:
      if (place_count() > 1) {
        PADDOCK_TRY_VOID(allocate_anew());
      }
      status_ = buffer_status::live;
      return {};
    case buffer_status::dead: break;
  }
  return fail(errc::no_device, "dma_buf::restore");
}

}  // namespace detail
}  // namespace PADDOCK_NAMESPACE
