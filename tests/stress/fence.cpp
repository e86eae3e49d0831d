// SPDX-License-Identifier: BSL-1.0
// Threads that do to fences whatever is allowed, all at once, for --seconds. What must hold is checked where it can be
// seen; data that the fences guard is not atomic, so that a sanitizer sees what they fail to order. Ends with how often
// each kind of operation was done, and fails when one was not.
#include <paddock/fence/fence.hpp>

#include <getopt.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <paddock/fence/context.hpp>
#include <paddock/fence/shared_slot.hpp>
#include <paddock/fence/wait.hpp>

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
  signaled,
  failed,
  signaled_too_late,
  completed_by_poll,
  abandoned,
  enabled,
  set_deadline,
  added,
  added_too_late,
  removed,
  removed_after_run,
  destroyed_queued_node,
  removed_inside,
  asked_inside,
  signaled_inside,
  destroyed_inside,
  queued_again_inside,
  waited_hybrid,
  waited_spinning,
  waited_futex,
  waited_eventfd,
  waited_polling,
  timed_out,
  saw_the_work,
  freed_after_wait,
  race_removed_by_two,
  race_fences,
  last_reference_fences,
  last_reference_borrowed,
  last_reference_too_late,
  payload_rounds,
  count
};
constexpr std::array names{"signaled",
                           "failed",
                           "signaled too late",
                           "completed by poll",
                           "abandoned",
                           "enabled",
                           "deadline set",
                           "callback added",
                           "callback added too late",
                           "callback removed",
                           "callback removed after it ran",
                           "queued callback destroyed",
                           "callback removed by an earlier one",
                           "callback asked about itself",
                           "signaled inside a callback",
                           "callback destroyed by itself",
                           "callback queued elsewhere by itself",
                           "waited, hybrid",
                           "waited, spinning",
                           "waited, futex",
                           "waited, eventfd",
                           "waited, polling",
                           "wait timed out",
                           "saw the work of the signaler",
                           "freed as soon as a wait returned",
                           "add and remove: removed by two threads",
                           "add and remove: fences",
                           "last reference: fences",
                           "last reference: borrowed",
                           "last reference: nothing left to borrow",
                           "payload: rounds"};
static_assert(names.size() == static_cast<std::size_t>(did::count));
using tally = stress::tally<did, names.size()>;

void did_it(did what) noexcept { tally::add(what); }

// --- shared by all parts
// ----------------------------------------------------------------------------------------------

fence_context queue("stress", 10s);

bool signal_somehow(fence& f, std::uint32_t way) noexcept {
  switch (way % 4) {
    case 0: return f.signal();
    case 1: return f.signal(no_timestamp{});
    case 2: return f.signal(tsc_timestamp{});
    default: return f.signal(monotonic_clock::time_point(1s));
  }
}

result<wait_status> wait_somehow(fence& f, deadline until, std::uint32_t way) {
  switch (way % 5) {
    case 0: did_it(did::waited_hybrid); return wait(f, until, hybrid_wait{});
    case 1: did_it(did::waited_futex); return wait(f, until, futex_wait{});
    case 2: did_it(did::waited_eventfd); return wait(f, until, eventfd_wait{});
    case 3: did_it(did::waited_spinning); return wait(f, until, spin_wait{});
    default: did_it(did::waited_polling); return wait(f, until, polling_wait{});
  }
}
/// Without those that never give way: where threads wait without end, there may be more of them than processors.
result<wait_status> wait_asleep(fence& f, std::uint32_t way) { return wait_somehow(f, deadline::never(), way % 3); }

// --- everything at once
// -----------------------------------------------------------------------------------------------

constexpr std::uint64_t work_done = 0x600d'600d'600d'600d;

/// A fence with the data that it guards, and what a correct one can count.
class job final : public fence {
 public:
  enum class style : std::uint8_t {
    contested,  ///< Anybody signals it, with or without an error.
    delivered,  ///< Somebody does the work, then signals.
    polled,     ///< Somebody does the work; who polls finds it done.
    enabled     ///< Somebody does the work, then signals, unless enable_signaling finds it done.
  };

