// SPDX-License-Identifier: BSL-1.0
/// \file
/// On which processors the threads of a measurement run.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <cstddef>
#include <vector>

namespace paddock::bench {

/// Those that this process may use, as it was started.
[[nodiscard]] inline const std::vector<int>& usable_cpus() {
  static const std::vector<int> cpus = [] {
    std::vector<int> found;
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    ::sched_getaffinity(0, sizeof allowed, &allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &allowed)) {
        found.push_back(cpu);
      }
    }
    return found;
  }();
  return cpus;
}

/// The calling thread runs on this one of the usable processors only.
inline void stay_on(std::size_t index) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(usable_cpus().at(index), &set);
  ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
}

}  // namespace paddock::bench
