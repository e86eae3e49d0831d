// SPDX-License-Identifier: BSL-1.0
// memory_monitor over the kernel that runs here. Orders and faults that it does not produce are in
// ../buffer/memory_monitor.cpp.
#include <paddock/kernel/userfault.hpp>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include <paddock/buffer/memory_monitor.hpp>
#include <paddock/kernel/memfd.hpp>

#include "memory_watches.hpp"

namespace paddock::kernel {
namespace {

using namespace std::chrono_literals;
using namespace test;

using monitor = memory_monitor<userfault>;

userfault open_or_skip(const userfault_options& options = {}) {
  auto opened = userfault::open(options);
  if (!opened) {
    test::skip(fmt::format("userfaultfd cannot be used here: {}", opened.error()).c_str());
  }
  return *opened;
}

struct fixture {
  explicit fixture(std::chrono::nanoseconds patience = 60s, bool own_thread = true,
                   const userfault_options& options = {})
      : monitor_(std::move(*monitor::create(open_or_skip(options), {patience, own_thread}))) {}

  [[nodiscard]] result<memory_watch> watch(std::span<std::byte> range) {
    return monitor_->watch(range, fences, log.unmap(), log.tell());
  }
  /// A job that uses the memory.
  [[nodiscard]] fence_ptr start(memory_watch& watch) {
    fence_ptr job = make_fence();
    REQUIRE(start_job(watch, fences, job));
    return job;
  }

  std::optional<monitor> monitor_;
  reservation fences;
  watch_log log;
};

/// Does something in another thread.
class in_thread {
 public:
  explicit in_thread(std::function<void()> what)
      : thread_([this, what = std::move(what)] {
          what();
          done_ = true;
        }) {}
  in_thread(const in_thread&) = delete;
  in_thread& operator=(const in_thread&) = delete;
  ~in_thread() { thread_.join(); }
  [[nodiscard]] bool is_done() const { return done_; }
  [[nodiscard]] bool gets_done() const {
    return eventually([&] { return is_done(); });
  }

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

/// Long enough that who is not held would have come back.
void give_time() { std::this_thread::sleep_for(50ms); }

bool all_are(std::span<const std::byte> bytes, std::uint8_t value) {
  return std::all_of(bytes.begin(), bytes.end(), [&](std::byte b) { return b == std::byte{value}; });
}

/// Runs `what` in a child; what it returns becomes the exit status.
template <class What>
int in_child(What what) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(what());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool is_mapped(std::span<std::byte> range) {
  unsigned char here = 0;
  return ::mincore(range.data(), detail::page_size(), &here) == 0;
}

/// From here on userfaultfd(2) fails with that.
void forbid_userfaultfd(unsigned sys_errno) {
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | sys_errno),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{4, rules};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    ::_exit(99);
  }
}

}  // namespace

TEST_CASE("madvise that takes pages waits until the fence of the job that uses them is signaled") {
  fixture f;
  const int advice = GENERATE(MADV_DONTNEED, MADV_FREE);
  const pages memory(8);
  auto watch = f.watch(memory.all());
  REQUIRE(watch);
  const fence_ptr job = f.start(*watch);
  const auto taken = memory.part(2, 3);
  {
    const in_thread taking([&] { ::madvise(taken.data(), taken.size(), advice); });
    CHECK(eventually([&] { return watch->status() == memory_status::stale; }));
    give_time();
    CHECK_FALSE(taking.is_done());
    CHECK(f.log.unmapped == 0);
    CHECK(all_are(taken, 0x5a));  // The pages are still the ones that the device has.
    CHECK(fails_with(watch->use([]() noexcept {}), errc::revoked));
    job->signal();
    CHECK(taking.gets_done());
  }
  CHECK(f.log.unmapped == 1);
  CHECK(eventually([&] { return !f.log.told().empty(); }));
  const auto told = f.log.told();
  REQUIRE(told.size() == 1);
  CHECK(told[0].event.what == memory_change::removed);
  CHECK(told[0].event.range.data() == taken.data());
  CHECK(told[0].event.range.size() == taken.size());
  CHECK_FALSE(told[0].forced);
  if (advice == MADV_DONTNEED) {
    CHECK(all_are(taken, 0));
  }
  // The watch is over: nobody is held by it.
  CHECK(::madvise(memory.all().data(), memory.all().size(), MADV_DONTNEED) == 0);
}

