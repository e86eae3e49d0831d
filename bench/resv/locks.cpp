// SPDX-License-Identifier: BSL-1.0
// Several reservations of many locked together, by one thread and by two.
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "../peers/lock_sets.hpp"
#include "../support/batch.hpp"
#include "../support/duo.hpp"

namespace paddock::bench {
namespace {

constexpr std::size_t objects = 64;

/// The objects, each on lines of its own, and sets of them at random.
template <class Peer, std::size_t Count>
class crowd {
 public:
  using set = std::array<typename Peer::object*, Count>;

  void draw(std::vector<set>& sets) {
    std::array<std::size_t, objects> order;
    std::iota(order.begin(), order.end(), 0U);
    for (set& each : sets) {
      std::shuffle(order.begin(), order.end(), random_);
      for (std::size_t i = 0; i < Count; ++i) {
        each[i] = &objects_[order[i]].object;
      }
    }
  }

 private:
  struct alignas(64) lonely {
    typename Peer::object object;
  };
  const std::unique_ptr<lonely[]> objects_ = std::make_unique<lonely[]>(objects);
  std::mt19937 random_{1};
};

template <class Peer, std::size_t Count>
void lock_alone(benchmark::State& state) {
  constexpr std::size_t rounds = 64;
  crowd<Peer, Count> made;
  std::vector<typename crowd<Peer, Count>::set> sets(rounds);
  measure(
      state, rounds, [&] { made.draw(sets); },
      [&] {
        for (const auto& each : sets) {
          Peer::with(each, [] {});
        }
      });
}

template <class Peer, std::size_t Rounds, class Inside>
void lock_from_two(benchmark::State& state, Inside inside) {
  crowd<Peer, 4> made;
  std::vector<typename crowd<Peer, 4>::set> here(Rounds);
  std::vector<typename crowd<Peer, 4>::set> there(Rounds);
  const auto work = [&](const auto& sets) {
    return [&sets, inside] {
      for (const auto& each : sets) {
        Peer::with(each, inside);
      }
    };
  };
  measure_duo(
      state,
      [&] {
        made.draw(here);
        made.draw(there);
      },
      [&](duo& both) { return both.run(work(here), work(there)) / Rounds; });
}

template <class Peer>
void add_rows(const std::string& subject) {
  add_row("resv: lock 2 of 64", subject, lock_alone<Peer, 2>);
  add_row("resv: lock 4 of 64", subject, lock_alone<Peer, 4>);
  add_row("resv: lock 16 of 64", subject, lock_alone<Peer, 16>);
  add_row("resv: lock 4 of 64, 2 threads", subject,
          [](benchmark::State& state) { lock_from_two<Peer, 256>(state, [] {}); });
  add_row("resv: lock 4 of 64, 2 threads, 1 us inside", subject, [](benchmark::State& state) {
    lock_from_two<Peer, 32>(state, [] {
      for (const auto over = clock::now() + std::chrono::microseconds(1); clock::now() < over;) {
      }
    });
  });
}

const bool registered = [] {
  add_rows<paddock_locks>("paddock");
  add_rows<std_scoped_lock>("std::scoped_lock");
  add_rows<boost_lock>("boost::lock");
  add_rows<sorted_locks<std::mutex>>("sort and std::mutex");
  add_rows<sorted_locks<spinlock>>("sort and spinlock");
  add_rows<one_mutex>("one std::mutex");
  return true;
}();

}  // namespace
}  // namespace paddock::bench