  [[nodiscard]] static fence_ptr create(style s) { return fence_ptr::adopt(new job(s)); }
  [[nodiscard]] static job& of(const fence_ptr& f) noexcept { return static_cast<job&>(*f); }

  /// Goes on with the work, from inside or outside of callbacks. Requires: the caller holds a reference.
  void go_on(std::uint32_t way) noexcept {
    if (style_ == style::contested) {
      const bool fails = way % 8 < 4;
      const bool won = fails ? fail(EIO) : signal_somehow(*this, way);
      won ? win(fails ? did::failed : did::signaled) : did_it(did::signaled_too_late);
      return;
    }
    if (!taken_.exchange(true, std::memory_order_relaxed)) {
      work_ = work_done;
      done_.store(true, std::memory_order_release);
      if (style_ == style::polled) {
        return;
      }
      if (signal_somehow(*this, way)) {
        win(did::signaled);
      } else {
        must(style_ == style::enabled, "the only signaler is the first");
      }
    } else if (style_ == style::polled && poll()) {
      check_complete();
    }
  }

  /// To be called by who has seen that it is complete.
  void check_complete() const noexcept {
    must(is_signaled(), "a complete fence stays complete");
    must(status() == (sys_errno() == 0 ? wait_status::signaled : wait_status::failed), "status and error agree");
    if (style_ == style::contested) {
      must(sys_errno() == 0 || sys_errno() == EIO || sys_errno() == EDEADLK, "the error is one that was given");
    } else if (sys_errno() == 0) {
      must(work_ == work_done, "who sees the fence complete sees the work");
      did_it(did::saw_the_work);
    }
  }

  [[nodiscard]] static std::uint64_t alive() noexcept { return living.load(); }

 private:
  explicit job(style s) noexcept : fence(queue, &operations[static_cast<std::size_t>(s)]), style_(s) { ++living; }
  ~job() {
    must(is_signaled(), "a fence completes before it goes");
    const bool by_winner = style_ != style::polled && style_ != style::enabled && sys_errno() != EDEADLK;
    must(winners_.load(std::memory_order_relaxed) == 1 || !by_winner, "exactly one signal is the first");
    must(winners_.load(std::memory_order_relaxed) <= 1, "at most one signal is the first");
    if (sys_errno() == EDEADLK) {
      did_it(did::abandoned);
    }
    work_ = 0;
    --living;
  }

  void win(did how) noexcept {
    winners_.fetch_add(1, std::memory_order_relaxed);
    did_it(how);
  }

  static bool enable(fence& f) noexcept {
    auto& self = static_cast<job&>(f);
    must(!self.enabled_.exchange(true, std::memory_order_relaxed), "enable_signaling is called once");
    did_it(did::enabled);
    return !self.done_.load(std::memory_order_acquire);
  }
  static bool ask(fence& f) noexcept {
    const bool done = static_cast<job&>(f).done_.load(std::memory_order_acquire);
    if (done) {
      did_it(did::completed_by_poll);
    }
    return done;
  }
  static void hint(fence&, deadline) noexcept { did_it(did::set_deadline); }
  static void destroy(fence& f) noexcept { delete static_cast<job*>(&f); }

  static constexpr std::array<fence_ops, 4> operations{
      fence_ops{.set_deadline = &hint, .release = &destroy}, fence_ops{.set_deadline = &hint, .release = &destroy},
      fence_ops{.poll = &ask, .set_deadline = &hint, .release = &destroy},
      fence_ops{.enable_signaling = &enable, .set_deadline = &hint, .release = &destroy}};
  static inline std::atomic<std::uint64_t> living{0};

  const style style_;
  std::atomic<bool> taken_{false};
  std::atomic<bool> done_{false};
  std::atomic<bool> enabled_{false};
  std::atomic<unsigned> winners_{0};
  std::uint64_t work_{0};
};

