// SPDX-License-Identifier: BSL-1.0
// A buffer that a DMA engine and two NVMe drives write into at the same time, each from a thread of its own, while it
// is moved between a BAR and memory, taken back, or its device goes.
//
// The device whose BAR it is does no DMA itself: QEMU 7.2 does not survive a reset of a drive that is in the middle of
// transfers to a peer's BAR, and that of their target is safe. See tests/vm/README.md.
#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/cpu_access.hpp>
#include <paddock/buffer/dma_buf.hpp>
#include <paddock/buffer/mmio_access.hpp>
#include <paddock/buffer/placement.hpp>
#include <paddock/fence/wait.hpp>
#include <paddock/vfio/coherent_buffer.hpp>
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/device.hpp>
#include <paddock/vfio/pool_source.hpp>

#include <nvme/controller.hpp>

#include "edu.hpp"
#include "guest.hpp"

using namespace paddock;
using namespace paddock::test;
using namespace std::chrono_literals;

namespace {

constexpr int moves = 1000;
constexpr int revocations = 100;

constexpr std::uint64_t page = 4096;
constexpr std::size_t writers = 3;
constexpr std::size_t slots = 2;                   ///< A writer's own, of a page each.
constexpr std::uint64_t job_bytes = edu::longest;  ///< What a job writes: the first half of a slot.
constexpr std::uint64_t buffer_bytes = writers * slots * page;
constexpr unsigned patterns = 16;    ///< A device's jobs write one after the other.
constexpr unsigned untouched = 100;  ///< The pattern of what no job has written.
constexpr auto patience = 30s;       ///< Of whoever waits for what has to come, on a loaded machine.

constexpr std::size_t in_bar = 0;
constexpr std::size_t in_memory = 1;
using buffer = dma_buf<placement_exporter<vfio::pool_source, memory_source>, no_auto_fence>;

/// Those of two patterns differ in every byte.
std::byte pattern(unsigned seed, std::uint64_t i) { return static_cast<std::byte>((i * 31 + i / 256 + seed) & 0xff); }
void fill(std::span<std::byte> bytes, unsigned seed, std::uint64_t first = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = pattern(seed, first + i);
  }
}
bool holds(std::span<const std::byte> bytes, unsigned seed, std::uint64_t first = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != pattern(seed, first + i)) {
      return false;
    }
  }
  return true;
}

// --- devices -------------------------------------------------------------------------------------------------------

/// A device that writes patterns by DMA. Errors are returned: the threads that use it do not throw.
class master {
 public:
  master() = default;
  master(const master&) = delete;
  master& operator=(const master&) = delete;
  virtual ~master() = default;

  [[nodiscard]] virtual vfio::device& device() = 0;
  /// What has to be done before such a job begins.
  [[nodiscard]] virtual result<void> prepare(unsigned seed) = 0;
  /// Returns when the bytes are there.
  [[nodiscard]] virtual result<void> write(unsigned seed, iova to) = 0;
};

class edu_master final : public master {
 public:
  explicit edu_master(vfio::container& space)
      : device_(unwrap(vfio::device::open(space, role("EDU")))),
        engine_(unwrap(device_.map_bar(bar_index(0)))),
        source_(unwrap(vfio::coherent_buffer::create(space, page))) {
    unwrap(device_.set_bus_master(true));
    device_.trust_routes();  // This guest's root complex forwards: verify.cpp shows it.
  }
  vfio::device& device() override { return device_; }
  result<void> prepare(unsigned seed) override {
    fill(source_.bytes().first(job_bytes), seed);
    return engine_.read_from(source_.iova(), job_bytes) ? result<void>() : fail(errc::timed_out, "edu reads");
  }
  result<void> write(unsigned, iova to) override {
    return engine_.write_to(to, job_bytes) ? result<void>() : fail(errc::timed_out, "edu writes");
  }

 private:
  vfio::device device_;
  edu engine_;
  vfio::coherent_buffer source_;
};

/// It reads blocks of its own, which hold the patterns.
class nvme_master final : public master {
 public:
  nvme_master(vfio::container& space, const char* name, unsigned first_seed)
      : drive_(unwrap(nvme::controller::open(space, role(name), {.interrupts = false}))), first_seed_(first_seed) {
    drive_->device().trust_routes();
    auto source = unwrap(vfio::coherent_buffer::create(space, page));
    for (unsigned i = 0; i < patterns; ++i) {
      fill(source.bytes().first(job_bytes), first_seed + i);
      unwrap(finish(drive_->write(std::uint64_t{i} * blocks(), blocks(), source.iova())));
    }
  }
  vfio::device& device() override { return drive_->device(); }
  result<void> prepare(unsigned) override { return {}; }
  result<void> write(unsigned seed, iova to) override {
    return finish(drive_->read(std::uint64_t{seed - first_seed_} * blocks(), blocks(), to));
  }

