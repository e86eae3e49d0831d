// SPDX-License-Identifier: BSL-1.0
#include <paddock/resv/registry.hpp>

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "fences.hpp"

using namespace paddock;
using namespace paddock::test;

TEST_CASE("all who ask for a buffer's reservation get the same one") {
  const reservation_ptr first = *reservation_of({1, 42});
  const reservation_ptr second = *reservation_of({1, 42});
  CHECK(first == second);
  CHECK(first->buffer() == buffer_id{1, 42});
  CHECK(*reservation_of({1, 43}) != first);
  CHECK(*reservation_of({2, 42}) != first);
}

TEST_CASE("the registry is found while others lock what they can of the process") {
  // Anybody on the machine may open this folder, and lock it for as long as they like.
  const unique_fd stranger = unique_fd::adopt(::open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  REQUIRE(stranger.valid());
  REQUIRE(::flock(stranger.get(), LOCK_EX) == 0);
  struct numbers {
    int value{7};
  };
  const auto made = paddock::detail::process_page<numbers>("paddock-test-page");
  REQUIRE(made);
  CHECK((*made)->value == 7);
  CHECK(*paddock::detail::process_page<numbers>("paddock-test-page") == *made);
  // And it leaves nothing locked.
  const unique_fd own = unique_fd::adopt(::open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  REQUIRE(own.valid());
  CHECK(::flock(own.get(), LOCK_EX | LOCK_NB) == 0);
}

TEST_CASE("a reservation goes with its last reference, and its fences with it") {
  release_count freed;
  fence_ptr f = freed.make();
  {
    const reservation_ptr held = *reservation_of({1, 7});
    const auto lock = held->lock();
    REQUIRE(held->reserve(*lock, 1));
    REQUIRE(held->add(*lock, f, usage::write));
  }
  f->signal();
  f.reset();
  CHECK(freed.freed == 1);
  // The next one to ask gets a new one.
  CHECK((*reservation_of({1, 7}))->test_signaled(usage::bookkeep));
}

TEST_CASE("buffers that meet in a bucket are told apart") {
  std::vector<reservation_ptr> all;
  for (std::uint64_t inode = 0; inode < 300; ++inode) {
    all.push_back(*reservation_of({9, inode}));
  }
  for (std::uint64_t inode = 0; inode < 300; ++inode) {
    CHECK(*reservation_of({9, inode}) == all[inode]);
  }
  for (std::size_t i = 0; i < all.size(); i += 2) {
    all[i].reset();
  }
  for (std::uint64_t inode = 1; inode < 300; inode += 2) {
    CHECK(*reservation_of({9, inode}) == all[inode]);
  }
}

TEST_CASE("threads that import and drop one buffer share it while one of them has it", "[threads]") {
  constexpr std::uint64_t rounds = 2000;
  std::atomic<std::uint64_t> added{0};
  const auto importer = [&] {
    for (std::uint64_t i = 0; i < rounds; ++i) {
      const reservation_ptr held = *reservation_of({3, 3});
      const auto lock = held->lock();
      if (lock && held->reserve(*lock, 1) && held->add(*lock, make_fence(), usage::read)) {
        ++added;
      }
    }
  };
  std::thread other(importer);
  importer();
  other.join();
  CHECK(added == 2 * rounds);
}

TEST_CASE("whoever looks for the page of this process finds the one that is there") {
  struct page {
    int value{0};
  };
  const auto first = detail::process_page<page>("paddock-test");
  REQUIRE(first);
  (*first)->value = 5;
  CHECK(detail::process_page<page>("paddock-test") == *first);
  CHECK((*first)->value == 5);
  CHECK(detail::process_page<page>("paddock-test-2") != *first);
  CHECK(detail::process_page<page>("paddock") != *first);
}

TEST_CASE("a page that cannot be looked for is an error, not another page") {
  struct page {
    int value{0};
  };
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit none{0, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const auto refused = detail::process_page<page>("paddock-test-limit");
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(refused.error() == errc::limit_reached);
  CHECK(detail::process_page<page>("paddock-test-limit"));
}

TEST_CASE("a signal does not part those who look for a page", "[threads]") {
  struct page {
    int value{0};
  };
  struct sigaction act {};
  act.sa_handler = [](int) {};  // Without SA_RESTART.
  struct sigaction before {};
  REQUIRE(::sigaction(SIGUSR1, &act, &before) == 0);
  // Somebody else looks meanwhile, for long.
  const unique_fd own = unique_fd::adopt(::open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  REQUIRE(::flock(own.get(), LOCK_EX) == 0);
  result<page*> found = fail(errc::busy, "not yet");
  std::thread looking([&] { found = detail::process_page<page>("paddock-test-signal"); });
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ::pthread_kill(looking.native_handle(), SIGUSR1);
  }
  REQUIRE(::flock(own.get(), LOCK_UN) == 0);
  looking.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  CHECK(found);
}