/// Where the threads find fences that others use too.
class shelf {
 public:
  explicit shelf(std::size_t size) : places_(size) {}
  [[nodiscard]] std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(places_.size()); }
  [[nodiscard]] fence_ptr get(std::uint32_t i) {
    const std::lock_guard lock(places_[i].mutex);
    return places_[i].f;
  }
  void put(std::uint32_t i, fence_ptr f) {
    const std::lock_guard lock(places_[i].mutex);
    std::swap(places_[i].f, f);
  }

 private:
  struct place {
    std::mutex mutex;
    fence_ptr f{job::create(job::style::contested)};
  };
  std::vector<place> places_;
};

/// Two callbacks on one fence, which one thread adds and removes. The first removes the second, if it can.
class couple {
 public:
  couple() = default;
  couple(const couple&) = delete;
  couple& operator=(const couple&) = delete;
  ~couple() = default;

  [[nodiscard]] bool queued() const noexcept { return static_cast<bool>(on_); }

  void add(fence_ptr to) {
    on_ = std::move(to);
    if (on_->add_callback(first_) == add_outcome::already_signaled) {
      did_it(did::added_too_late);
      job::of(on_).check_complete();
      on_.reset();
      return;
    }
    did_it(did::added);
    has_second_ = on_->add_callback(second_) == add_outcome::added;
    did_it(has_second_ ? did::added : did::added_too_late);
    second_added_.store(has_second_, std::memory_order_release);
  }

  void remove(bool second_first) {
    int removed_second = 0;
    const auto remove_second = [&] { removed_second = has_second_ && removes(second_) ? 1 : 0; };
    if (second_first) {
      remove_second();
    }
    const bool removed_first = removes(first_);
    if (!second_first) {
      remove_second();
    }
    must(first_runs_ == (removed_first ? 0 : 1), "a callback runs once, or is removed");
    must(removed_second + second_removed_ + second_runs_ == (has_second_ ? 1 : 0),
         "a callback runs once, or is removed once");
    first_runs_ = second_runs_ = second_removed_ = 0;
    second_added_.store(false, std::memory_order_relaxed);
    on_.reset();
  }

 private:
  struct node : fence_callback {
    node(function run, couple& whose) noexcept : fence_callback(run), of(whose) {}
    node(const node&) = delete;
    node& operator=(const node&) = delete;
    ~node() { retire(); }
    couple& of;
  };

  bool removes(node& n) {
    const remove_outcome how = on_->remove_callback(n);
    must(how != remove_outcome::running_here, "only the callback itself is told so");
    did_it(how == remove_outcome::removed ? did::removed : did::removed_after_run);
    return how == remove_outcome::removed;
  }

  static void run_first(fence_callback& n, const fence_outcome& outcome) noexcept {
    couple& self = static_cast<node&>(n).of;
    ++self.first_runs_;
    must(outcome.sys_errno == self.on_->sys_errno(), "a callback is told the fence's outcome");
    job::of(self.on_).check_complete();
    must(self.on_->remove_callback(n) == remove_outcome::running_here, "a callback can ask about itself");
    did_it(did::asked_inside);
    if (self.second_added_.load(std::memory_order_acquire) &&
        self.on_->remove_callback(self.second_) == remove_outcome::removed) {
      ++self.second_removed_;
      did_it(did::removed_inside);
    }
  }
  static void run_second(fence_callback& n, const fence_outcome&) noexcept { ++static_cast<node&>(n).of.second_runs_; }

  fence_ptr on_;
  int first_runs_{0};
  int second_runs_{0};
  int second_removed_{0};  ///< By the first.
  bool has_second_{false};
  std::atomic<bool> second_added_{false};
  node second_{&run_second, *this};
  node first_{&run_first, *this};  ///< Last, so that it goes first.
};