 private:
  [[nodiscard]] std::uint32_t blocks() const {
    return static_cast<std::uint32_t>(job_bytes / drive_->identity().block_bytes);
  }
  [[nodiscard]] result<void> finish(const result<fence_ptr>& submitted) {
    PADDOCK_TRY(const fence_ptr command, submitted);
    const deadline until = deadline::in(patience);
    while (!command->is_signaled()) {
      if (until.passed()) {
        return fail(errc::timed_out, "NVMe command");
      }
      if (drive_->io().walk() == 0) {
        std::this_thread::sleep_for(50us);  // Two processors for all, and they are emulated.
      }
    }
    return command->sys_errno() != 0 ? fail(command->error()) : result<void>();
  }

  std::unique_ptr<nvme::controller> drive_;
  unsigned first_seed_;
};

/// Whose memory the buffer lives in.
struct provider {
  provider(vfio::container& space, std::chrono::nanoseconds waits)
      : device(unwrap(vfio::device::open(space, role("NVME_B")))),
        registers(unwrap(device.map_bar(bar_index(0)))),
        window(unwrap(device.map_bar(bar_index(2)))),
        options{.patience = waits} {
    set_up();
  }
  /// After a reset the controller memory does not exist until it is asked for.
  void set_up() {
    const mmio_span at = unwrap(registers.mmio());
    at.write64(nvme::reg::cmbmsc, nvme::cmbmsc_capabilities_enable);
    const nvme::memory_buffer_registers found{at.read32(nvme::reg::cmbsz), at.read32(nvme::reg::cmbloc)};
    REQUIRE(found.bar() == 2);
    REQUIRE(nvme::refusal(found, nvme::buffer_owner::neither) == nullptr);
    REQUIRE(range_fits(pool.where().offset - found.offset(), pool.where().size, found.size()));
  }
  [[nodiscard]] buffer_ptr<buffer> create() {
    return unwrap(buffer::create(
        placement_exporter(buffer_bytes, unwrap(vfio::pool_source::create(pool, window, options)), memory_source())));
  }

  vfio::device device;
  vfio::bar registers;
  vfio::bar window;
  vfio::bar_export_options options;
  // Room for the storage of several moves, which stays until its last mapping is gone.
  pci::pool pool = unwrap(pci::pool::create({role("NVME_B"), bar_index(2), 0x100000, 16 * buffer_bytes}));
};

// --- the buffer ----------------------------------------------------------------------------------------------------

/// By CPU, wherever the bytes are.
[[nodiscard]] result<void> read(const buffer& from, std::uint64_t offset, std::span<std::byte> to) {
  for (;;) {
    const auto as_memory = cpu_access<access::read>::begin(from);
    if (as_memory) {
      std::memcpy(to.data(), as_memory->bytes().data() + offset, to.size());
      return {};
    }
    if (as_memory.error() != errc::not_mappable) {
      return fail(as_memory.error());
    }
    const auto behind_bar = mmio_access<access::read>::begin(from);
    if (behind_bar) {
      PADDOCK_TRY(const mmio_span part, behind_bar->window().subspan(offset, to.size()));
      return copy_from_device(to, part);
    }
    if (behind_bar.error() != errc::not_mappable) {
      return fail(behind_bar.error());
    }
    // It has moved in between.
  }
}

/// All threads on one processor, while it lives. QEMU 7.2 changes the map of the machine's memory, when memory decoding
/// is switched or a device goes, for all processors at once, and the others, when they access a register in that very
/// moment, access some other device's.
class one_processor {
 public:
  one_processor() {
    REQUIRE(::sched_getaffinity(0, sizeof before_, &before_) == 0);
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    REQUIRE(::sched_setaffinity(0, sizeof first, &first) == 0);
  }
  one_processor(const one_processor&) = delete;
  one_processor& operator=(const one_processor&) = delete;
  ~one_processor() { static_cast<void>(::sched_setaffinity(0, sizeof before_, &before_)); }

 private:
  cpu_set_t before_{};
};

