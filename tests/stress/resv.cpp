// SPDX-License-Identifier: BSL-1.0
// Threads that lock random sets of reservations and change what these guard, while others read without locks, and
// signalers complete the fences, for --seconds. What must hold is checked where it can be seen; the guarded data is
// not atomic, so that a sanitizer sees what a lock fails to order. Ends with how often each kind of operation was done,
// and how often a set had to begin anew at most; fails when something was not done, was lost, or was kept.
#include <paddock/resv/reservation.hpp>

#include <getopt.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <paddock/fence/context.hpp>
#include <paddock/resv/cursor.hpp>
#include <paddock/resv/lock_set.hpp>

#include "harness.hpp"

using namespace paddock;
using namespace std::chrono_literals;
using stress::in_threads;
using stress::luck;
using stress::must;
using stress::stopwatch;

namespace {

// --- what was done
// ----------------------------------------------------------------------------------------------------

enum class did : std::uint8_t {
  locked_sets,
  locked_reservations,
  begun_anew,
  timed_out,
  locked_alone,
  found_busy,
  added,
  replaced,
  copied,
  collected,
  signaled,
  asked,
  found_idle,
  visited,
  walked,
  walk_restarted,
  snapshots,
  singletons,
  set_deadline,
  guards,
  short_threads,
  count
};
constexpr std::array names{"sets locked",
                           "reservations locked in sets",
                           "sets begun anew",
                           "sets timed out",
                           "reservations locked alone",
                           "reservations found busy",
                           "fences added",
                           "contexts replaced",
                           "reservations copied",
                           "collections",
                           "fences signaled",
                           "asked",
                           "found idle",
                           "fences visited",
                           "fences walked over",
                           "walks restarted",
                           "snapshots",
                           "singletons",
                           "deadlines set",
                           "guards",
                           "threads that came and went"};
static_assert(names.size() == static_cast<std::size_t>(did::count));
using tally = stress::tally<did, names.size()>;

void did_it(did what) noexcept { tally::add(what); }

// --- jobs and what they work on
// ---------------------------------------------------------------------------------------

constexpr std::uint64_t intact = 0x600d'600d'600d'600d;

/// The fence of a job, which tells when it was freed too early, and is counted.
class job final : public fence {
 public:
  explicit job(fence_context& queue) noexcept : fence(queue, &operations) { ++living; }
  void check() const noexcept { must(intact_ == intact, "what a reader finds is there"); }
  [[nodiscard]] static std::uint64_t alive() noexcept { return living.load(); }

 private:
  ~job() {
    check();
    intact_ = 0;
    --living;
  }
  static void destroy(fence& f) noexcept { delete static_cast<job*>(&f); }

  static constexpr fence_ops operations{.release = &destroy};
  static inline std::atomic<std::uint64_t> living{0};
  std::uint64_t intact_{intact};
};
void check(const fence& f) noexcept { static_cast<const job&>(f).check(); }

struct buffer {
  reservation fences;
  std::uint64_t changes{0};  ///< Guarded by the lock alone.
  std::uint64_t check{~std::uint64_t{0}};
  void change() noexcept {
    must(check == ~changes, "a lock's holder is alone, and sees what the last one did");
    ++changes;
    check = ~changes;
  }
};

constexpr std::uint32_t buffer_count = 256;
constexpr std::uint32_t most_in_set = 64;

/// Jobs on their way from one locker to a signaler. Not shared by lockers: its mutex would order what they do.
class pipeline {
 public:
  void push(fence_ptr f) {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(f));
  }
  /// Some of them, in any order.
  [[nodiscard]] std::vector<fence_ptr> take(luck& dice) {
    const std::lock_guard lock(mutex_);
    std::vector<fence_ptr> taken;
    while (!jobs_.empty() && taken.size() < 32) {
      std::swap(jobs_[dice.below(static_cast<std::uint32_t>(jobs_.size()))], jobs_.back());
      taken.push_back(std::move(jobs_.back()));
      jobs_.pop_back();
    }
    return taken;
  }
  [[nodiscard]] bool full() {
    const std::lock_guard lock(mutex_);
    return jobs_.size() > 1024;
  }
  void close() { closed_ = true; }
  [[nodiscard]] bool closed() const { return closed_; }