/// A callback that nobody keeps: it goes from its fence to a second one, goes on with a third, and destroys itself. It
/// holds references only of fences younger than the one it is queued on, so that no ring of them keeps itself alive.
class wanderer final : public fence_callback {
 public:
  /// Requires: on, next and last are in the order of their sequence numbers.
  static void send(const fence_ptr& on, fence_ptr next, fence_ptr last, std::uint32_t way) {
    auto owned = std::make_unique<wanderer>(std::move(next), std::move(last), way);
    if (on->add_callback(*owned) == add_outcome::added) {
      did_it(did::added);
      static_cast<void>(owned.release());
    } else {
      did_it(did::added_too_late);
    }
  }
  wanderer(fence_ptr next, fence_ptr last, std::uint32_t way) noexcept
      : fence_callback(&run), next_(std::move(next)), last_(std::move(last)), way_(way) {
    ++living;
  }
  wanderer(const wanderer&) = delete;
  wanderer& operator=(const wanderer&) = delete;
  ~wanderer() {
    retire();
    --living;
  }
  [[nodiscard]] static std::uint64_t alive() noexcept { return living.load(); }

 private:
  static void run(fence_callback& node, const fence_outcome&) noexcept {
    auto& self = static_cast<wanderer&>(node);
    if (const fence_ptr next = std::move(self.next_); next && next->add_callback(self) == add_outcome::added) {
      did_it(did::queued_again_inside);
      return;  // It may be gone already.
    }
    job::of(self.last_).go_on(self.way_);
    did_it(did::signaled_inside);
    delete &self;
    did_it(did::destroyed_inside);
  }

  static inline std::atomic<std::uint64_t> living{0};
  fence_ptr next_;
  fence_ptr last_;
  std::uint32_t way_;
};

void everything_at_once(std::chrono::duration<double> span, std::uint32_t seed) {
  constexpr std::size_t threads = 6;
  constexpr std::size_t couples = 8;
  const stopwatch time(span);
  {
    shelf fences(6);
    in_threads<tally>(threads, seed, [&](std::size_t, luck& dice) {
      std::array<std::unique_ptr<couple>, couples> own;
      const auto any = [&] { return fences.get(dice.below(fences.size())); };
      while (time.running()) {
        std::unique_ptr<couple>& c = own[dice.below(couples)];
        switch (dice.below(8)) {
          case 0:
          case 1:
            if (c && c->queued()) {
              c->remove(dice.one_in(2));
            } else {
              c = c ? std::move(c) : std::make_unique<couple>();
              c->add(any());
            }
            break;
          case 2:
            if (c && c->queued()) {
              did_it(did::destroyed_queued_node);
            }
            c.reset();
            break;
          case 3: {
            std::array<fence_ptr, 3> three{any(), any(), any()};
            std::sort(three.begin(), three.end(),
                      [](const fence_ptr& a, const fence_ptr& b) { return b->is_later_than(*a); });
            if (three[1]->is_later_than(*three[0]) && three[2]->is_later_than(*three[1])) {
              wanderer::send(three[0], three[1], three[2], dice.below(64));
            }
            break;
          }
          case 4: {
            const fence_ptr f = any();
            const auto until = deadline::in(std::chrono::microseconds(dice.below(200)));
            if (wait_somehow(*f, until, dice.below(64)) == wait_status::timed_out) {
              did_it(did::timed_out);
            } else {
              job::of(f).check_complete();
            }
            break;
          }
          case 5: any()->set_deadline(deadline::in(std::chrono::milliseconds(dice.below(1000)))); break;
          case 6: job::of(any()).go_on(dice.below(64)); break;
          default: {
            const std::uint32_t place = dice.below(fences.size());
            if (fences.get(place)->is_signaled() || dice.one_in(8)) {
              fences.put(place, job::create(static_cast<job::style>(dice.below(4))));
            }
          }
        }
      }
    });
  }
  tally::hand_in();
  must(job::alive() == 0, "every fence goes with its last reference");
  must(wanderer::alive() == 0, "every callback runs");
}