/// What the threads share.
struct stage {
  buffer_ptr<buffer> bytes;
  std::atomic<unsigned> lives{0};                               ///< Counts how often it was given storage.
  std::array<std::atomic<std::uint64_t>, writers> jobs_done{};  ///< By writer.
  std::array<std::atomic<bool>, writers> is_writing{};          ///< Its device is in the middle of a job.
  std::atomic<const char*> failure{nullptr};                    ///< Of a writer, while the buffer was not dead.

  /// Writers may attach from here on. Requires: it is in the BAR.
  void open() {
    std::vector<std::byte> empty(buffer_bytes);
    fill(empty, untouched);
    {
      auto guard = unwrap(mmio_access<access::write>::begin(*bytes));
      unwrap(copy_to_device(guard.window(), empty));
    }
    ++lives;
  }
  void move(std::size_t place) {
    const resv_lock held = unwrap(bytes->lock());
    unwrap(bytes->move(held, place, deadline::in(patience)));
  }
  [[nodiscard]] std::size_t where() {
    const resv_lock held = unwrap(bytes->lock());
    return unwrap(bytes->where(held));
  }
  void wait_for_jobs(std::uint64_t more) const {
    const auto done = [&] { return std::accumulate(jobs_done.begin(), jobs_done.end(), std::uint64_t{0}); };
    wait_until([&, enough = done() + more] { return done() >= enough; });
  }
  void wait_for_a_job_of_each() const {
    wait_until([&] { return std::ranges::all_of(jobs_done, [](const auto& some) { return some != 0; }); });
  }
  /// Returns in the middle of one, as far as that can be seen.
  void wait_for_a_job_by(std::size_t writer) const {
    wait_until([&] { return is_writing[writer].load(); });
  }

 private:
  template <class Condition>
  void wait_until(Condition is_true) const {
    const deadline until = deadline::in(patience);
    while (!is_true()) {
      if (const char* what = failure) {
        FAIL("a writer: " << what);
      }
      REQUIRE_FALSE(until.passed());
      std::this_thread::sleep_for(200us);
    }
  }
};

/// A driver: one device, jobs one after the other, in a thread of its own. Every third job begins at once; the others
/// wait for a moment behind others in the device's queue, as it were, and of these one half goes back to the driver
/// when the buffer moves, the other half is given up.
class writer {
 public:
  /// Of the thread, and of the hook.
  struct counts {
    std::uint64_t jobs{0};      ///< Whose bytes are there.
    std::uint64_t told{0};      ///< Moves and revocations.
    std::uint64_t waited{0};    ///< Jobs that had begun when the buffer was about to move.
    std::uint64_t requeued{0};  ///< Jobs that had not, and began after it.
    std::uint64_t canceled{0};  ///< Jobs that never began.
    unsigned attached{0};       ///< How often.
  };

  writer(stage& on, master& by, std::size_t number)
      : stage_(on), by_(by), number_(number), thread_([this](const std::stop_token& stop) {
          outcome_ = run(stop);
          if (!outcome_ && stage_.bytes->status() != buffer_status::dead) {
            stage_.failure = outcome_.error().where;
          }
        }) {}

  /// Ends the thread, once its job has ended.
  [[nodiscard]] const result<void>& finish() {
    thread_.request_stop();
    return wait();
  }
  /// Returns when it has ended by itself.
  [[nodiscard]] const result<void>& wait() {
    if (thread_.joinable()) {
      thread_.join();
    }
    return outcome_;
  }
  // The rest is for when it has.
  [[nodiscard]] const counts& seen() const { return seen_; }
  [[nodiscard]] result<void> check_all() const {
    for (std::size_t slot = 0; slot < slots; ++slot) {
      PADDOCK_TRY_VOID(check(slot));
    }
    return {};
  }

 private:
  using link = attachment<buffer, vfio::device, movable>;
  enum class phase : std::uint8_t { idle, queued, canceled, runs };

  [[nodiscard]] result<void> run(const std::stop_token& stop) {
    for (std::uint64_t number = 0; !stop.stop_requested();) {
      const result<void> done = link_.is_attached() ? job(number++) : attach(stop);
      if (!done && done.error() != errc::revoked) {
        return done;
      }
      if (!done) {
        where_ = {};
        PADDOCK_TRY_VOID(link_.detach());
      }
    }
    return {};
  }