TEST_CASE("madvise is not held where no job runs, nor beside the range") {
  fixture f;
  const pages memory(4);
  auto watch = f.watch(memory.part(0, 2));
  REQUIRE(watch);
  const fence_ptr job = f.start(*watch);
  CHECK(::madvise(memory.part(2, 2).data(), memory.part(2, 2).size(), MADV_DONTNEED) == 0);
  CHECK(watch->status() == memory_status::live);
  job->signal();
  CHECK(::madvise(memory.part(1, 1).data(), memory.part(1, 1).size(), MADV_DONTNEED) == 0);
  CHECK(watch->status() == memory_status::stale);
  CHECK(f.log.unmapped == 1);
}

TEST_CASE("pages are written and read as ever while they are watched: no fault is taken") {
  fixture f(60s, false);  // Nobody would resolve it.
  const pages memory(2);
  const std::size_t size = memory.all().size();
  void* const fresh = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(fresh != MAP_FAILED);
  const std::span untouched(static_cast<std::byte*>(fresh), size);
  {
    const auto watch = f.watch(untouched);
    REQUIRE(watch);
    CHECK(untouched[0] == std::byte{0});
    untouched[detail::page_size()] = std::byte{1};
    // The kernel's own accesses neither.
    const unique_fd zero = unique_fd::adopt(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
    CHECK(::read(zero.get(), untouched.data(), size) == static_cast<ssize_t>(size));
    CHECK(watch->status() == memory_status::live);
  }
  ::munmap(fresh, size);
}

TEST_CASE("munmap, and a mapping over the range, come back when the addresses are taken away") {
  fixture f;
  const bool over = GENERATE(false, true);
  pages memory(4);
  auto watch = f.watch(memory.all());
  REQUIRE(watch);
  const fence_ptr job = f.start(*watch);
  const auto gone = memory.part(1, 1);
  {
    const in_thread taking([&] {
      if (over) {
        static_cast<void>(
            ::mmap(gone.data(), gone.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
      } else {
        ::munmap(gone.data(), gone.size());
      }
    });
    CHECK(eventually([&] { return watch->status() == memory_status::stale; }));
    give_time();
    CHECK_FALSE(taking.is_done());
    CHECK(is_mapped(gone) == over);  // It has happened: only its caller is held.
    CHECK(f.log.unmapped == 0);
    job->signal();
    CHECK(taking.gets_done());
  }
  CHECK(eventually([&] { return !f.log.told().empty(); }));
  const auto told = f.log.told();
  REQUIRE(told.size() == 1);
  CHECK(told[0].event.what == memory_change::unmapped);
  CHECK(told[0].event.range.data() == gone.data());
  CHECK(told[0].event.range.size() == gone.size());
  CHECK(fails_with(watch->release(long_enough()), errc::revoked));
  CHECK(all_are(memory.part(2, 2), 0x5a));  // Nothing was given back.
}

TEST_CASE("mremap tells where the pages are now, where a new watch begins") {
  fixture f;
  pages memory(4);
  const std::span<std::byte> old = memory.all();
  auto watch = f.watch(old);
  REQUIRE(watch);
  const fence_ptr job = f.start(*watch);
  void* moved = nullptr;
  {
    const in_thread moving([&] {
      void* const place = ::mmap(nullptr, old.size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      moved = ::mremap(old.data(), old.size(), old.size(), MREMAP_MAYMOVE | MREMAP_FIXED, place);
    });
    CHECK(eventually([&] { return watch->status() == memory_status::stale; }));
    give_time();
    CHECK_FALSE(moving.is_done());
    job->signal();
    CHECK(moving.gets_done());
  }
  static_cast<void>(memory.give_away());
  CHECK(eventually([&] { return !f.log.told().empty(); }));
  const auto told = f.log.told();
  REQUIRE(told.size() == 1);
  CHECK(told[0].event.what == memory_change::remapped);
  CHECK(told[0].event.range.data() == old.data());
  CHECK(told[0].event.range.size() == old.size());
  CHECK(told[0].event.moved_to == moved);

  const std::span now(told[0].event.moved_to, old.size());
  CHECK(all_are(now, 0x5a));
  CHECK(in_child([&] { return is_mapped(now) ? 1 : 0; }) == 1);  // Passed to children again.
  auto next = f.watch(now);
  REQUIRE(next);
  CHECK(next->release(long_enough()));
  CHECK(all_are(now, 0));
  ::munmap(moved, now.size());
}

TEST_CASE("a child does not get what is watched, and gets it afterwards") {
  fixture f;
  const pages memory(2);
  auto watch = f.watch(memory.all());
  REQUIRE(watch);
  const fence_ptr job = f.start(*watch);
  CHECK(in_child([&] { return is_mapped(memory.all()) ? 1 : 0; }) == 0);
  CHECK(watch->status() == memory_status::live);
  job->signal();
  const bool is_release = GENERATE(false, true);
  if (is_release) {
    CHECK(watch->release(long_enough(), released_memory::kept));
  } else {
    watch->reset();
  }
  CHECK(in_child([&] { return is_mapped(memory.all()) ? 1 : 0; }) == 1);
}

#if !defined(__SANITIZE_THREAD__)  // It has locks of its own over a fork, which the monitor's thread would need.
TEST_CASE("a fork that copies the pages after all is told, where that is asked for") {
  fixture f(60s, true, {true});
  const pages memory(2);
  auto watch = f.watch(memory.all());
  REQUIRE(watch);
  const fence_ptr job = f.start(*watch);
  REQUIRE(::madvise(memory.all().data(), memory.all().size(), MADV_DOFORK) == 0);
  {
    std::atomic<int> answer{-1};
    const in_thread forking([&] { answer = in_child([] { return 7; }); });
    // No allocation here: who forks has the locks.
    for (int i = 0; i < 60000 && watch->status() == memory_status::live; ++i) {
      ::usleep(1000);
    }
    ::usleep(50000);
    const bool was_held = !forking.is_done();
    job->signal();
    CHECK(forking.gets_done());
    CHECK(was_held);
    CHECK(answer == 7);
  }
  CHECK(eventually([&] { return !f.log.told().empty(); }));
  CHECK(f.log.told()[0].event.what == memory_change::forked);
  CHECK(f.log.unmapped == 1);
}
#endif

TEST_CASE("shared memory whose pages are punched out is watched as well") {
  fixture f;
  const auto file = memfd::create(4 * detail::page_size());
  REQUIRE(file);
  void* const mapped =
      ::mmap(nullptr, 4 * detail::page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, file->fd().get(), 0);
  REQUIRE(mapped != MAP_FAILED);
  const std::span bytes(static_cast<std::byte*>(mapped), 4 * detail::page_size());
  std::fill(bytes.begin(), bytes.end(), std::byte{0x5a});
  auto watch = f.watch(bytes);
  if (!watch) {
    ::munmap(mapped, bytes.size());
    REQUIRE(watch.error() == errc::bad_address);
    test::skip("this kernel does not watch shared memory (Linux 5.19 does)");
  }
  const fence_ptr job = f.start(*watch);
  {
    const in_thread taking([&] { ::madvise(mapped, detail::page_size(), MADV_REMOVE); });
    CHECK(eventually([&] { return watch->status() == memory_status::stale; }));
    give_time();
    CHECK_FALSE(taking.is_done());
    CHECK(all_are(bytes, 0x5a));
    job->signal();
    CHECK(taking.gets_done());
  }
  CHECK(all_are(bytes.first(detail::page_size()), 0));
  watch->reset();
  ::munmap(mapped, bytes.size());
}

TEST_CASE("a range is watched once, in whole pages that are all mapped") {
  fixture f;
  pages memory(4);
  const auto all = memory.all();
  {
    auto watch = f.watch(memory.part(1, 2));
    REQUIRE(watch);
    const auto second = f.watch(memory.part(2, 2));
    REQUIRE(fails_with(second, errc::busy));
    CHECK(second.error().where == std::string("UFFDIO_REGISTER"));
    CHECK(f.watch(memory.part(3, 1)));
  }
  CHECK(f.watch(memory.part(1, 3)));
  CHECK(fails_with(f.watch(all.subspan(1, detail::page_size())), errc::misaligned));
  CHECK(fails_with(f.watch(all.first(1)), errc::misaligned));
  CHECK(fails_with(f.watch(all.first(0)), errc::invalid_argument));
  const std::span beyond(all.data(), 0 - detail::page_size());
  CHECK(fails_with(f.watch(beyond), errc::out_of_range));

  ::munmap(memory.part(1, 1).data(), detail::page_size());
  const auto gap = f.watch(all);
  REQUIRE(fails_with(gap, errc::bad_address));
  CHECK(gap.error().where == std::string("madvise(MADV_DONTFORK)"));
  CHECK(in_child([&] { return is_mapped(memory.part(2, 1)) ? 1 : 0; }) == 1);  // Nothing is left of it.
  CHECK(fails_with(f.watch(memory.part(1, 1)), errc::bad_address));
  CHECK(f.watch(memory.part(2, 2)));

  // A mapping of a file is not watched.
  const unique_fd self = unique_fd::adopt(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  void* const text = ::mmap(nullptr, detail::page_size(), PROT_READ, MAP_PRIVATE, self.get(), 0);
  REQUIRE(text != MAP_FAILED);
  CHECK(fails_with(f.watch({static_cast<std::byte*>(text), detail::page_size()}), errc::bad_address));
  ::munmap(text, detail::page_size());
}

TEST_CASE("a release waits for the fence, and the pages that it gives back read as zeroes") {
  fixture f;
  const pages memory(4);
  auto watch = f.watch(memory.all());
  REQUIRE(watch);
  const fence_ptr job = f.start(*watch);
  CHECK(fails_with(watch->release(shortly()), errc::timed_out));
  CHECK(all_are(memory.all(), 0x5a));
  {
    std::atomic<bool> released{false};
    const in_thread releasing([&] { released = watch->release(long_enough()).has_value(); });
    give_time();
    CHECK_FALSE(releasing.is_done());
    job->signal();
    CHECK(releasing.gets_done());
    CHECK(released);
  }
  CHECK(all_are(memory.all(), 0));
  CHECK(f.log.unmapped == 1);
  give_time();
  CHECK(f.log.told().empty());  // Our own giving back is no event.
}

TEST_CASE("a range with two watches is released with both") {
  fixture f;
  const pages memory(4);
  auto first = f.watch(memory.part(0, 2));
  auto second = f.watch(memory.part(2, 2));
  REQUIRE(first);
  REQUIRE(second);
  CHECK(f.monitor_->release(memory.part(1, 2), long_enough()));
  CHECK(f.log.unmapped == 2);
  CHECK(all_are(memory.part(0, 1), 0x5a));
  CHECK(all_are(memory.part(1, 2), 0));
  CHECK(all_are(memory.part(3, 1), 0x5a));
}

TEST_CASE("madvise is held for no longer than the monitor's patience") {
  fixture f(100ms);
  const pages memory(1);
  auto watch = f.watch(memory.all());
  REQUIRE(watch);
  const fence_ptr job = f.start(*watch);
  const auto begun = monotonic_clock::now();
  CHECK(::madvise(memory.all().data(), memory.all().size(), MADV_DONTNEED) == 0);
  CHECK(monotonic_clock::now() - begun >= 100ms);
  CHECK(f.log.unmapped == 1);
  CHECK(eventually([&] { return !f.log.told().empty(); }));
  CHECK(f.log.told()[0].forced);
  job->signal();
}

TEST_CASE("an event loop of the caller's handles events") {
  fixture f(60s, false);
  const pages memory(1);
  auto watch = f.watch(memory.all());
  REQUIRE(watch);
  const fence_ptr job = f.start(*watch);
  const in_thread taking([&] { ::madvise(memory.all().data(), memory.all().size(), MADV_DONTNEED); });
  int rounds = 0;
  for (; f.log.told().empty(); ++rounds) {
    pollfd entry{f.monitor_->fd().get(), POLLIN, 0};
    REQUIRE(::poll(&entry, 1, 60000) == 1);
    REQUIRE(f.monitor_->dispatch());
    if (watch->status() == memory_status::stale) {
      job->signal();
    }
  }
  CHECK(rounds <= 3);  // It sleeps in between.
  CHECK(taking.gets_done());
}

TEST_CASE("who is held goes on when the watch or the monitor is dropped, also beside a child with all descriptors") {
  fixture f(60s, false);
  const bool drop_monitor = GENERATE(false, true);
  const pages memory(1);
  auto watch = f.watch(memory.all());
  REQUIRE(watch);
  int open_until[2];
  REQUIRE(::pipe2(open_until, O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  if (child == 0) {  // Lives on without exec, and keeps the file of the watch.
    char byte = 0;
    ::close(open_until[1]);
    static_cast<void>(::read(open_until[0], &byte, 1));
    ::_exit(0);
  }
  const in_thread taking([&] { ::madvise(memory.all().data(), memory.all().size(), MADV_DONTNEED); });
  pollfd entry{f.monitor_->fd().get(), POLLIN, 0};
  REQUIRE(::poll(&entry, 1, 60000) == 1);
  if (drop_monitor) {
    f.monitor_.reset();
  } else {
    watch->reset();
  }
  CHECK(taking.gets_done());
  CHECK(::madvise(memory.all().data(), memory.all().size(), MADV_DONTNEED) == 0);
  CHECK(f.log.unmapped == 0);
  ::close(open_until[1]);
  ::close(open_until[0]);
  ::waitpid(child, nullptr, 0);
}

TEST_CASE("a forked child that drops what it inherited takes nothing away from its parent") {
  fixture f;
  const pages memory(1);
  auto watch = f.watch(memory.all());
  REQUIRE(watch);
  CHECK(in_child([&] {
          watch->reset();
          f.monitor_.reset();
          return 7;
        }) == 7);
  const fence_ptr job = f.start(*watch);
  const in_thread taking([&] { ::madvise(memory.all().data(), memory.all().size(), MADV_DONTNEED); });
  CHECK(eventually([&] { return watch->status() == memory_status::stale; }));
  give_time();
  CHECK_FALSE(taking.is_done());
  job->signal();
  CHECK(taking.gets_done());
}

TEST_CASE("releases, drops and madvise of one range race") {
  fixture f;
  const pages memory(4);
  for (int round = 0; round < 50; ++round) {
    auto watch = f.watch(memory.all());
    REQUIRE(watch);
    const fence_ptr job = f.start(*watch);
    const int before = f.log.unmapped;
    std::atomic<int> wrong{0};
    {
      const in_thread taking([&] { ::madvise(memory.all().data(), detail::page_size(), MADV_DONTNEED); });
      const in_thread releasing([&] {
        const auto ended = watch->release(long_enough());
        wrong += ended || ended.error() == errc::revoked ? 0 : 1;
        wrong += f.log.unmapped == before + 1 ? 0 : 1;
      });
      const in_thread device([&] {
        if (round % 2 == 0) {
          std::this_thread::sleep_for(1ms);
        }
        wrong += f.log.unmapped == before ? 0 : 1;
        job->signal();
      });
    }
    CHECK(wrong == 0);
    watch->reset();
    CHECK(f.log.unmapped == before + 1);
  }
}

TEST_CASE("a process that may not use userfaultfd is told what forbids it") {
  static_cast<void>(open_or_skip());
  const auto opens_with = [](unsigned sys_errno, errc expected) {
    return in_child([&] {
      forbid_userfaultfd(sys_errno);
      const auto opened = userfault::open();
      return fails_with(opened, expected) && opened.error().where == std::string("userfaultfd") ? 0 : 1;
    });
  };
  CHECK(opens_with(EPERM, errc::permission) == 0);
  CHECK(opens_with(ENOSYS, errc::unsupported_by_kernel) == 0);
  if (::geteuid() == 0) {
    // Without privilege the kernel allows user mode only, and no forks.
    CHECK(in_child([] {
            if (::setuid(65534) != 0) {
              return 2;
            }
            const auto opened = userfault::open({true});
            return userfault::open() && fails_with(opened, errc::permission) &&
                           opened.error().where == std::string("UFFDIO_API")
                       ? 0
                       : 1;
          }) == 0);
  }
}

}  // namespace paddock::kernel