// --- races of add and remove with a signal
// ----------------------------------------------------------------------------

/// Eight threads add and remove their callbacks on a fence until another one signals it. Now and then two threads
/// remove the same callback.
class add_and_remove {
 public:
  explicit add_and_remove(std::chrono::duration<double> span) : time_(span) {}

  void run(std::uint32_t seed) {
    in_threads<tally>(workers + 1, seed, [this](std::size_t index, luck& dice) {
      while (!over_) {
        if (index == workers) {
          for (target& each : targets_) {
            each.f = *queue.create();
            each.visits.store(0, std::memory_order_relaxed);
          }
        }
        barrier_.arrive_and_wait();
        for (target& each : targets_) {
          index == workers ? complete(each, dice) : work(index, each, dice);
        }
        if (index == workers) {
          over_ = !time_.running();
        }
        barrier_.arrive_and_wait();
      }
    });
  }

 private:
  static constexpr std::size_t workers = 8;

  struct target {
    fence_ptr f;
    std::atomic<std::uint32_t> visits{0};
  };
  struct node final : fence_callback {
    node() noexcept : fence_callback([](fence_callback& n, const fence_outcome&) noexcept { ++as_node(n).runs; }) {}
    node(const node&) = delete;
    node& operator=(const node&) = delete;
    ~node() { retire(); }
    static node& as_node(fence_callback& n) noexcept { return static_cast<node&>(n); }
    int runs{0};
    fence* on{nullptr};
  };
  /// A callback that a worker offers to its neighbour, to remove it too.
  struct alignas(64) offer {
    std::atomic<node*> what{nullptr};
    std::atomic<int> answer{unanswered};
  };
  static constexpr int unanswered = -1;

  static void complete(target& t, luck& dice) {
    stress::wait_for_number(t.visits, dice.below(24));
    must(signal_somehow(*t.f, dice.below(64)), "the only signaler is the first");
    did_it(did::race_fences);
  }

  static int removes(node& n) {
    const remove_outcome how = n.on->remove_callback(n);
    must(how != remove_outcome::running_here, "only the callback itself is told so");
    did_it(how == remove_outcome::removed ? did::removed : did::removed_after_run);
    return how == remove_outcome::removed ? 1 : 0;
  }

  void accept_offer(offer& from) {
    if (node* const n = from.what.exchange(nullptr, std::memory_order_acquire); n != nullptr) {
      from.answer.store(removes(*n), std::memory_order_release);
    }
  }

  void remove(offer& mine, node& n, bool together) {
    int removed = 0;
    if (together) {
      mine.what.store(&n, std::memory_order_release);
      ::sched_yield();
    }
    removed += removes(n);
    if (together && mine.what.exchange(nullptr, std::memory_order_relaxed) == nullptr) {
      int answer = unanswered;
      while ((answer = mine.answer.exchange(unanswered, std::memory_order_acquire)) == unanswered) {
        ::sched_yield();
      }
      removed += answer;
      did_it(did::race_removed_by_two);
    }
    must(removed + n.runs == 1, "a callback runs once, or is removed once");
    n.runs = 0;
    n.on = nullptr;
  }

  void work(std::size_t index, target& t, luck& dice) {
    offer& mine = offers_[index];
    std::array<node, 4> nodes;
    for (bool complete = false; !complete; accept_offer(offers_[index ^ 1U])) {
      node& n = nodes[dice.below(nodes.size())];
      t.visits.fetch_add(1, std::memory_order_relaxed);
      if (n.on != nullptr) {
        remove(mine, n, dice.one_in(8));
      } else {
        n.on = t.f.get();
        complete = t.f->add_callback(n) == add_outcome::already_signaled;
        n.on = complete ? nullptr : n.on;
        did_it(complete ? did::added_too_late : did::added);
      }
    }
    for (node& n : nodes) {
      if (n.on != nullptr) {
        must(n.on->remove_callback(n) == remove_outcome::ran && n.runs == 1, "what was not removed has run once");
        n.on = nullptr;
      }
    }
  }