  /// As soon as there is storage that this writer has not seen revoked.
  [[nodiscard]] result<void> attach(const std::stop_token& stop) {
    while (stage_.lives == life_ && !stop.stop_requested()) {
      if (stage_.bytes->status() == buffer_status::dead) {
        return fail(errc::no_device, "the buffer is dead");
      }
      std::this_thread::sleep_for(200us);
    }
    life_ = stage_.lives;
    known_ = {};
    PADDOCK_TRY_VOID(link_.attach(stage_.bytes, by_.device(), direction::from_device));
    PADDOCK_TRY(const resv_lock held, stage_.bytes->lock());
    at_ = phase::idle;
    address_is_good_ = false;
    PADDOCK_TRY(armed_, link_.arm(held, [this](link&, const resv_lock&) noexcept { return on_invalidate(); }));
    ++seen_.attached;
    return {};
  }

  /// The reservation is held. A buffer that is taken back does not come back for this attachment's jobs.
  [[nodiscard]] jobs on_invalidate() noexcept {
    ++seen_.told;
    address_is_good_ = false;
    if (at_ == phase::queued && (may_be_requeued_ && stage_.bytes->status() == buffer_status::live)) {
      ++seen_.requeued;
      return jobs::requeue(*job_);
    }
    if (at_ == phase::queued) {
      ++seen_.canceled;
      at_ = phase::canceled;
      job_->fail(errc::canceled);
      return jobs::cancel();
    }
    seen_.waited += at_ == phase::runs && !job_->is_signaled() ? 1 : 0;
    return jobs::wait();
  }

  [[nodiscard]] result<iova> address(const resv_lock& held) {
    if (!address_is_good_) {
      PADDOCK_TRY(where_, armed_->map(held, direction::from_device, deadline::in(patience)));
      // Not for the jobs of others, who write elsewhere, nor for this one's own: that is why it has no_auto_fence.
      PADDOCK_TRY(const wait_status ended,
                  stage_.bytes->reservation().wait(usage::kernel, deadline::in(patience), hybrid_wait{}));
      if (ended == wait_status::timed_out) {
        return fail(errc::timed_out, "the copy of a move");
      }
      address_is_good_ = true;
    }
    return where_.iova();
  }

  [[nodiscard]] result<void> job(std::uint64_t number) {
    const std::size_t slot = number % slots;
    PADDOCK_TRY_VOID(check(slot));
    const auto seed = static_cast<unsigned>(number_ * patterns + number % patterns);
    PADDOCK_TRY_VOID(by_.prepare(seed));
    const bool at_once = number % 3 == 0;
    iova to{};
    {
      PADDOCK_TRY(const resv_lock held, stage_.bytes->lock());
      PADDOCK_TRY_VOID(stage_.bytes->reservation().reserve(held, 1));
      PADDOCK_TRY(to, address(held));
      PADDOCK_TRY(job_, ring_.create());
      PADDOCK_TRY_VOID(link_.commit(held, job_, access::write));
      may_be_requeued_ = number % 3 == 1;
      at_ = at_once ? phase::runs : phase::queued;
    }
    const result<void> begun = at_once ? result<void>() : leave_queue(to);
    stage_.is_writing[number_] = begun.has_value();
    const result<void> done = begun ? by_.write(seed, to + offset_of(slot)) : begun;
    stage_.is_writing[number_] = false;
    if (!done) {
      job_->fail(done.error().code);
      return done.error() == errc::canceled ? result<void>() : done;
    }
    known_[slot] = seed;
    ++seen_.jobs;
    job_->signal();
    ++stage_.jobs_done[number_];
    return {};
  }
  /// Errors: canceled.
  [[nodiscard]] result<void> leave_queue(iova& to) {
    std::this_thread::sleep_for(300us);
    PADDOCK_TRY(const resv_lock held, stage_.bytes->lock());
    if (at_ == phase::canceled) {
      return fail(errc::canceled, "a job");
    }
    PADDOCK_TRY(to, address(held));
    at_ = phase::runs;
    return {};
  }

  [[nodiscard]] std::uint64_t offset_of(std::size_t slot) const { return (number_ * slots + slot) * page; }
  /// All bytes of the slot are those of the last job that was not given up, and those behind them nobody's.
  [[nodiscard]] result<void> check(std::size_t slot) const {
    std::array<std::byte, page> bytes{};
    PADDOCK_TRY_VOID(read(*stage_.bytes, offset_of(slot), bytes));
    const std::span<const std::byte> all(bytes);
    const bool as_written = known_[slot] ? holds(all.first(job_bytes), *known_[slot])
                                         : holds(all.first(job_bytes), untouched, offset_of(slot));
    if (!as_written) {
      return fail(errc::unexpected, "a slot does not hold what its last job wrote");
    }
    if (!holds(all.subspan(job_bytes), untouched, offset_of(slot) + job_bytes)) {
      return fail(errc::unexpected, "a slot has changed where no job writes");
    }
    return {};
  }

