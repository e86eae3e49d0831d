// SPDX-License-Identifier: BSL-1.0
/// \file
/// `basic_attachment`: what is behind `attachment`, with one policy an axis.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

#include <paddock/base/checking.hpp>
#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>
#include <paddock/buffer/armed_attachment.hpp>
#include <paddock/buffer/attachment_rules.hpp>
#include <paddock/buffer/core.hpp>
#include <paddock/buffer/device.hpp>
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/importer_hook.hpp>
#include <paddock/buffer/jobs.hpp>
#include <paddock/buffer/mapping.hpp>
#include <paddock/buffer/mapping_list.hpp>
#include <paddock/buffer/memory_exporter.hpp>
#include <paddock/buffer/turns.hpp>
#include <paddock/policy/selection.hpp>

namespace PADDOCK_NAMESPACE {

/// Fixed at its address: a member of the driver's queue, say. Empty at first; attach() ties it to a buffer, which it
/// keeps alive, and to a device, which must outlive it. What it does is said by its policies:
///
///     pinned       attach() gives an attachment that maps; the storage stays where it is until detach()
///     movable      attach(), then arm(lock, on_invalidate), or pin(lock) for a while
///     revocable    attach(), then arm(lock, on_revoke); the storage stays where it is, until it is taken back
///
/// The destructor detaches, so it must not run under the reservation.
/// Thread-safety: one thread at a time, but for what takes a proof, which is for its holder.
template <class Buffer, class Device, class Policies>
class basic_attachment final : private detail::attachment_node,
                               private detail::mapping_owner<Device>,
                               private armed_attachment<basic_attachment<Buffer, Device, Policies>, Device> {
 public:
  using buffer_type = Buffer;
  using device_type = Device;
  using policies = Policies;
  using armed_type = armed_attachment<basic_attachment, Device>;
  using mapping_type = mapping<Device>;

  static constexpr bool is_pinned = !Policies::residency::may_move && !Policies::residency::may_revoke;

 private:
  using record = detail::mapping_record<Device>;
  friend armed_type;
  using turns = detail::turns<Buffer, Device, Policies>;
  static_assert(detail::obeys_rules<Buffer, Device, Policies>());

 public:
  basic_attachment() noexcept = default;
  basic_attachment(const basic_attachment&) = delete;
  basic_attachment& operator=(const basic_attachment&) = delete;
  ~basic_attachment() { end(); }

  /// Ties it to both. A pinned one can map from here on, and the buffer stays where this device reaches it; if it has
  /// to be moved there, or copied for every use, that is decided now. `use` is what the device will do at most. Errors:
  /// already_exists (it is attached); revoked; those of the exporter's pin; for a pinned one also unreachable,
  /// timed_out, and those of a move. Kernel: dma_buf_dynamic_attach.
  [[nodiscard]] result<void> attach(const buffer_ptr<Buffer>& buffer, Device& to,
                                    direction use = direction::bidirectional,
                                    deadline until = deadline::never()) noexcept {
    if (is_attached()) {
      return fail(errc::already_exists, "attachment::attach");
    }
    PADDOCK_TRY(const resv_lock held, buffer->reservation().lock(until));
    PADDOCK_TRY_VOID(buffer->check_live("attachment::attach"));
    device_ = &to;
    use_ = use;
    buffer_ = buffer;
    buffer->core().link(*this);
    life_ = buffer->core().life();
    if constexpr (is_pinned) {
      if (auto pinned = pin_where_reached(held, until); !pinned) {
        static_cast<void>(leave(held));  // The caller has a reference.
        return pinned;
      }
    }
    return {};
  }

  [[nodiscard]] bool is_attached() const noexcept { return buffer_ != nullptr; }
  /// Requires: is_attached().
  [[nodiscard]] Buffer& buffer() const noexcept { return *buffer_; }
  [[nodiscard]] Device& importer() const noexcept { return *device_; }

  /// From here on it maps, and is told when the storage moves or goes: `hook(attachment&, resv_lock const&)` returns
  /// what becomes of its jobs in flight, see `jobs`, or nothing. It is called with the reservation held: it neither
  /// takes it nor waits. Errors: wrong_lock; revoked; already_exists (it is armed); invalid_argument (not attached).
  template <class Hook>
  [[nodiscard]] result<armed_type*> arm(const resv_lock& held, Hook hook, deadline until = deadline::never()) noexcept {
    static_assert(!is_pinned, "paddock: a pinned attachment maps at once; arm() is for movable and revocable ones");
    PADDOCK_TRY_VOID(check(held, "attachment::arm"));
    if (hook_) {
      return fail(errc::already_exists, "attachment::arm");
    }
    if constexpr (!Policies::residency::may_move) {
      PADDOCK_TRY_VOID(pin_where_reached(held, until));
    }
    hook_ = hook_type(hook);
    return static_cast<armed_type*>(this);
  }
  /// As above for a device whose mappings may go at any time without that anybody has to be told: vfio::device.
  [[nodiscard]] result<armed_type*> arm(const resv_lock& held) noexcept {
    static_assert(detail::yields_mappings<Device>() && !Policies::residency::may_move,
                  "paddock: arm(lock, hook): without a hook the importer would not be told");
    return arm(held, [](basic_attachment&, const resv_lock&) noexcept {});
  }
  /// From here on it maps, and the storage stays where it is until unpin(): for a scanout, say. Not for as long as a
  /// user likes: others cannot have the place. Errors: wrong_lock, revoked, unreachable, those of the exporter. Kernel:
  /// dma_buf_pin.
  [[nodiscard]] result<armed_type*> pin(const resv_lock& held, deadline until = deadline::never(),
                                        [[maybe_unused]] place at = place::here()) noexcept {
    static_assert(Policies::residency::may_move,
                  "paddock: only a movable attachment is pinned for a while; the others are as long as they map");
    PADDOCK_TRY_VOID(check(held, "attachment::pin"));
    PADDOCK_TRY_VOID(pin_where_reached(held, until));
    pinned_at_ = at;
    return static_cast<armed_type*>(this);
  }
  /// Errors: wrong_lock, invalid_argument (it is not pinned). Kernel: dma_buf_unpin.
  [[nodiscard]] result<void> unpin(const resv_lock& held) noexcept {
    static_assert(Policies::residency::may_move, "paddock: only a movable attachment is pinned for a while");
    if (!is_attached()) {
      return fail(errc::invalid_argument, "attachment::unpin: not attached");
    }
    PADDOCK_TRY_VOID(buffer_->check(held, "attachment::unpin"));
    if (user_pins() == 0) {
      return fail(errc::invalid_argument, "attachment::unpin: it is not pinned");
    }
    --pins_;
    core().unpin();
    return {};
  }

  /// As armed_attachment::map(), without a lock: the storage of a pinned attachment stays.
  /// Errors: those that are not about the lock; busy, timed_out, those of the device.
  [[nodiscard]] result<mapping_type> map(direction dir, deadline until = deadline::never(),
                                         place at = place::here()) noexcept requires is_pinned {
    if (!is_attached()) {
      return fail(errc::invalid_argument, "attachment::map: not attached");
    }
    return map_here(dir, until, at);
  }
  [[nodiscard]] result<void> unmap(mapping_type&& gone) noexcept requires is_pinned {
    return unmap_here(std::move(gone));
  }
  template <class... Arguments>
  requires(!is_pinned) void map(Arguments&&...) noexcept {
    static_assert(sizeof...(Arguments) == 0 && is_pinned,
                  "paddock: an attachment that may be moved or revoked maps through what arm(lock, hook) or pin(lock) "
                  "returns: until then it is not ready to be told");
  }

  /// Cache maintenance, or the copy of a bounce, before the device's turn; for sync_explicit, and for a mapping that is
  /// used many times. Caches: waits for nobody. Errors: wrong_lock, revoked, those of the exporter and of the mover.
  [[nodiscard]] result<void> sync_for_device(const resv_lock& held, const mapping_type& m, direction dir) noexcept {
    PADDOCK_TRY_VOID(check_turn(held, m));
    return turns::begin_device(*buffer_, *m.record_, dir, true, deadline::never());
  }
  /// The same before the CPU's turn, or before others are to see what the device did to its copy.
  [[nodiscard]] result<void> sync_for_cpu(const resv_lock& held, const mapping_type& m, direction dir) noexcept {
    PADDOCK_TRY_VOID(check_turn(held, m));
    return turns::begin_cpu(*buffer_, *m.record_, dir, true);
  }
  /// Without the lock, where the storage stays.
  [[nodiscard]] result<void> sync_for_device(const mapping_type& m, direction dir) noexcept requires is_pinned {
    PADDOCK_TRY_VOID(check_mine(m));
    return turns::begin_device(*buffer_, *m.record_, dir, true, deadline::never());
  }
  [[nodiscard]] result<void> sync_for_cpu(const mapping_type& m, direction dir) noexcept requires is_pinned {
    PADDOCK_TRY_VOID(check_mine(m));
    return turns::begin_cpu(*buffer_, *m.record_, dir, true);
  }

  /// What a job with this access has to wait for. Errors: out_of_memory.
  [[nodiscard]] result<fence_ptr> dependencies(access how, place at = place::here()) const noexcept {
    return buffer_->dependencies(how, at);
  }
  /// The same under the lock that commit() is called with. Errors: also wrong_lock.
  [[nodiscard]] result<fence_ptr> dependencies(const resv_lock& held, access how,
                                               place at = place::here()) const noexcept {
    return buffer_->dependencies(held, how, at);
  }
  /// Adds the job's fence, see dma_buf::commit(). Errors: also revoked; invalid_argument (not attached).
  [[nodiscard]] result<void> commit(const resv_lock& held, fence_ptr job, access how) noexcept {
    PADDOCK_TRY_VOID(check(held, "attachment::commit"));
    return buffer_->commit(held, std::move(job), how);
  }

  /// Lets go of the buffer. Requires: the caller has another reference of it, or detaches without its lock.
  /// Errors: wrong_lock; reentrant (the buffer tells its importers); busy while a mapping is held that is not revoked,
  /// and then nothing has changed. Kernel: dma_buf_detach.
  [[nodiscard]] result<void> detach(const resv_lock& held, place at = place::here()) noexcept {
    PADDOCK_TRY_VOID(check_detachable(held));
    static_cast<void>(leave(held, at));
    return {};
  }
  /// The same, taking the lock. Requires: the thread has not taken it.
  [[nodiscard]] result<void> detach(place at = place::here()) noexcept {
    if (!is_attached()) {
      return {};
    }
    buffer_ptr<Buffer> kept;  // The reservation outlives its lock.
    PADDOCK_TRY(const resv_lock held, buffer_->reservation().lock());
    PADDOCK_TRY_VOID(check_detachable(held));
    kept = leave(held, at);
    return {};
  }

 private:
  using hook_type = std::conditional_t<
      is_pinned, detail::no_hook,
      detail::importer_hook<basic_attachment, std::conditional_t<Policies::residency::may_move, jobs, void>>>;

  [[nodiscard]] detail::buffer_core& core() const noexcept { return buffer_->core(); }
  [[nodiscard]] bool is_dead() const noexcept { return life_ != core().life(); }
  [[nodiscard]] result<void> check(const resv_lock& held, const char* where) const noexcept {
    if (!is_attached()) {
      return fail(errc::invalid_argument, where);
    }
    PADDOCK_TRY_VOID(buffer_->check(held, where));
    if (is_dead()) {
      return fail(errc::revoked, where);
    }
    return buffer_->check_live(where);
  }

  [[nodiscard]] result<void> check_turn(const resv_lock& held, const mapping_type& m) const noexcept {
    PADDOCK_TRY_VOID(check(held, "attachment: whose turn it is"));
    PADDOCK_TRY_VOID(check_mine(m));
    return may_be_live(m.status()) ? result<void>() : fail(errc::revoked, "attachment: the mapping is not live");
  }
  [[nodiscard]] result<void> check_mine(const mapping_type& m) const noexcept {
    const bool is_mine = m.valid() && m.record_->owner.load() == this;
    return is_mine ? result<void>() : fail(errc::invalid_argument, "attachment: no mapping, or another attachment's");
  }

  // --- routes ------------------------------------------------------------------------------------------------------

  [[nodiscard]] route_choice accepts(std::span<const segment> where) const noexcept override {
    using route = typename Policies::route;
    if (is_dead()) {
      return {true, fallback::none, nullptr};  // It has no wishes any more.
    }
    const bool is_memory = std::ranges::all_of(where, [](const segment& s) { return s.kind == storage_kind::memory; });
    if constexpr (!route::tries_p2p) {
      return {is_memory, is_memory ? fallback::none : fallback::asked_for, nullptr};
    } else {
      return is_memory && !route::falls_back ? route_choice{false, fallback::no_route, nullptr}
                                             : detail::reach_of(*device_, where, use_);
    }
  }
  /// Decides how the device gets at the bytes. Requires: the reservation is held.
  [[nodiscard]] result<void> settle(const resv_lock& held, deadline until) noexcept {
    bounces_ = false;
    if (accepts(core().current()->segments()).direct) [[likely]] {
      return {};
    }
    PADDOCK_TRY(const route_choice way, core().settle_for(held, *this, until));
    bounces_ = !way.direct;
    if (!bounces_) {
      return {};
    }
    core().statistics().routes().count(way.why);
    if (!Policies::route::falls_back || core().current()->has(storage_kind::registers)) {
      return fail(errc::unreachable, "attachment: the device does not reach the buffer");
    }
    return {};
  }

  // --- mapping -----------------------------------------------------------------------------------------------------

  [[nodiscard]] result<void> pin_where_reached(const resv_lock& held, deadline until) noexcept {
    if (pins_ == UINT16_MAX) {
      return fail(errc::limit_reached, "attachment::pin");
    }
    core().undo_failed_copy();
    PADDOCK_TRY_VOID(core().check_copy());
    PADDOCK_TRY_VOID(settle(held, until));
    if constexpr (is_pinned) {
      // It maps without the lock: what becomes of copies, and whether it is alone with the bytes, is decided now.
      PADDOCK_TRY_VOID(Policies::fencing::waits || bounces_ ? core().end_copies(until) : result<void>());
      PADDOCK_TRY_VOID(bounces_ ? core().check_alone(*this) : core().check_exclusive(this));
    }
    PADDOCK_TRY_VOID(core().pin());
    if (is_pinned && bounces_) {
      core().set_exclusive(this);
    }
    ++pins_;
    return {};
  }

  [[nodiscard]] result<mapping_type> map_locked(const resv_lock& held, direction dir, deadline until,
                                                place at) noexcept {
    PADDOCK_TRY_VOID(check(held, "attachment::map"));
    PADDOCK_TRY_VOID(buffer_->reservation().run_left_work(held));
    PADDOCK_TRY_VOID(buffer_->reservation().expect_left_work(held));  // By handles that are dropped without the lock.
    if (core().is_telling()) {
      return fail(errc::reentrant, "attachment::map");
    }
    core().undo_failed_copy();
    PADDOCK_TRY_VOID(core().check_copy());
    if (pins_ == 0) {
      if (!hook_) {
        return fail(errc::invalid_argument, "attachment::map: neither armed nor pinned");
      }
      PADDOCK_TRY_VOID(settle(held, until));
    }
    PADDOCK_TRY_VOID(core().check_exclusive(this));
    return map_here(dir, until, at);
  }

  [[nodiscard]] result<mapping_type> map_here(direction dir, deadline until, place at) noexcept {
    if (use_ != direction::bidirectional && dir != use_) {
      return fail(errc::invalid_argument, "attachment::map: attached for another direction");
    }
    if constexpr (Policies::fencing::waits) {
      PADDOCK_TRY_VOID(wait_for(detail::access_by(dir), until, at));
    }
    std::unique_ptr<record> made = records_.take();
    if (made == nullptr) {
      return fail(errc::out_of_memory, "attachment::map");
    }
    made->dir = dir;
    // order: relaxed, all three: nobody else has the record.
    made->owner.store(this, std::memory_order_relaxed);
    made->state.store(record::link::held, std::memory_order_relaxed);
    made->status.store(mapping_status::live, std::memory_order_relaxed);
    made->made_at = at;
    if constexpr (!is_pinned) {
      made->locked_by = &core();
      made->of = core().current();
    }
    auto mapped = map_for(*made, until);
    if (!mapped) {
      forget(*made);
      records_.keep(std::move(made));
      return fail(mapped.error());
    }
    made->mapped = std::move(*mapped);
    turns::count_writer(*buffer_, *made, true);
    return mapping_type(records_.add(std::move(made)));
  }
  /// Its own jobs that wait for this very map are not waited for. Where the copy of a move fails meanwhile there is
  /// nothing to map; the next map() finds the bytes.
  [[nodiscard]] result<void> wait_for(access how, deadline until, place at) noexcept {
    PADDOCK_TRY_VOID(buffer_->wait_for(
        how, until, typename Policies::wait{}, [this](const fence& job) noexcept { return requeued_.awaits(job); },
        at));
    return core().check_copy();
  }
  [[nodiscard]] result<typename Device::mapped> map_for(record& made, deadline until) noexcept {
    if constexpr (Policies::route::falls_back) {
      if (bounces_) [[unlikely]] {
        PADDOCK_TRY_VOID(begin_bounce(made));
        PADDOCK_TRY_VOID(turns::begin_device(*buffer_, made, made.dir, false, until));
        return device_->map(made.shadow, made.dir);
      }
    }
    if constexpr (Policies::cache::on_access) {
      PADDOCK_TRY_VOID(turns::begin_device(*buffer_, made, made.dir, false, until));
    }
    return device_->map(core().current(), made.dir);
  }

  [[nodiscard]] result<void> unmap_locked(const resv_lock& held, mapping_type&& gone) noexcept {
    if (!is_attached()) {
      return fail(errc::invalid_argument, "attachment::unmap: not attached");
    }
    PADDOCK_TRY_VOID(buffer_->check(held, "attachment::unmap"));
    return unmap_here(std::move(gone));
  }
  [[nodiscard]] result<void> unmap_here(mapping_type&& gone) noexcept {
    if (!gone.valid()) {
      return {};
    }
    PADDOCK_TRY_VOID(check_mine(gone));
    record& ended = *std::exchange(gone.record_, nullptr);
    auto answer = end_mapping(ended);
    records_.give_back(ended);
    return answer;
  }
  [[nodiscard]] result<void> start_cpu(record& of, access what) noexcept override {
    bool is_counted = false;
    const auto is_there = [&]() noexcept -> result<void> {
      // order: relaxed: it changes under the lock.
      if (of.status.load(std::memory_order_relaxed) != mapping_status::live) {
        return fail(errc::revoked, "cpu_access: the storage that was mapped is not the buffer's any more");
      }
      ++of.cpu_accesses;
      is_counted = true;
      return {};
    };
    auto begun = buffer_->template start_cpu<Policies>(what, nullptr, this, is_there);
    if (!begun && is_counted) {
      --of.cpu_accesses;
    }
    return begun;
  }
  [[nodiscard]] result<void> end_cpu(record& of, access what) noexcept override {
    auto ended = buffer_->template end_cpu<Policies>(what);
    --of.cpu_accesses;
    return ended;
  }
  /// A handle is gone.
  void drop(record& gone) noexcept override {
    if (const auto ended = end_mapping(gone); !ended) {
      report_lost_error(ended.error());
    }
    records_.give_back(gone);
  }

  /// Takes it away from the device. The handle may live on.
  [[nodiscard]] result<void> end_mapping(record& ended) noexcept {
    if (!std::exchange(ended.is_mapped, false)) {
      return {};
    }
    turns::count_writer(*buffer_, ended, false);
    result<void> synced;
    // order: relaxed: it changes under the lock.
    if (ended.shadow != nullptr && ended.status.load(std::memory_order_relaxed) == mapping_status::live) {
      synced = turns::begin_cpu(*buffer_, ended, ended.dir, false);
    }
    auto unmapped = device_->unmap(ended.mapped);  // What is left of it, such as its addresses, goes with the handle.
    forget(ended);
    core().note_unmapped();
    return unmapped ? synced : unmapped;
  }
  void forget(record& ended) noexcept {
    if constexpr (!is_pinned) {
      if (ended.shadow != nullptr) {
        core().set_exclusive(nullptr);
      }
      ended.of.reset();
    }
    ended.shadow.reset();
  }

  // --- caches and bounces ------------------------------------------------------------------------------------------

  [[nodiscard]] result<void> begin_bounce(record& made) noexcept {
    if constexpr (is_pinned) {
      if (has_mappings()) {
        return fail(errc::busy, "attachment::map: it has a copy of the buffer already");
      }
    } else {
      PADDOCK_TRY_VOID(core().check_alone(*this));
    }
    PADDOCK_TRY(made.shadow, allocate_memory(buffer_->size()));
    core().set_exclusive(this);
    core().statistics().count(buffer_statistics::what::bounces);
    return {};
  }
  void take_away(record& each, bool by_force) noexcept {
    // order: release: pairs with the acquire in mapping::status().
    each.status.store(mapping_status::revoked, std::memory_order_release);
    if (by_force) {
      core().statistics().count(buffer_statistics::what::forced_unmaps);
    }
    if (const auto ended = end_mapping(each); !ended) {
      report_lost_error(ended.error());
    }
  }

  // --- what the buffer asks ----------------------------------------------------------------------------------------

  [[nodiscard]] jobs tell_invalidated([[maybe_unused]] const resv_lock& held) noexcept override {
    if constexpr (Policies::residency::may_move) {
      return requeued_ = hook_ && !is_dead() ? hook_(*this, held) : jobs::wait();
    } else {
      return jobs::wait();
    }
  }
  void tell_revoked([[maybe_unused]] const resv_lock& held) noexcept override {
    if constexpr (!is_pinned) {
      if (hook_type hook = std::exchange(hook_, {})) {  // Told once, though it may stay until a later revocation.
        static_cast<void>(hook(*this, held));
      }
    }
  }
  void set_stale() noexcept override {
    // order: release: pairs with the acquire in mapping::status().
    records_.for_each_mapped(
        [](record& each) noexcept { each.status.store(mapping_status::stale, std::memory_order_release); });
  }
  void end_mappings(const resv_lock&, bool all) noexcept override {
    if (all) {
      unpin_all();
    } else if (!detail::yields_mappings<Device>()) {
      return;
    }
    records_.for_each_mapped([&](record& each) noexcept { take_away(each, all); });
  }
  void end_stale(const resv_lock&) noexcept override {
    records_.for_each_mapped([&](record& each) noexcept {
      // order: relaxed: it changes under the lock.
      if (each.status.load(std::memory_order_relaxed) == mapping_status::stale) {
        take_away(each, true);
      }
    });
  }
  [[nodiscard]] bool has_mappings() const noexcept override { return records_.latest_mapped() != nullptr; }
  [[nodiscard]] bool is_unrevocable() const noexcept override { return is_pinned; }
  [[nodiscard]] attachment_facts facts() const override {
    return detail::facts_of<Policies>(*device_, use_, pins_, bounces_);
  }

  // --- the end -----------------------------------------------------------------------------------------------------

  [[nodiscard]] result<void> check_detachable(const resv_lock& held) noexcept {
    if (!is_attached()) {
      return {};
    }
    PADDOCK_TRY_VOID(buffer_->check(held, "attachment::detach"));
    if (core().is_telling()) {
      return fail(errc::reentrant, "attachment::detach");
    }
    PADDOCK_TRY_VOID(buffer_->reservation().run_left_work(held));
    if (has_mappings() || records_.is_being_dropped() || records_.cpu_accesses() != 0) {
      return fail(errc::busy, "attachment::detach: a mapping is held");
    }
    return {};
  }
  /// By pin(): all others have one that stays while they map.
  [[nodiscard]] unsigned user_pins() const noexcept { return Policies::residency::may_move ? pins_ : 0U; }
  void unpin_all() noexcept {
    for (; pins_ != 0; --pins_) {
      core().unpin();
    }
  }
  /// Returns the reference, which may be the last one. Requires: the reservation is held, and nothing is mapped.
  buffer_ptr<Buffer> leave(const resv_lock& held, [[maybe_unused]] place at = place::here()) noexcept {
    if (!is_attached()) {
      return {};
    }
    if (user_pins() != 0) {
      detail::note_unbalanced_use("an attachment goes while it is pinned", at, pinned_at_);
    }
    records_.leave_to_handles([&]() noexcept { return buffer_->reservation().run_left_work(held).has_value(); });
    if (core().exclusive() == this) {
      core().set_exclusive(nullptr);
    }
    unpin_all();
    core().unlink(*this);
    hook_ = {};
    requeued_ = {};
    device_ = nullptr;
    return std::move(buffer_);
  }
  void end() noexcept {
    if (!is_attached()) {
      return;
    }
    buffer_ptr<Buffer> kept;
    auto held = buffer_->reservation().lock();
    if (!held) {
      report_lost_error(held.error());  // The thread has it: what follows is for the holder anyway.
    }
    const resv_lock none;
    const resv_lock& proof = held ? *held : none;
    static_cast<void>(buffer_->reservation().run_left_work(proof));
    if (has_mappings()) {
      detail::note_unbalanced_use("an attachment goes while it is mapped", place::here(),
                                  records_.latest_mapped()->made_at);
      report_lost_error({errc::busy, 0, "an attachment goes while it is mapped"});
      end_mappings(proof, true);
    }
    for (std::uint32_t open = records_.cpu_accesses(); open != 0; --open) {
      report_lost_error({errc::busy, 0, "an attachment goes while the CPU accesses its mapping"});
      core().leave_by_cpu();
    }
    kept = leave(proof);
  }

  buffer_ptr<Buffer> buffer_;
  Device* device_{nullptr};
  detail::mapping_list<Device> records_;
  std::uint32_t life_{0};
  std::uint16_t pins_{0};
  direction use_{direction::bidirectional};
  bool bounces_{false};
  [[no_unique_address]] hook_type hook_;
  [[no_unique_address]] std::conditional_t<Policies::residency::may_move, jobs, detail::no_jobs> requeued_;
  [[no_unique_address]] place pinned_at_;
};

}  // namespace PADDOCK_NAMESPACE