 private:
  std::mutex mutex_;
  std::vector<fence_ptr> jobs_;
  std::atomic<bool> closed_{false};
};

class world {
 public:
  world(std::chrono::duration<double> span, std::uint32_t lockers)
      : time_(span), lockers_(lockers), buffers_(buffer_count), pipelines_(lockers) {}

  void run(std::uint32_t seed) {
    // Two lockers have one signaler; two threads read.
    const std::uint32_t signalers = (lockers_ + 1) / 2;
    in_threads<tally>(lockers_ + signalers + 2, seed, [&](std::size_t index, luck& dice) {
      if (index < lockers_) {
        lock_and_change(pipelines_[index], dice);
      } else if (index < lockers_ + signalers) {
        signal(2 * (index - lockers_), dice);
      } else if (index == lockers_ + signalers) {
        while (time_.running()) {
          read(dice, 64);
        }
      } else {
        read_in_short_threads(dice);
      }
    });
    check_end();
    std::printf("%12llu  retries of a set at most, among %u threads; %llu are the bound\n",
                static_cast<unsigned long long>(most_retries_.load()), lockers_,
                static_cast<unsigned long long>(retry_bound()));
  }

 private:
  /// A set is refused only by an older one, and goes on when that has left the lock. Each other thread has one older
  /// set at most, since what it makes later is younger, and that has so many locks to leave. An older set that is
  /// refused itself comes back with all of them, so that the worst case is a multiple of this; what is seen stays far
  /// below, while a thread that starved would begin anew until the program ends.
  [[nodiscard]] std::uint64_t retry_bound() const noexcept { return std::uint64_t{most_in_set} * (lockers_ - 1); }

  [[nodiscard]] reservation& any(luck& dice) { return buffers_[dice.below(buffer_count)].fences; }

  // --- with locks
  // -------------------------------------------------------------------------------------------------------

  void lock_and_change(pipeline& jobs, luck& dice) {
    fence_context queue("stress", 10s);
    while (time_.running()) {
      while (jobs.full()) {
        std::this_thread::sleep_for(100us);
      }
      if (fence_ptr f = dice.one_in(4) ? change_one(queue, dice) : change_set(queue, dice); f) {
        jobs.push(std::move(f));
      }
    }
    jobs.close();
  }

  /// Returns the fence of the job, if there is one.
  fence_ptr change_set(fence_context& queue, luck& dice) {
    std::vector<std::uint32_t> wanted(1 + dice.below(most_in_set));
    for (std::uint32_t& each : wanted) {
      each = dice.below(buffer_count);
    }
    const deadline until = dice.one_in(16) ? deadline::in(50us) : deadline::never();
    lock_set locks(duplicates::ignored, until);
    const auto locked = locks.lock_all([&]() -> result<void> {
      for (const std::uint32_t each : wanted) {
        PADDOCK_TRY_VOID(locks.lock(buffers_[each].fences, 1));
      }
      return {};
    });
    note_retries(locks.retries());
    if (!locked) {
      must(locked.error() == errc::timed_out && !until.is_never(), "nothing else keeps a set from being locked");
      must(locks.size() == 0, "a set that failed holds nothing");
      did_it(did::timed_out);
      return {};
    }
    did_it(did::locked_sets);
    const fence_ptr f = fence_ptr::adopt(new job(queue));
    const usage as = static_cast<usage>(dice.below(4));
    for (const std::uint32_t each : wanted) {
      buffer& b = buffers_[each];
      b.change();
      must(b.fences.add(locks.held(b.fences), f, as).has_value(), "there is room for what was reserved");
      must(!b.fences.test_signaled(as), "what was added is found");
      did_it(did::locked_reservations);
      did_it(did::added);
    }
    if (dice.one_in(8)) {
      change_list(buffers_[wanted[0]].fences, locks.held(buffers_[wanted[0]].fences), f, dice);
    }
    return f;
  }