  const stopwatch time_;
  bool over_{false};
  std::barrier<> barrier_{workers + 1};
  std::array<target, 32> targets_;
  std::array<offer, workers> offers_;
};

// --- the last reference
// -----------------------------------------------------------------------------------------------

/// One thread signals a fence or does not, and drops it; one queues a callback and drops it; one empties the slot from
/// which a fourth takes references as long as it can.
class last_reference {
 public:
  explicit last_reference(std::chrono::duration<double> span) : time_(span) {}

  void run(std::uint32_t seed) {
    in_threads<tally>(4, seed, [this](std::size_t index, luck& dice) {
      while (!over_) {
        if (index == signaler) {
          begin();
        }
        barrier_.arrive_and_wait();
        for (auto& each : rounds_) {
          play(index, each, dice);
        }
        barrier_.arrive_and_wait();
        if (index == signaler) {
          end();
        }
        barrier_.arrive_and_wait();
      }
    });
  }

 private:
  static constexpr std::size_t signaler = 0;
  static constexpr std::size_t watcher = 1;
  static constexpr std::size_t owner = 2;

  struct round;
  struct counted_fence final : fence {
    explicit counted_fence(round& r) noexcept : fence(queue, &operations, &r) {}
    ~counted_fence() { data = 0; }
    static const fence_ops operations;
    std::uint64_t data{work_done};
  };
  struct last_word final : fence_callback {
    explicit last_word(round& r) noexcept : fence_callback(&run), of(r) {}
    last_word(const last_word&) = delete;
    last_word& operator=(const last_word&) = delete;
    ~last_word() { retire(); }
    static void run(fence_callback& n, const fence_outcome& outcome) noexcept {
      auto& self = static_cast<last_word&>(n);
      ++self.of.callbacks;
      self.of.told = outcome.sys_errno;
      delete &self;
    }
    round& of;
  };
  struct round {
    fence_ptr held[3];
    detail::shared_slot<detail::std_traits, fence> slot{nullptr};
    std::atomic<std::uint32_t> players{0};
    bool signaled{false};
    bool queued{false};
    int callbacks{0};
    int told{-1};
    int freed{0};
  };

  void begin() {
    for (round& r : rounds_) {
      fence* const made = new counted_fence(r);
      must(r.slot.replace(nullptr, made), "an empty slot can be filled");
      for (fence_ptr& each : r.held) {
        each = fence_ptr(*made);
      }
    }
  }

  void play(std::size_t index, round& r, luck& dice) {
    // Not alone: at least one other thread is at the same fence.
    r.players.fetch_add(1, std::memory_order_relaxed);
    stress::wait_for_number(r.players, 2);
    for (std::uint32_t i = dice.below(8); i > 0; --i) {
      detail::spin_pause();
    }
    if (index == signaler) {
      if (dice.one_in(2)) {
        r.signaled = signal_somehow(*r.held[index], dice.below(64));
        must(r.signaled, "a fence that is held is not abandoned");
      }
    } else if (index == watcher) {
      auto owned = std::make_unique<last_word>(r);
      if (r.held[index]->add_callback(*owned) == add_outcome::added) {
        r.queued = true;
        static_cast<void>(owned.release());
      }
    } else if (index == owner) {
      must(r.slot.replace(r.held[index].get(), nullptr), "nobody else empties the slot");
      r.held[index]->put();
    } else {
      borrow(r);
      return;
    }
    r.held[index].reset();
  }

