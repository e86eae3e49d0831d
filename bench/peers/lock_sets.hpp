// SPDX-License-Identifier: BSL-1.0
/// \file
/// Several locks taken together, in an order that is not known beforehand: the standard's and Boost's ways, which try
/// and retreat; by address, which needs all of them at once and a sort; and one lock for everything.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <utility>

#include <boost/iterator/indirect_iterator.hpp>
#include <boost/thread/lock_algorithms.hpp>

#include <paddock/resv/lock_set.hpp>

#include "spinlock.hpp"

namespace paddock::bench {

/// The subject itself.
struct paddock_locks {
  using object = reservation;
  template <std::size_t Count, class Inside>
  static void with(const std::array<object*, Count>& set, Inside inside) noexcept {
    lock_set locks;
    if (!locks.lock_all(set)) {
      std::puts("lock_all failed");
      std::abort();
    }
    inside();
  }
};

struct std_scoped_lock {
  using object = std::mutex;
  template <std::size_t Count, class Inside>
  static void with(const std::array<object*, Count>& set, Inside inside) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      const std::scoped_lock guard(*set[I]...);
      inside();
    }
    (std::make_index_sequence<Count>());
  }
};

struct boost_lock {
  using object = std::mutex;
  template <std::size_t Count, class Inside>
  static void with(const std::array<object*, Count>& set, Inside inside) {
    boost::lock(boost::make_indirect_iterator(set.begin()), boost::make_indirect_iterator(set.end()));
    inside();
    for (object* const each : set) {
      each->unlock();
    }
  }
};

template <class Mutex>
struct sorted_locks {
  using object = Mutex;
  template <std::size_t Count, class Inside>
  static void with(const std::array<object*, Count>& set, Inside inside) {
    auto sorted = set;
    std::sort(sorted.begin(), sorted.end(), std::less<>());
    for (object* const each : sorted) {
      each->lock();
    }
    inside();
    for (object* const each : sorted) {
      each->unlock();
    }
  }
};

struct one_mutex {
  struct object {};
  template <std::size_t Count, class Inside>
  static void with(const std::array<object*, Count>& set, Inside inside) {
    static std::mutex of_all;
    const std::scoped_lock guard(of_all);
    asm volatile("" : : "r"(set.data()) : "memory");
    inside();
  }
};

}  // namespace paddock::bench