  fence_ptr change_one(fence_context& queue, luck& dice) {
    buffer& b = buffers_[dice.below(buffer_count)];
    const auto lock = dice.one_in(2) ? b.fences.lock() : b.fences.try_lock();
    if (!lock) {
      must(lock.error() == errc::busy, "nothing else keeps a lock from being tried");
      did_it(did::found_busy);
      return {};
    }
    did_it(did::locked_alone);
    b.change();
    const fence_ptr f = fence_ptr::adopt(new job(queue));
    must(b.fences.reserve(*lock, 1).has_value(), "there is memory");
    must(b.fences.add(*lock, f, usage::read).has_value(), "there is room for what was reserved");
    must(!b.fences.test_signaled(usage::read), "what was added is found");
    did_it(did::added);
    if (dice.one_in(4)) {
      change_list(b.fences, *lock, f, dice);
    }
    return f;
  }

  void change_list(reservation& r, const resv_lock& proof, const fence_ptr& f, luck& dice) {
    switch (dice.below(4)) {
      case 0:
        must(r.replace(proof, f->context(), f, usage::write).has_value(), "there is memory");
        did_it(did::replaced);
        break;
      case 1:
        must(r.copy(proof, any(dice)).has_value(), "there is memory");
        did_it(did::copied);
        break;
      case 2:
        must(r.for_each(proof, usage::bookkeep, [](fence& each, usage) { check(each); }).has_value(), "it is locked");
        break;
      default:
        must(r.collect(proof).has_value(), "it is locked");
        did_it(did::collected);
        break;
    }
  }

  void note_retries(std::uint64_t retries) {
    must(retries <= retry_bound(), "no set starves");
    for (std::uint64_t i = 0; i < retries; ++i) {
      did_it(did::begun_anew);
    }
    // Relaxed: it is to order nothing.
    std::uint64_t most = most_retries_.load(std::memory_order_relaxed);
    while (retries > most && !most_retries_.compare_exchange_weak(most, retries, std::memory_order_relaxed)) {
    }
  }

  // --- without
  // ----------------------------------------------------------------------------------------------------------

  void read(luck& dice, std::uint32_t times) {
    for (std::uint32_t i = 0; i < times; ++i) {
      if (dice.one_in(4)) {
        look_from_inside(any(dice), dice);
      } else {
        look(any(dice), dice);
      }
    }
  }

  /// What is found inside a guard stays until its end, whatever others do meanwhile.
  void look_from_inside(const reservation& r, luck& dice) {
    const resv_guard inside(r);
    did_it(did::guards);
    std::vector<const fence*> seen;
    r.for_each(usage::bookkeep, [&](const fence& f, usage) { seen.push_back(&f); });
    look(any(dice), dice);
    if (dice.one_in(8)) {
      std::this_thread::yield();
    }
    look(any(dice), dice);
    for (const fence* const each : seen) {
      check(*each);
    }
  }

  static void look(reservation& r, luck& dice) {
    const auto upto = static_cast<usage>(dice.below(4));
    switch (dice.below(6)) {
      case 0:
        did_it(did::asked);
        if (r.test_signaled(upto)) {
          did_it(did::found_idle);
        }
        break;
      case 1:
        r.for_each(upto, [upto](fence& f, usage as) {
          must(as <= upto, "a query is for its usage and those that are stronger");
          check(f);
          did_it(did::visited);
        });
        break;
      case 2: walk(r, upto, dice); break;
      case 3: {
        const auto taken = r.snapshot(upto);
        must(taken.has_value(), "there is memory");
        for (const fence_ptr& f : *taken) {
          check(*f);
        }
        did_it(did::snapshots);
        break;
      }
      case 4:
        must(r.singleton(upto).has_value(), "there is memory");
        did_it(did::singletons);
        break;
      default:
        r.set_deadline(upto, deadline::in(1s));
        did_it(did::set_deadline);
        break;
    }
  }

