// SPDX-License-Identifier: BSL-1.0
// Who looks at the fences of a reservation without its lock: alone, beside another reader, and beside a writer.
#include <memory>
#include <optional>
#include <vector>

#include <paddock/resv/reservation.hpp>

#include "../peers/fence_lists.hpp"
#include "../peers/paddock_fence.hpp"
#include "../support/batch.hpp"
#include "../support/duo.hpp"

#if PADDOCK_BENCH_URCU
#include "../peers/urcu.hpp"
#endif

namespace paddock::bench {
namespace {

[[nodiscard]] fence_ptr lonely_fence() {
  fence_context made_by("bench", std::chrono::seconds(1));
  return *made_by.create();
}

/// The subject itself, under the verbs that all lists here have.
class paddock_list {
 public:
  using batch = no_batch;
  explicit paddock_list(const few_fences& first) {
    const auto proof = reservation_.lock();
    // With room to spare: one that has to make room drops what is done, and all of these will be.
    good_ = reservation_.reserve(*proof, 2 * listed).has_value();
    first.for_each([&](fence& each, usage as) noexcept {
      good_ = good_ && reservation_.add(*proof, fence_ptr(each), as);
      return true;
    });
  }

  [[nodiscard]] bool test_signaled() const noexcept { return reservation_.test_signaled(usage::read); }
  void replace_first(fence& by) noexcept {
    const auto proof = reservation_.lock();
    good_ = good_ && reservation_.reserve(*proof, 1) && reservation_.add(*proof, fence_ptr(by), usage::read);
  }
  /// Whether everything succeeded so far, and there are as many fences as there should be.
  [[nodiscard]] bool is_good() noexcept {
    const auto proof = reservation_.lock();
    std::size_t found = 0;
    return good_ && reservation_.for_each(*proof, usage::read, [&](const fence&, usage) noexcept { ++found; }) &&
           found == listed;
  }
  [[nodiscard]] const reservation& inner() const noexcept { return reservation_; }

 private:
  reservation reservation_;
  bool good_{false};
};

/// The same with a guard around each batch.
class guarded_list : public paddock_list {
 public:
  struct batch {
    explicit batch(const paddock_list& of) noexcept : inside(of.inner()) {}
    [[nodiscard]] bool test_signaled(const paddock_list& list) const noexcept {
      return list.inner().test_signaled(inside, usage::read);
    }
    resv_guard inside;
  };
  using paddock_list::paddock_list;
};

template <class List>
[[nodiscard]] bool test_signaled(const List& list) noexcept {
  if constexpr (requires { list.test_signaled(); }) {
    return list.test_signaled();
  } else {
    return list.for_each([](const fence& f, usage as) noexcept {
      if (as > usage::read) [[unlikely]] {
        return true;
      }
      return f.is_signaled();
    });
  }
}

/// Four fences in a list, and more to come: pending while they are added, so that none takes another's place.
template <class List>
class prepared {
 public:
  static constexpr std::size_t spare = 512;

  prepared() {
    few_fences first;
    for (std::uint32_t i = 0; i < first.count; ++i) {
      fences_.push_back(lonely_fence());
      first.entries[i].which = fences_.back().get();
    }
    list_.emplace(first);
    for (std::size_t i = 0; i < spare; ++i) {
      fences_.push_back(lonely_fence());
    }
  }
  void signal_all() noexcept {
    for (const fence_ptr& each : fences_) {
      each->signal(no_timestamp{});
    }
  }
  [[nodiscard]] List& list() noexcept { return *list_; }
  /// Not the neighbour of the one before, which may share a line with it.
  [[nodiscard]] fence& next() noexcept { return *fences_[listed + 37 * next_++ % spare]; }

  /// Says so where something failed.
  void check(benchmark::State& state, bool as_meant) {
    if constexpr (requires { list_->is_good(); }) {
      as_meant = as_meant && list_->is_good();
    }
    if (!as_meant) {
      state.SkipWithError("the list is not as meant");
    }
  }

