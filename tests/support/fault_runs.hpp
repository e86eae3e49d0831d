// SPDX-License-Identifier: BSL-1.0
/// \file
/// Runs a scenario once for each of its system calls and each way in which that can fail: what comes back is success or
/// a typed error, and nothing is left behind. For programs with injected_faults.cpp.
#pragma once

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstddef>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include <paddock/base/lost_error.hpp>
#include <paddock/base/result.hpp>
#include <paddock/base/time.hpp>

#include "catch.hpp"
#include "injected_faults.hpp"
#include "processes.hpp"

namespace paddock::test {

/// Errors that had no caller to go to, of all times that such an object was there.
class lost_errors {
 public:
  lost_errors() noexcept {
    set_lost_error_handler([](const error&) noexcept { ++count_; });
  }
  lost_errors(const lost_errors&) = delete;
  lost_errors& operator=(const lost_errors&) = delete;
  ~lost_errors() { set_lost_error_handler(nullptr); }
  [[nodiscard]] static int count() noexcept { return count_; }

 private:
  static inline std::atomic<int> count_{0};
};

/// What a scenario must not leave behind.
struct held {
  std::ptrdiff_t descriptors{0};
  std::size_t file_mappings{0};  ///< Of devices, of memory with a name, and of what has no file.
  long mappings{0};

  static held now() {
    const faults::unaffected looking;
    held found{test::descriptors(), 0, faults::live_mappings()};
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      for (const std::string_view each : {"/dev/", "/memfd:", "anon_inode:", "/dmabuf", "/sys/"}) {
        found.file_mappings += line.find(each) != std::string::npos ? 1U : 0U;
      }
    }
    return found;
  }
  friend bool operator==(const held&, const held&) = default;
};

/// Everything that one backend does in its life.
struct scenario {
  const char* name;
  std::function<result<void>()> run;
  /// Its ioctls are retried when the kernel says EAGAIN: dma-bufs, sync_files, DRM.
  bool retries_again{false};
  /// The calls that it makes at least, or it does not test what it says.
  int least{1};
  /// It makes always as many: where it costs much, a last run without a fault for each errno is not worth it.
  bool has_fixed_calls{false};
  /// After each run, whatever came of it; puts right what is not so by itself.
  std::function<void(const result<void>&)> check = [](const result<void>&) {};
};

/// How the calls fail.
struct fault {
  int sys_errno;
  int count{1};
  bool ioctls_only{false};
};
/// A signal, several of them, and what the kernel may lack, not know or refuse.
inline constexpr std::initializer_list<fault> all_faults{{EINTR},  {EINTR, 10}, {EAGAIN}, {EMFILE},
                                                         {ENOMEM}, {ENOTTY},    {EFAULT}};
/// A device that goes: from that ioctl on none works.
inline constexpr std::initializer_list<fault> device_loss{{ENODEV, 1, true}, {ENODEV, INT_MAX, true}};

/// Whether the kernel gives EINTR for such calls, and paddock promises that nobody sees it.
inline bool hides_signals(std::string_view call) {
  for (const std::string_view each : {"ioctl", "open", "read", "write", "pread", "pwrite", "preadv2", "ppoll",
                                      "epoll_wait", "sendmsg", "recvmsg", "ftruncate", "flock", "fstatfs", "close"}) {
    if (call == each) {
      return true;
    }
  }
  return false;
}

/// A descriptor of the test's own.
inline unique_fd dup_by_the_test(borrowed_fd fd) {
  const faults::unaffected by_the_test;
  return *unique_fd::dup(fd);
}

/// Whether the error tells what was short. Not of what libraries keep to themselves, nor of what nobody is refused.
inline bool tells_shortage(const error& why, std::string_view call, int sys_errno) {
  const std::string_view where = why.where;
  const bool is_shortage = sys_errno == EMFILE || sys_errno == ENOMEM;
  const bool is_lost = where.substr(0, 6) == "libpci" || call == "stat" || call == "getsockopt";
  return is_lost || why.sys_errno == sys_errno || (why.sys_errno == 0 && !is_shortage);
}

/// What is held, when it is what was held before, or the time is over.
inline held settle(const held& before, std::chrono::milliseconds patience) {
  const deadline until = deadline::in(patience);
  held now = held::now();
  while (!(now == before) && !until.passed()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    now = held::now();
  }
  return now;
}

/// A run with its fault, to its end.
inline void run_with(const scenario& what, const faults::plan& plan, const held& before) {
  const int lost_before = lost_errors::count();
  faults::arm(plan);
  const result<void> answered = what.run();
  // A thread of the library's stays a little longer than what it was for, and fails no less.
  static_cast<void>(settle(before, std::chrono::milliseconds(100)));
  faults::disarm();
  what.check(answered);
  const held after = settle(before, std::chrono::seconds(5));
  const char* const hit = faults::first_hit();
  const std::string about = fmt::format("{}: call {} ({}) fails {} times with errno {}, and the answer is {}",
                                        what.name, plan.first, hit != nullptr ? hit : "none", plan.count,
                                        plan.sys_errno, answered ? "success" : fmt::format("{}", answered.error()));
  INFO(about);
  REQUIRE(after.descriptors == before.descriptors);
  REQUIRE(after.file_mappings == before.file_mappings);
  REQUIRE(after.mappings == before.mappings);
  if (hit == nullptr) {
    REQUIRE(answered);
  } else if (plan.sys_errno == EINTR
                 ? hides_signals(hit)
                 : plan.sys_errno == EAGAIN && what.retries_again && hit == std::string_view("ioctl")) {
    REQUIRE(answered);
    REQUIRE(lost_errors::count() == lost_before);
  } else if (!answered) {
    REQUIRE(answered.error() != errc::unexpected);
    REQUIRE(answered.error().where != std::string_view());
    REQUIRE(tells_shortage(answered.error(), hit, plan.sys_errno));
  }
}

/// With PADDOCK_TEST_SOME_FAULTS, for a lane that has to be done in minutes, each way of failing meets every third
/// call, by turns; each call meets two or three of them.
#if defined(PADDOCK_TEST_SOME_FAULTS)
inline constexpr int calls_a_turn = 3;
#else
inline constexpr int calls_a_turn = 1;
#endif

/// Every call of the scenario fails in every way, one after the other; then nothing does, and all works.
inline void fail_each_call(const scenario& what, std::initializer_list<fault> how = all_faults) {
  const lost_errors lost;
  int calls = 0;
  for (int i = 0; i < 2; ++i) {  // What is made once and stays is there from here on.
    faults::arm({});
    const result<void> warm = what.run();
    calls = faults::disarm();
    INFO(what.name << ": " << (warm ? "success" : fmt::format("{}", warm.error())));
    REQUIRE(warm);
  }
  REQUIRE(calls >= what.least);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // Threads of the runs above.
  const held before = held::now();
  int turn = 0;
  for (const fault& each : how) {
    ++turn;
    for (int index = 0; !what.has_fixed_calls || index < calls; ++index) {
      if (index < calls && (index + turn) % calls_a_turn != 0) {
        continue;
      }
      run_with(what, {index, each.count, each.sys_errno, each.ioctls_only}, before);
      if (faults::first_hit() == nullptr) {
        INFO(what.name << ": " << index << " calls");
        REQUIRE((each.ioctls_only || index >= what.least));
        break;
      }
    }
  }
}

}  // namespace paddock::test