  static void walk(reservation& r, usage upto, luck& dice) {
    fence_cursor each(r, upto);
    std::uint32_t steps = 0;
    for (fence_ptr f = each.next(); f; f = each.next()) {
      must(each.current_usage() <= upto, "a query is for its usage and those that are stronger");
      check(*f);
      did_it(did::walked);
      if (each.is_restarted() && steps != 0) {
        did_it(did::walk_restarted);
      }
      ++steps;
      if (steps == 1 && dice.one_in(16)) {
        rebuild(r);  // What a locker does in the middle of a walk only now and then.
      }
    }
  }

  static void rebuild(reservation& r) {
    if (const auto lock = r.try_lock(); lock) {
      must(r.copy(*lock, r).has_value(), "there is memory");
    }
  }

  void read_in_short_threads(luck& dice) {
    while (time_.running()) {
      in_threads<tally>(2, dice.below(1U << 30U), [this](std::size_t, luck& own) {
        read(own, 32);
        did_it(did::short_threads);
      });
    }
  }

  // --- to the end
  // -------------------------------------------------------------------------------------------------------

  /// For two lockers, from the first.
  void signal(std::size_t first, luck& dice) {
    const std::size_t last = std::min<std::size_t>(first + 2, lockers_);
    for (bool over = false; !over;) {
      over = true;
      bool idle = true;
      for (std::size_t i = first; i < last; ++i) {
        const bool closed = pipelines_[i].closed();
        const std::vector<fence_ptr> taken = pipelines_[i].take(dice);
        over = over && closed && taken.empty();
        idle = idle && taken.empty();
        for (const fence_ptr& f : taken) {
          must(f->signal(no_timestamp{}), "the only signaler is the first");
          did_it(did::signaled);
        }
      }
      if (idle && !over) {
        std::this_thread::sleep_for(50us);
      }
    }
  }

  void check_end() {
    for (buffer& b : buffers_) {
      must(!b.fences.is_locked(), "what was locked is left");
      must(b.check == ~b.changes, "no change was lost");
      must(b.fences.test_signaled(usage::bookkeep), "all jobs are done");
      auto lock = b.fences.try_lock();
      must(lock.has_value(), "what was locked is left");
      must(b.fences.copy(*lock, b.fences).has_value(), "there is memory");
      must(b.fences.collect(*lock) == 0U, "no reader is left");
    }
    must(job::alive() == 0, "no reference is kept");
  }

 private:
  const stopwatch time_;
  const std::uint32_t lockers_;
  std::vector<buffer> buffers_;
  std::vector<pipeline> pipelines_;
  std::atomic<std::uint64_t> most_retries_{0};
};

// ----------------------------------------------------------------------------------------------------------------------

/// False when something was never done.
bool report() {
  bool all_done = true;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::uint64_t times = tally::total(static_cast<did>(i));
    std::printf("%12llu  %s%s\n", static_cast<unsigned long long>(times), names[i],
                times == 0 ? ": NEVER, which proves nothing" : "");
    all_done = all_done && times != 0;
  }
  return all_done;
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 2;
  std::uint32_t seed = std::random_device{}();
  constexpr std::array<option, 3> options{
      {{"seconds", required_argument, nullptr, 't'}, {"seed", required_argument, nullptr, 's'}, {}}};
  for (int each = 0; (each = ::getopt_long(argc, argv, "", options.data(), nullptr)) != -1;) {
    switch (each) {
      case 't': seconds = std::strtod(optarg, nullptr); break;
      case 's': seed = static_cast<std::uint32_t>(std::strtoul(optarg, nullptr, 0)); break;
      default: std::fprintf(stderr, "usage: %s [--seconds N] [--seed N]\n", argv[0]); return 2;
    }
  }
  std::printf("--seconds %g --seed %u\n", seconds, seed);
  std::fflush(stdout);

  const std::chrono::duration<double> share(seconds / 4);
  for (const std::uint32_t lockers : {2U, 3U, 5U, 8U}) {
    world(share, lockers).run(seed);
  }
  return report() ? EXIT_SUCCESS : EXIT_FAILURE;
}
