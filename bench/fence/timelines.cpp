// SPDX-License-Identifier: BSL-1.0
// Points of a timeline, and the search in one that is long behind.
#include <atomic>
#include <paddock/fence/timeline.hpp>

#include "../peers/paddock_fence.hpp"
#include "../support/batch.hpp"

namespace paddock::bench {
namespace {

/// The standard library's timeline: a number that only grows, whoever raises it, and notifies.
struct atomic_timeline {
  std::atomic<std::uint64_t> reached{0};

  bool signal(std::uint64_t point) noexcept {
    std::uint64_t seen = reached.load(std::memory_order_relaxed);
    do {
      if (seen >= point) {
        return false;
      }
    } while (!reached.compare_exchange_weak(seen, point, std::memory_order_release, std::memory_order_relaxed));
    reached.notify_all();
    return true;
  }
  [[nodiscard]] std::uint64_t signaled() const noexcept { return reached.load(std::memory_order_acquire); }
  void wait(std::uint64_t point) const noexcept {
    for (std::uint64_t seen = signaled(); seen < point; seen = signaled()) {
      reached.wait(seen, std::memory_order_acquire);
    }
  }
};

/// The same with one signaler, who need not look at what was there.
struct atomic_of_one_signaler : atomic_timeline {
  void signal(std::uint64_t point) noexcept {
    reached.store(point, std::memory_order_release);
    reached.notify_all();
  }
};

struct paddock_timeline {
  timeline line = *timeline::create();

  bool signal(std::uint64_t point) noexcept { return line.signal(timeline_point(point)); }
  [[nodiscard]] std::uint64_t signaled() const noexcept { return line.signaled().value(); }
  void wait(std::uint64_t point) const noexcept {
    keep(line.wait(timeline_point(point), deadline::never()).has_value());
  }
};

template <class Timeline>
void signal_points(benchmark::State& state) {
  Timeline timeline;
  std::uint64_t point = 0;
  measure(
      state, batch_size, [] {},
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          timeline.signal(++point);
        }
      });
}

template <class Timeline>
void query(benchmark::State& state) {
  Timeline timeline;
  timeline.signal(10);
  measure(
      state, batch_size, [&] { clobber(&timeline); },
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          keep(timeline.signaled());
        }
      });
}

template <class Timeline>
void wait_for_passed(benchmark::State& state) {
  Timeline timeline;
  timeline.signal(10);
  measure(
      state, batch_size, [&] { clobber(&timeline); },
      [&] {
        for (std::size_t i = 0; i < batch_size; ++i) {
          timeline.wait(5);
        }
      });
}

/// The fence of one point, `Length` of which are pending.
template <std::size_t Length, bool Oldest>
void find(benchmark::State& state) {
  constexpr std::size_t finds = Length >= 1000 ? 1 : 16;
  const timeline line = *timeline::create();
  std::vector<fence_ptr> pending;
  for (std::uint64_t point = 1; point <= Length; ++point) {
    pending.push_back(*context().create());
    if (!line.submit(timeline_point(point), pending.back())) {
      state.SkipWithError("out of memory");
      return;
    }
  }
  measure(
      state, finds, [] {},
      [&] {
        for (std::size_t i = 0; i < finds; ++i) {
          const auto found = line.fence_at(timeline_point(Oldest ? 1 : Length));
          keep(found->get());
        }
      });
  for (const auto& each : pending) {
    each->signal(no_timestamp{});
  }
}

template <class Timeline>
void add_rows(const std::string& subject) {
  add_row("timeline: signal a point", subject, signal_points<Timeline>);
  add_row("timeline: query", subject, query<Timeline>);
  add_row("timeline: wait for a passed point", subject, wait_for_passed<Timeline>);
}

template <std::size_t Length>
void add_finds() {
  const std::string row = "timeline: find among " + std::to_string(Length);
  add_row(row, "paddock, newest", find<Length, false>);
  add_row(row, "paddock, oldest", find<Length, true>);
}

const bool registered = [] {
  add_rows<paddock_timeline>("paddock");
  add_rows<atomic_timeline>("std::atomic");
  add_rows<atomic_of_one_signaler>("std::atomic, one signaler");
  add_row("timeline: query", "floor: load", query<atomic_of_one_signaler>);
  add_finds<10>();
  add_finds<1000>();
  add_finds<10'000>();
  return true;
}();

}  // namespace
}  // namespace paddock::bench