 private:
  std::vector<fence_ptr> fences_;
  alignas(64) std::optional<List> list_;  // On lines of its own, as far as it goes.
  alignas(64) std::size_t next_{0};       // The writer's.
};

/// Not inlined: where the compiler places so small a loop is worth a factor of two, and all rows are to have the same.
template <class List>
[[gnu::noinline]] void read(const List& list, std::size_t times) noexcept {
  const typename List::batch inside(list);
  for (std::size_t i = 0; i < times; ++i) {
    if constexpr (requires { inside.test_signaled(list); }) {
      keep(inside.test_signaled(list));
    } else {
      keep(test_signaled(list));
    }
  }
}

template <class List>
void read_alone(benchmark::State& state) {
  prepared<List> made;
  made.signal_all();
  measure(
      state, batch_size, [] {}, [&] { read(made.list(), batch_size); });
  made.check(state, test_signaled(made.list()));
}

/// As measure_duo, and also in the unit of one thread: what readers cost each other is a matter of both.
template <class Run>
void measure_both_ways(benchmark::State& state, Run&& run) {
  for ([[maybe_unused]] auto repetition : state) {
    if (!has_two_cores(state)) {
      continue;
    }
    duo both;
    distances apart;
    series seen;
    for (int batch = 0; batch < chosen.pairs; ++batch) {
      const double unit = time_unit();
      const double before = both.hop();
      const double ns = run(both);
      apart.add(before, both.hop(), ns);
      seen.add(ns, unit);
    }
    apart.report(state);
    seen.report(state);
  }
}

/// A batch is so long that it does not matter how the two began; for lists with a lock it is shorter, since some of
/// them all but stop.
template <class List, std::size_t Reads>
void read_together(benchmark::State& state) {
  prepared<List> made;
  made.signal_all();
  const auto work = [&] { read(made.list(), Reads); };
  measure_both_ways(state, [&](duo& both) { return both.run(work, work) / static_cast<double>(Reads); });
  made.check(state, test_signaled(made.list()));
}

/// A writer puts another fence in the first one's place each microsecond. A batch is also to see what the writer does
/// only now and then.
template <class List, std::size_t Reads>
void read_beside_writer(benchmark::State& state) {
  constexpr auto pause = std::chrono::microseconds(1);
  struct alignas(64) lonely {
    std::atomic<bool> over{false};
    std::size_t writes{0};
  };
  prepared<List> made;
  made.signal_all();
  const auto shared = std::make_unique<lonely>();
  double reading_ns = 0;
  measure_both_ways(state, [&](duo& both) {
    shared->over.store(false, std::memory_order_relaxed);
    double here = 0;
    both.run(
        [&] {
          here = time([&] { read(made.list(), Reads); });
          shared->over.store(true, std::memory_order_relaxed);
        },
        [&] {
          for (auto next = clock::now(); !shared->over.load(std::memory_order_relaxed);) {
            if (clock::now() >= next) {
              next += pause;
              made.list().replace_first(made.next());
              ++shared->writes;
            } else {
              detail::spin_pause();
            }
          }
        });
    reading_ns += here;
    return here / static_cast<double>(Reads);
  });
  if (shared->writes > 0) {
    state.counters["writes_per_us"] = static_cast<double>(shared->writes) * 1000 / reading_ns;
  }
  made.check(state, test_signaled(made.list()));
}

// --- the pending ones ------------------------------------------------------------------------------------------------

void snapshot_with_references(benchmark::State& state) {
  prepared<paddock_list> made;
  std::size_t found = listed;
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          const auto taken = made.list().inner().snapshot(usage::read);
          found &= taken->size();
        }
      });
  made.check(state, found == listed);
}

void walk_with_guard(benchmark::State& state) {
  prepared<paddock_list> made;
  std::size_t found = 0;
  measure(
      state, batch_size, [&] { found = 0; },
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          const resv_guard inside(made.list().inner());
          made.list().inner().for_each(usage::read, [&](const fence& f, usage) noexcept {
            keep(&f);
            ++found;
          });
        }
      });
  made.check(state, found == listed * batch_size);
}

/// Four references taken under whatever protects the list, and dropped.
template <class List>
void references_under(benchmark::State& state) {
  prepared<List> made;
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          std::array<fence_ptr, listed> taken;
          std::size_t found = 0;
          made.list().for_each([&](fence& f, usage as) noexcept {
            if (as <= usage::read && !f.is_signaled()) {
              taken[found++] = fence_ptr(f);
            }
            return true;
          });
          keep(taken.data());
        }
      });
}

/// One reference to the list, or none, and a walk.
template <class List>
void walk_under(benchmark::State& state) {
  prepared<List> made;
  std::size_t found = 0;
  measure(
      state, batch_size, [&] { found = 0; },
      [&] {
        const typename List::batch inside(made.list());
        for (std::size_t i = 0; i < batch_size; ++i) {
          made.list().for_each([&](const fence& f, usage as) noexcept {
            if (as <= usage::read && !f.is_signaled()) {
              keep(&f);
              ++found;
            }
            return true;
          });
        }
      });
  made.check(state, found == listed * batch_size);
}

constexpr const char* alone = "resv: test_signaled, 4 fences";
constexpr const char* together = "resv: test_signaled, 2 readers";
constexpr const char* beside = "resv: test_signaled, a writer";
constexpr const char* snapshot = "resv: snapshot of 4";

template <class List, std::size_t Reads = 32768>
void add_rows(const std::string& subject) {
  add_row(alone, subject, read_alone<List>);
  add_row(together, subject, read_together<List, Reads>);
  if constexpr (requires(List list, fence & f) { list.replace_first(f); }) {
    add_row(beside, subject, read_beside_writer<List, Reads>);
  }
}

const bool registered = [] {
  add_rows<guarded_list>("paddock, guard held");
  add_rows<paddock_list>("paddock");
  add_rows<raw_list>("floor: pointers");
  add_rows<type_stable_list>("type-stable slots");
  add_rows<shared_mutex_list, 1024>("std::shared_mutex");
  add_rows<mutex_list, 1024>("std::mutex");
  add_rows<shared_ptr_list, 1024>("std::atomic<std::shared_ptr>");

  add_row(snapshot, "paddock", snapshot_with_references);
  add_row(snapshot, "paddock, guard", walk_with_guard);
  add_row(snapshot, "floor: references", references_under<raw_list>);
  add_row(snapshot, "std::atomic<std::shared_ptr>, guard", walk_under<shared_ptr_list>);
  add_row(snapshot, "std::mutex", references_under<mutex_list>);
  add_row(snapshot, "std::shared_mutex", references_under<shared_mutex_list>);

#if PADDOCK_BENCH_URCU
  add_rows<urcu_list<urcu_qsbr>>("liburcu qsbr");
  add_rows<urcu_list<urcu_memb>>("liburcu memb");
  add_row(snapshot, "liburcu memb, guard", walk_under<urcu_list<urcu_memb>>);
#else
  for (const char* const subject : {"liburcu qsbr", "liburcu memb"}) {
    add_row(alone, subject, [](benchmark::State& state) { state.SkipWithError("left out: liburcu is not installed"); });
  }
#endif
  return true;
}();

}  // namespace
}  // namespace paddock::bench