  /// Again and again, until the slot is empty.
  static void borrow(round& r) {
    for (unsigned times = 1;; ++times) {
      const fence_ptr f = fence_ptr::adopt(r.slot.acquire());
      if (!f) {
        did_it(did::last_reference_too_late);
        return;
      }
      must(static_cast<counted_fence&>(*f).data == work_done, "what was borrowed is alive");
      if (f->is_signaled()) {
        must(f->status() == wait_status::signaled && f->sys_errno() == 0, "a fence that is held is not abandoned");
      }
      did_it(did::last_reference_borrowed);
      if (times % 256 == 0) {
        ::sched_yield();
      }
    }
  }

  void end() {
    for (round& r : rounds_) {
      must(r.freed == 1, "the last reference frees, once");
      must(r.callbacks == (r.queued ? 1 : 0), "a callback runs once, or was told that it never will");
      must(!r.queued || r.told == (r.signaled ? 0 : EDEADLK), "a callback is told how it ended");
      r.signaled = r.queued = false;
      r.callbacks = r.freed = 0;
      r.players.store(0, std::memory_order_relaxed);
      did_it(did::last_reference_fences);
    }
    over_ = !time_.running();
  }

  const stopwatch time_;
  bool over_{false};
  std::barrier<> barrier_{4};
  std::array<round, 64> rounds_;
};

constexpr fence_ops last_reference::counted_fence::operations{.release = [](fence& f) noexcept {
  ++static_cast<round*>(f.source())->freed;
  delete static_cast<counted_fence*>(&f);
}};

// --- data before the signal
// -------------------------------------------------------------------------------------------

/// One thread writes data and signals; three others look at the fence, in every way there is, then at the data.
class payload {
 public:
  explicit payload(std::chrono::duration<double> span) : time_(span) {}

  void run(std::uint32_t seed) {
    in_threads<tally>(readers + 1, seed, [this](std::size_t index, luck& dice) {
      for (std::uint64_t first = 0; !over_; first += letters_.size()) {
        if (index == readers) {
          for (letter& each : letters_) {
            each.f = *queue.create();
          }
        }
        barrier_.arrive_and_wait();
        for (std::size_t i = 0; i < letters_.size(); ++i) {
          if (index == readers) {
            write(letters_[i], first + i, dice);
          } else {
            must(read(letters_[i], static_cast<std::uint32_t>(index + i)) == first + i,
                 "who sees the fence complete sees the data");
          }
        }
        if (index == readers) {
          over_ = !time_.running();
        }
        barrier_.arrive_and_wait();
      }
    });
  }

 private:
  static constexpr std::size_t readers = 3;

  struct letter {
    fence_ptr f;
    std::uint64_t data{0};
  };
  struct copier final : fence_callback {
    explicit copier(const letter& l) noexcept : fence_callback(&run), from(l) {}
    copier(const copier&) = delete;
    copier& operator=(const copier&) = delete;
    ~copier() { retire(); }
    static void run(fence_callback& n, const fence_outcome&) noexcept {
      auto& self = static_cast<copier&>(n);
      self.copy = self.from.data;
    }
    const letter& from;
    std::uint64_t copy{0};
  };

  static void write(letter& l, std::uint64_t data, luck& dice) {
    for (std::uint32_t i = dice.below(32); i > 0; --i) {
      detail::spin_pause();
    }
    if (dice.one_in(8)) {
      ::sched_yield();  // Lets the readers catch up.
    }
    l.data = data;
    must(signal_somehow(*l.f, dice.below(64)), "the only signaler is the first");
    did_it(did::payload_rounds);
  }

  static std::uint64_t read(const letter& l, std::uint32_t way) {
    switch (way % 7) {
      case 0:
        while (!l.f->is_signaled()) {
          ::sched_yield();
        }
        return l.data;
      case 1:
        while (l.f->status() == wait_status::timed_out) {
          ::sched_yield();
        }
        return l.data;
      case 2:
        while (!l.f->poll()) {
          ::sched_yield();
        }
        return l.data;
      case 3: {
        copier node(l);
        if (l.f->add_callback(node) == add_outcome::already_signaled) {
          return l.data;
        }
        must(wait_asleep(*l.f, way) == wait_status::signaled, "a wait without end ends with the signal");
        must(l.f->remove_callback(node) == remove_outcome::ran, "a callback that was not removed runs");
        return node.copy;
      }
      default:
        must(wait_asleep(*l.f, way) == wait_status::signaled, "a wait without end ends with the signal");
        return l.data;
    }
  }