  stage& stage_;
  master& by_;
  const std::size_t number_;
  fence_context ring_{"stress", patience};
  unsigned life_{0};
  std::array<std::optional<unsigned>, slots> known_{};  ///< The pattern that each slot holds.
  counts seen_;
  result<void> outcome_;

  // Under the reservation.
  link link_;
  link::armed_type* armed_{nullptr};
  mapping<vfio::device> where_;
  bool address_is_good_{false};
  bool may_be_requeued_{false};
  phase at_{phase::idle};
  fence_ptr job_;

  std::jthread thread_;  // The last one: it uses all of them.
};

/// The machine without the buffer's own device: what there is of its mappings must be there at the end.
struct machine {
  machine() : mapped(space.mapping_count()), available(unwrap(space.available_mappings())), faults(iommu_faults()) {}

  void check_nothing_is_left() {
    CHECK(space.mapping_count() == mapped);
    CHECK(unwrap(space.available_mappings()) == available);
    std::this_thread::sleep_for(500ms);  // The kernel tells of faults by an interrupt.
    CHECK(iommu_faults() == faults);
  }

  vfio::container space = unwrap(vfio::container::create());
  edu_master engine{space};
  nvme_master first_drive{space, "NVME_A", patterns};
  nvme_master second_drive{space, "NVME_PLAIN", 2 * patterns};
  std::size_t mapped;
  std::uint32_t available;
  std::size_t faults;
};

struct crew {
  crew(stage& on, machine& m)
      : each{std::make_unique<writer>(on, m.engine, 0), std::make_unique<writer>(on, m.first_drive, 1),
             std::make_unique<writer>(on, m.second_drive, 2)} {}

  void finish() {
    for (const auto& one : each) {
      unwrap(one->finish());
      unwrap(one->check_all());
    }
  }
  writer::counts print(const char* what) const {
    writer::counts all;
    for (const auto& one : each) {
      const writer::counts& seen = one->seen();
      fmt::print("{}: {} jobs; told {} times; {} running, {} requeued, {} canceled then; attached {} times\n", what,
                 seen.jobs, seen.told, seen.waited, seen.requeued, seen.canceled, seen.attached);
      all.waited += seen.waited;
      all.requeued += seen.requeued;
      all.canceled += seen.canceled;
    }
    return all;
  }

  std::array<std::unique_ptr<writer>, writers> each;
};

/// Its device goes while they write: nobody reaches its memory when that happens.
struct last final : vfio::revocable {
  explicit last(vfio::ioas& of) : space(of) {}
  void on_revoke(vfio::revoke_reason why) noexcept override {
    mapped = space.mapping_count();
    reason = why;
  }
  vfio::ioas& space;
  std::size_t mapped{SIZE_MAX};
  vfio::revoke_reason reason{};
};

template <class Go>
void device_goes(machine& m, vfio::revoke_reason wanted, Go go) {
  provider memory(m.space, 3s);
  stage on{memory.create()};
  last behind(m.space);
  unwrap(memory.device.state()->listeners->join(behind));
  on.open();
  crew all(on, m);
  fence_context ring("hung", patience);
  const fence_ptr hung = unwrap(ring.create());
  {
    const resv_lock held = unwrap(on.bytes->lock());
    unwrap(on.bytes->reservation().reserve(held, 1));
    unwrap(on.bytes->commit(held, hung, access::write));
  }
  on.wait_for_a_job_of_each();
  go(on, memory);
  CHECK(behind.mapped == m.mapped);
  CHECK(behind.reason == wanted);
  CHECK(hung->error() == errc::canceled);
  CHECK(on.bytes->status() == buffer_status::dead);
  CHECK(code(on.bytes->restore()) == errc::no_device);
  CHECK(on.bytes->reservation().test_signaled(usage::bookkeep));
  for (const auto& one : all.each) {
    CHECK(code(one->wait()) == errc::no_device);
    CHECK(one->seen().jobs > 0);
  }
  all.print("went");
}

}  // namespace

