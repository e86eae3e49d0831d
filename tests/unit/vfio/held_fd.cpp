// SPDX-License-Identifier: BSL-1.0
#include <paddock/vfio/held_fd.hpp>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include <paddock/detail/syscall.hpp>

#include "catch.hpp"

namespace paddock::vfio::detail {

namespace {

bool is_open(int number) { return ::fcntl(number, F_GETFD) != -1; }
result<int> number_of(borrowed_fd fd) { return fd.get(); }

int open_null(held_fd& into) {
  auto made = paddock::detail::open("/dev/null", O_RDONLY, "open(/dev/null)");
  REQUIRE(made);
  const int number = made->get();
  into.open(std::move(*made));
  return number;
}

}  // namespace

TEST_CASE("an FD that is held is there from open() to close(), and says then that it is gone") {
  held_fd fd;
  CHECK(fd.with("before", number_of).error() == errc::no_device);
  const int number = open_null(fd);
  CHECK(fd.with("open", number_of) == number);
  const auto twice = fd.with("outer", [&](borrowed_fd) { return fd.with("inner", number_of); });
  CHECK(twice == number);
  fd.close();
  CHECK_FALSE(is_open(number));
  const auto gone = fd.with("closed", number_of);
  REQUIRE_FALSE(gone);
  CHECK(gone.error() == errc::no_device);
  CHECK(std::string_view(gone.error().where) == "closed");
  fd.close();
  fd.open(unique_fd{});
  CHECK(fd.with("nothing", number_of).error() == errc::no_device);
}

TEST_CASE("an FD that is held is closed when its users are done, and meanwhile refuses others") {
  held_fd fd;
  const int number = open_null(fd);
  std::atomic<bool> is_used{false};
  std::atomic<bool> is_done{false};
  bool was_open = false;
  std::thread user([&] {
    const auto used = fd.with("user", [&](borrowed_fd) -> result<void> {
      is_used = true;
      is_used.notify_one();
      while (fd.with("another", number_of)) {
        std::this_thread::yield();
      }
      // Long enough for close() to be asleep.
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      was_open = is_open(number);
      is_done = true;
      return {};
    });
    static_cast<void>(used);
  });
  is_used.wait(false);
  fd.close();
  CHECK(is_done);
  CHECK_FALSE(is_open(number));
  user.join();
  CHECK(was_open);
}

TEST_CASE("an FD that is held is never seen closed, whenever it is closed") {
  for (int round = 0; round < 200; ++round) {
    held_fd fd;
    static_cast<void>(open_null(fd));
    std::atomic<int> seen_closed{0};
    std::vector<std::thread> users;
    users.reserve(3);
    for (int i = 0; i < 3; ++i) {
      users.emplace_back([&] {
        while (fd.with("user", [&](borrowed_fd each) -> result<void> {
          seen_closed += is_open(each.get()) ? 0 : 1;
          return {};
        })) {
        }
      });
    }
    fd.close();
    for (auto& each : users) {
      each.join();
    }
    REQUIRE(seen_closed == 0);
  }
}

TEST_CASE("an FD that is held is closed by a forked child without the parent's threads, whose it stays") {
  held_fd fd;
  const int number = open_null(fd);
  std::atomic<bool> is_used{false};
  std::atomic<bool> is_forked{false};
  std::thread user([&] {
    static_cast<void>(fd.with("parent", [&](borrowed_fd) -> result<void> {
      is_used = true;
      is_used.notify_one();
      is_forked.wait(false);
      return {};
    }));
  });
  is_used.wait(false);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);  // It ends, should it wait for those who are not there.
    fd.close_inherited();
    fd.close();  // Again, and nobody to wait for.
    std::_Exit(is_open(number) || fd.with("child", number_of) ? 1 : 0);
  }
  int status = 1;
  ::waitpid(child, &status, 0);
  is_forked = true;
  is_forked.notify_one();
  user.join();
  CHECK(status == 0);
  CHECK(fd.with("parent", number_of) == number);
  CHECK(is_open(number));
}

}  // namespace paddock::vfio::detail
