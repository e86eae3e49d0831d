// SPDX-License-Identifier: BSL-1.0
// A job queue in a thread of its own, and fences that say when each job is done.
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include <paddock/fence/context.hpp>
#include <paddock/fence/wait.hpp>

using namespace std::chrono_literals;

namespace {

struct print_when_done : paddock::fence_callback {
  print_when_done() : fence_callback(&run) {}
  static void run(paddock::fence_callback&, const paddock::fence_outcome& outcome) noexcept {
    fmt::print("the second job ended with errno {}\n", outcome.sys_errno);
  }
};

}  // namespace

int main() {
  paddock::fence_context queue("example queue", 1s);  // Its promise: no job takes longer.
  std::vector<paddock::fence_ptr> jobs;
  for (int i = 0; i < 3; ++i) {
    auto job = queue.create();
    if (!job) {
      fmt::print("no memory for a fence: {}\n", job.error());
      return 1;
    }
    jobs.push_back(std::move(*job));
  }
  print_when_done told;
  jobs[1]->add_callback(told);

  std::thread device([jobs] {
    jobs[0]->signal();
    std::this_thread::sleep_for(10ms);
    jobs[1]->fail(paddock::errc::io);  // The device reported an error.
    // jobs[2] is never done: the wait below gives up, and recovery fails what is pending.
  });
  for (const auto& job : jobs) {
    const auto status = paddock::wait(*job, paddock::deadline::in(100ms));
    if (!status) {
      fmt::print("cannot wait: {}\n", status.error());
    } else if (*status == paddock::wait_status::timed_out) {
      fmt::print("job {} hangs; failed {} pending job(s)\n", job->seqno(),
                 paddock::fence_context::fail_all(jobs, paddock::errc::canceled));
    }
  }
  device.join();
  return jobs[2]->error() == paddock::errc::canceled ? 0 : 1;
}