TEST_CASE("buffer stress: three devices write while the buffer moves between a BAR and memory") {
  const std::size_t fds = open_fds();
  {
    machine m;
    {
      provider memory(m.space, patience);
      stage on{memory.create()};
      on.open();
      crew all(on, m);
      const auto begin = std::chrono::steady_clock::now();
      for (int i = 0; i < moves; ++i) {
        on.move(i % 2 == 0 ? in_memory : in_bar);
        if (i % 4 == 3) {
          on.wait_for_jobs(1);
        }
        if (i % 25 == 24) {
          on.wait_for_a_job_by(static_cast<std::size_t>(i) / 25 % writers);
        }
      }
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      fmt::print("{} moves in {:.1f} s\n", moves, took.count());
      all.finish();
      const writer::counts seen = all.print("moved");
      CHECK(seen.waited > 0);
      CHECK(seen.requeued > 0);
      CHECK(seen.canceled > 0);
      CHECK(on.bytes->statistics().of(buffer_statistics::what::moves) == moves);
      CHECK(on.bytes->statistics().of(buffer_statistics::what::bounces) == 0);
      all.each = {};
      CHECK(memory.pool.statistics().live == 1);
      on.bytes.reset();
      CHECK(memory.pool.statistics().live == 0);
    }
    m.check_nothing_is_left();
  }
  CHECK(open_fds() == fds);
}

TEST_CASE("buffer stress: three devices write while the memory is taken back, and comes back") {
  const one_processor only;
  const std::size_t fds = open_fds();
  {
    machine m;
    {
      provider memory(m.space, patience);
      stage on{memory.create()};
      on.open();
      crew all(on, m);
      const auto begin = std::chrono::steady_clock::now();
      for (int i = 0; i < revocations; ++i) {
        if (i % 10 == 0) {
          // Elsewhere the bytes are safe: writers are not revoked, and find what they wrote.
          on.move(in_memory);
          unwrap(memory.device.reset());
          memory.set_up();
          on.wait_for_jobs(2);
          on.move(in_bar);
          on.wait_for_jobs(2);
        }
        on.wait_for_a_job_by(static_cast<std::size_t>(i) % writers);
        if (i % 2 == 0) {
          unwrap(memory.device.reset());
          memory.set_up();
        } else {
          unwrap(memory.device.set_memory_enabled(false));
          unwrap(memory.device.set_memory_enabled(true));
        }
        REQUIRE(on.bytes->status() == buffer_status::revoked);
        CHECK(on.bytes->reservation().test_signaled(usage::bookkeep));
        unwrap(on.bytes->restore());
        REQUIRE(on.where() == in_bar);
        on.open();
      }
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      fmt::print("{} revocations in {:.1f} s\n", revocations, took.count());
      on.wait_for_jobs(2);
      all.finish();
      const writer::counts seen = all.print("revoked");
      for (const auto& one : all.each) {
        CHECK(one->seen().jobs > 0);
        CHECK(one->seen().waited > 0);
        CHECK(one->seen().attached > 10);
      }
      CHECK(seen.canceled > 0);
      CHECK(on.bytes->statistics().of(buffer_statistics::what::revocations) == revocations);
      all.each = {};
      on.bytes.reset();
      CHECK(memory.pool.statistics().live == 0);
    }
    m.check_nothing_is_left();
  }
  CHECK(open_fds() == fds);
}

TEST_CASE("buffer stress: three devices write while the buffer's device is unplugged") {
  const one_processor only;
  const std::size_t fds = open_fds();
  {
    machine m;
    device_goes(m, vfio::revoke_reason::removed, [](stage& on, provider& memory) {
      const auto request = unwrap(memory.device.enable_irq(vfio::irq_kind::request));
      REQUIRE(ask_host("unplug --no-wait nvme_b") == 0);
      pollfd entry{request.event(0).get(), POLLIN, 0};
      REQUIRE(unwrap(detail::poll(&entry, 1, deadline::in(patience))) == 1);
      on.wait_for_a_job_by(0);
      memory.device.remove();
    });
    CHECK(ask_host("wait-unplugged nvme_b") == 0);
    CHECK(ask_host("plug nvme_b") == 0);
    m.check_nothing_is_left();
  }
  CHECK(open_fds() == fds);
}

TEST_CASE("buffer stress: three devices write while the buffer's device is closed") {
  const one_processor only;
  const std::size_t fds = open_fds();
  {
    machine m;
    device_goes(m, vfio::revoke_reason::closed, [](stage& on, provider& memory) {
      on.wait_for_a_job_by(0);
      memory.device.close();
    });
    m.check_nothing_is_left();
  }
  CHECK(open_fds() == fds);
}