  const stopwatch time_;
  bool over_{false};
  std::barrier<> barrier_{readers + 1};
  std::array<letter, 64> letters_;
};

// --- freed as soon as the wait returns
// --------------------------------------------------------------------------------

/// Pairs of threads: one makes a fence on its stack, waits, and takes the stack back; the other one signals.
class short_lived {
 public:
  explicit short_lived(std::chrono::duration<double> span) : time_(span) {}

  void run(std::uint32_t seed) {
    in_threads<tally>(2 * mailboxes_.size(), seed, [this](std::size_t index, luck& dice) {
      mailbox& box = mailboxes_[index / 2];
      if (index % 2 == 0) {
        wait_for_all(box, dice);
      } else {
        signal_all(box, dice);
      }
    });
  }

 private:
  struct local final : fence {
    local() noexcept : fence(queue) {}
    ~local() { data = 0; }
    std::uint64_t data{0};
  };
  struct alignas(64) mailbox {
    std::atomic<local*> sent{nullptr};
    std::atomic<bool> over{false};
  };
  struct node final : fence_callback {
    node() noexcept : fence_callback(&run) {}
    node(const node&) = delete;
    node& operator=(const node&) = delete;
    ~node() { retire(); }
    static void run(fence_callback& n, const fence_outcome&) noexcept {
      auto& self = static_cast<node&>(n);
      ++self.runs;
      self.has_run.store(true, std::memory_order_release);
    }
    int runs{0};
    std::atomic<bool> has_run{false};
  };

  void wait_for_all(mailbox& box, luck& dice) {
    while (time_.running()) {
      node n;
      if (dice.one_in(2)) {
        local on_stack;
        send_and_wait(box, on_stack, n, dice);
      } else {
        // A sanitizer remembers longer what was freed here.
        const auto on_heap = std::make_unique<local>();
        send_and_wait(box, *on_heap, n, dice);
      }
      // The fence is gone, its callback may be about to run.
      while (!n.has_run.load(std::memory_order_acquire)) {
        ::sched_yield();
      }
      n.retire();
      must(n.runs == 1, "a callback runs once");
      did_it(did::freed_after_wait);
    }
    box.over.store(true, std::memory_order_relaxed);
  }

  static void send_and_wait(mailbox& box, local& f, node& n, luck& dice) {
    must(f.add_callback(n) == add_outcome::added, "a new fence takes callbacks");
    box.sent.store(&f, std::memory_order_release);
    must(wait_asleep(f, dice.below(64)) == wait_status::signaled, "a wait without end ends with the signal");
    must(f.data == work_done, "who sees the fence complete sees the data");
  }

  static void signal_all(mailbox& box, luck& dice) {
    while (!box.over.load(std::memory_order_relaxed)) {
      local* const f = box.sent.exchange(nullptr, std::memory_order_acquire);
      if (f == nullptr) {
        ::sched_yield();
        continue;
      }
      if (dice.one_in(4)) {
        ::sched_yield();  // Lets the waiter fall asleep.
      }
      f->data = work_done;
      must(signal_somehow(*f, dice.below(64)), "the only signaler is the first");
    }
  }

  const stopwatch time_;
  std::array<mailbox, 2> mailboxes_;
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

  // Most of what can go wrong is in the first two.
  const std::chrono::duration<double> share(seconds / 8);
  everything_at_once(2 * share, seed);
  add_and_remove(3 * share).run(seed);
  last_reference(share).run(seed);
  payload(share).run(seed);
  short_lived(share).run(seed);
  return report() ? EXIT_SUCCESS : EXIT_FAILURE;
}
